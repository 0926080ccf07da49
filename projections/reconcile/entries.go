package reconcile

import (
	"context"
	"slices"

	"tidemark.dev/projections"
)

// indexPage is how many entries of an index are read at once.
const indexPage = 2_000

// expected are the entries that the documents of a partition should have, as they were read. They are kept without a pointer in them, since there is one for each document and index.
type expected struct {
	text []byte   // all values, one behind the other
	ends []uint64 // in text, of each document one for each index, by its place; an empty value: there should be no entry
	met  []bool   // whether the index has it
}

// reset forgets all of them, and keeps the memory.
func (e *expected) reset() { e.text, e.ends, e.met = e.text[:0], e.ends[:0], e.met[:0] }

// value returns what is expected in a slot.
func (e *expected) value(slot int) []byte {
	begin := uint64(0)
	if slot > 0 {
		begin = e.ends[slot-1]
	}
	return e.text[begin:e.ends[slot]]
}

// slots is how many values there are of each document.
func slots(def *projections.Definition) int { return len(def.Indexes) - projections.FirstIndex }

// expect notes in which entries a document should be, and returns the place of the first one. One that is in a partition that is not its own should be in none.
func (e *expected) expect(x *examination, d *projections.Document, own bool) (place int) {
	place = len(e.ends)
	judged := d.Values != nil && own // otherwise it is suspected whatever the indexes have
	for i := projections.FirstIndex; i < len(x.def.Indexes); i++ {
		if judged {
			e.put(x, d, i)
		}
		e.ends, e.met = append(e.ends, uint64(len(e.text))), append(e.met, false)
	}
	return place
}

// put notes the value under which one index should have a document, if it should.
func (e *expected) put(x *examination, d *projections.Document, index int) {
	switch {
	case index == projections.ParkedIndex && d.Parked != "":
		value, _ := projections.ParkedValue(d.Parked)
		e.text = append(e.text, value...)
	case index == projections.ExpiryIndex && x.def.Expires != "":
		value, _ := x.def.ExpiryValue(d.Parked, d.Values)
		e.text = append(e.text, value...)
	case index >= 0:
		if value, err := x.indexer.Value(index, d.Values); err == nil {
			e.text = append(e.text, value...)
		}
	}
}

// indexes compares the indexes of a partition with its documents. A document that changes meanwhile is suspected of not being where it should.
func (x *examination) indexes(ctx context.Context, s *scrubbed) error {
	for place := projections.FirstIndex; place < len(x.def.Indexes); place++ {
		name, err := x.def.IndexName(place)
		if err != nil {
			return err
		}
		if err := x.index(ctx, s, place, name); err != nil {
			return err
		}
	}
	if !s.unmet(slots(x.def)) {
		return nil
	}
	for at := range s.seen {
		d := &s.seen[at]
		for slot := d.place; !d.gone && slot < d.place+slots(x.def); slot++ {
			if s.entries.lacks(slot) {
				name, err := x.def.IndexName(slot - d.place + projections.FirstIndex)
				if err != nil {
					return err
				}
				u := s.suspect(s.keys.at(at), x.gen.Partitions)
				u.index = append(u.index, name)
			}
		}
	}
	return nil
}

// lacks reports whether an index does not have what is expected in a slot.
func (e *expected) lacks(slot int) bool { return !e.met[slot] && len(e.value(slot)) > 0 }

// unmet reports whether some index lacks some document.
func (s *scrubbed) unmet(slots int) bool {
	for i := range s.seen {
		d := &s.seen[i]
		for slot := d.place; !d.gone && slot < d.place+slots; slot++ {
			if s.entries.lacks(slot) {
				return true
			}
		}
	}
	return false
}

// index reads all entries of an index, and suspects those that are not expected.
func (x *examination) index(ctx context.Context, s *scrubbed, place int, name string) error {
	return pages(ctx, &x.budget, indexPage,
		func(last *projections.Found) ([]projections.Found, error) {
			q := projections.IndexQuery{Index: name, Limit: indexPage, Bare: true}
			switch {
			case last == nil:
			case last.Key == "": // value and key together say where to go on
				n := len(last.Value) - 1
				q.After, q.AfterKey = last.Value[:n], last.Value[n:]
			default:
				q.After, q.AfterKey = last.Value, last.Key
			}
			_, page, err := x.store.Find(ctx, x.gen, x.def, s.partition, q)
			return page, err
		},
		func(page []projections.Found) {
			for i := range page {
				f := &page[i]
				if f.Key == "" {
					s.unreadable = append(s.unreadable, unreadable{name, f.Value})
					continue
				}
				d, known := s.find(f.Key)
				if slot := d.place + place - projections.FirstIndex; known && f.Value != "" && string(s.entries.value(slot)) == f.Value {
					s.entries.met[slot] = true
					continue
				}
				u := s.suspect(f.Key, x.gen.Partitions)
				u.unindex = append(u.unindex, projections.IndexEntry{Index: place, Value: f.Value})
			}
		})
}

// relook clears documents that nothing is suspected of but to be in an index as they were before, or will be in a moment: when a document, its entries and those that looked wrong are as they
// should be, all in one atomic step, there is nothing for the log to judge.
func (x *examination) relook(ctx context.Context, s *scrubbed) error {
	var keys []string
	for key, u := range s.suspects {
		if !u.content {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for chunk := range slices.Chunk(keys, projections.MaxInspected) {
		was, err := x.inspect(ctx, s.partition, chunk)
		if err != nil || was.header.State != projections.Live {
			return err
		}
		asked := make([]projections.Inspected, len(chunk))
		right := make([]int, len(chunk))
		for i, key := range chunk {
			entries := x.entriesOf(was.found[i].Document)
			right[i] = len(entries)
			asked[i] = projections.Inspected{Key: key, Entries: withOthers(entries, s.suspects[key].unindex)}
		}
		now, err := x.ask(ctx, s.partition, asked)
		if err != nil || now.header.State != projections.Live {
			return err
		}
		for i, key := range chunk {
			if f := &now.found[i]; same(was.found[i].Document, f.Document) && x.sound(f, right[i]) {
				delete(s.suspects, key)
			}
		}
	}
	return nil
}

// sound reports whether nothing is wrong with a document that the store alone can tell. The first entries that were asked for are those that it should have.
func (x *examination) sound(f *projections.Inspected, right int) bool {
	d := f.Document
	if f.Foreign || f.Listed != (d != nil) || d != nil && (d.Values == nil || x.hasher.Stored(d) != d.Digest) {
		return false
	}
	return !slices.Contains(f.Has[:right], false) && !slices.Contains(f.Has[right:], true)
}

// withOthers appends those of some entries that are not there yet.
func withOthers(entries, others []projections.IndexEntry) []projections.IndexEntry {
	right := entries
	for _, e := range others {
		if !slices.Contains(right, e) {
			entries = append(entries, e)
		}
	}
	return entries
}
