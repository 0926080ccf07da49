package reconcile

import (
	"context"
	"slices"

	"tidemark.dev/projections"
)

const (
	// walkPage is how many documents, or entries of an index, are read at once.
	walkPage = 1_000
	// settleTries bounds how often what changed during a walk is read again until it stands still for a moment.
	settleTries = 60
)

// suspect is a document of which something looks wrong. Looking is not judging: it may just have changed.
type suspect struct {
	unindex []projections.IndexEntry // entries that name it and are not those of what it is
	index   []string                 // indexes that may not have it
}

// scrubbed is what a walk through a partition found.
type scrubbed struct {
	partition int
	header    projections.Header // of the moment for which the sums were compared
	settled   bool               // there was such a moment
	documents map[string]seen    // as they were stored then
	suspects  map[string]*suspect
	misplaced map[string]*suspect // of documents that belong to another partition
	sums      bool                // what the partition says of its documents together is not what they come to
	read      uint64              // documents read
}

// seen is what a walk remembers of a document.
type seen struct {
	at      string
	digest  projections.Digest
	parked  bool
	expires bool
}

func (s *scrubbed) suspect(key string, partitions int) *suspect {
	in := s.suspects
	if projections.PartitionOf(key, partitions) != s.partition {
		in = s.misplaced
	}
	if in[key] == nil {
		in[key] = &suspect{}
	}
	return in[key]
}

// scrub walks through one partition: each document against its digest, all of them against the sums of the header, each index against the documents.
func (x *examination) scrub(ctx context.Context, partition int) (*scrubbed, error) {
	s := &scrubbed{partition: partition, documents: map[string]seen{}, suspects: map[string]*suspect{}, misplaced: map[string]*suspect{}}
	begin, err := x.documents(ctx, s)
	if err != nil || begin.State != projections.Live {
		s.header = begin
		return s, err
	}
	if err := x.settle(ctx, s, &begin); err != nil {
		return nil, err
	}
	return s, x.indexes(ctx, s)
}

// documents reads all documents that are listed, and returns the header that came with the first ones.
func (x *examination) documents(ctx context.Context, s *scrubbed) (begin projections.Header, err error) {
	for after, first := "", true; ; first = false {
		done := x.budget.step()
		h, page, err := x.store.Page(ctx, x.gen, x.def, s.partition, after, walkPage)
		if err != nil {
			return begin, err
		}
		if first {
			begin = h
		}
		for i := range page {
			s.look(x, &page[i])
			after = page[i].Key
		}
		s.read += uint64(len(page))
		x.progress(len(page))
		if err := done(ctx); err != nil {
			return begin, err
		}
		if len(page) < walkPage {
			return begin, nil
		}
	}
}

// look checks a document that is listed, and remembers it.
func (s *scrubbed) look(x *examination, d *projections.Document) {
	switch {
	case projections.PartitionOf(d.Key, x.gen.Partitions) != s.partition, d.Values == nil, x.hasher.Stored(d) != d.Digest:
		s.suspect(d.Key, x.gen.Partitions)
	}
	_, expires := "", false
	if d.Values != nil {
		_, expires = x.def.ExpiryValue(d.Parked, d.Values)
	}
	s.documents[d.Key] = seen{at: d.At, digest: d.Digest, parked: d.Parked != "", expires: expires}
}

// settle reads again what changed since the walk began, until it is all of one moment, and compares the sums then.
func (x *examination) settle(ctx context.Context, s *scrubbed, begin *projections.Header) error {
	at := projections.SequenceOf(begin.Checkpoint)
	for range settleTries {
		h, changes, floor, err := x.store.Changes(ctx, x.gen, s.partition, at, projections.MaxInspected)
		switch {
		case err != nil:
			return err
		case h.State != projections.Live || projections.SequenceOf(h.Checkpoint) < at || floor > at:
			return nil // it is another one by now, or more has changed than is kept
		}
		keys := make([]string, 0, len(changes))
		for _, c := range changes {
			keys = append(keys, c.Key)
		}
		slices.Sort(keys)
		keys = slices.Compact(keys)
		whole := len(keys) <= projections.MaxInspected && len(changes) < projections.MaxInspected
		now, err := x.inspect(ctx, s.partition, keys)
		if err != nil {
			return err
		}
		for i := range now.found {
			s.read++
			s.put(x, &now.found[i])
		}
		if whole && now.header.Checkpoint.Equal(h.Checkpoint) {
			s.header, s.settled = now.header, true
			s.sums = !s.comesTo(&now.header)
			return nil
		}
		if whole {
			at = projections.SequenceOf(h.Checkpoint)
		} else {
			at = changes[len(changes)-1].Sequence
		}
	}
	return nil
}

// put remembers a document as it is now.
func (s *scrubbed) put(x *examination, found *projections.Inspected) {
	if found.Document == nil {
		delete(s.documents, found.Key)
		if found.Listed || found.Foreign {
			s.suspect(found.Key, x.gen.Partitions)
		}
		return
	}
	s.look(x, found.Document)
}

// comesTo reports whether what a header says of all documents together is what they come to.
func (s *scrubbed) comesTo(h *projections.Header) bool {
	var digest projections.Digest
	parked := uint64(0)
	for _, d := range s.documents {
		digest = digest.Add(d.digest)
		if d.parked {
			parked++
		}
	}
	return digest == h.Digest && uint64(len(s.documents)) == h.Documents && parked == h.Parked
}

// inspected is what a partition has under some keys, and its header, all of one moment.
type inspected struct {
	header projections.Header
	found  []projections.Inspected
}

// inspect reads keys of a partition, at most as many at once as a store allows; then all of it is of one moment only if the header says so.
func (x *examination) inspect(ctx context.Context, partition int, keys []string) (out inspected, err error) {
	asked := make([]projections.Inspected, len(keys))
	for i, key := range keys {
		asked[i].Key = key
	}
	return x.ask(ctx, partition, asked)
}

func (x *examination) ask(ctx context.Context, partition int, asked []projections.Inspected) (out inspected, err error) {
	for first := true; first || len(asked) > 0; first = false {
		n := min(len(asked), projections.MaxInspected)
		done := x.budget.step()
		h, found, err := x.store.Inspect(ctx, x.gen, x.def, partition, asked[:n])
		if err != nil {
			return out, err
		}
		out.header, out.found, asked = h, append(out.found, found...), asked[n:]
		if err := done(ctx); err != nil {
			return out, err
		}
	}
	return out, nil
}

// indexes compares the indexes of a partition with its documents.
func (x *examination) indexes(ctx context.Context, s *scrubbed) error {
	_, keys, entries, err := x.store.Sizes(ctx, x.gen, x.def, s.partition)
	if err != nil {
		return err
	}
	for place := projections.FirstIndex; place < len(x.def.Indexes); place++ {
		name, err := x.def.IndexName(place)
		if err != nil {
			return err
		}
		has, err := x.entries(ctx, s, place, name)
		if err != nil {
			return err
		}
		if place >= 0 && entries[name] == keys && uint64(len(has)) == keys {
			continue // each document has one entry, and none is wrong
		}
		for key, d := range s.documents {
			wants := place >= 0 || place == projections.ParkedIndex && d.parked || place == projections.ExpiryIndex && d.expires
			if wants && !has[key] {
				u := s.suspect(key, x.gen.Partitions)
				u.index = append(u.index, name)
			}
		}
	}
	return nil
}

// entries reads all entries of an index, suspects those that are not what their document says, and returns the keys of the others.
func (x *examination) entries(ctx context.Context, s *scrubbed, place int, name string) (map[string]bool, error) {
	has := make(map[string]bool, len(s.documents))
	q := projections.IndexQuery{Index: name, Limit: walkPage}
	for {
		done := x.budget.step()
		_, page, err := x.store.Find(ctx, x.gen, x.def, s.partition, q)
		if err != nil {
			return nil, err
		}
		for i := range page {
			f := &page[i]
			if value, ok := x.def.IndexValue(name, &f.Document); ok && value == f.Value {
				has[f.Key] = true
				continue
			}
			u := s.suspect(f.Key, x.gen.Partitions)
			u.unindex = append(u.unindex, projections.IndexEntry{Index: place, Value: f.Value})
		}
		if err := done(ctx); err != nil {
			return nil, err
		}
		if len(page) < walkPage {
			return has, nil
		}
		last := &page[len(page)-1]
		q.After, q.AfterKey = last.Value, last.Key
	}
}

// strays takes in what the store has under names of documents that no list of keys has.
func (x *examination) strays(ctx context.Context, all []*scrubbed) error {
	for ref, err := range x.store.Strays(ctx, x.gen) {
		switch {
		case err != nil:
			return err
		case ref.Partition < 0 || ref.Partition >= len(all) || all[ref.Partition].header.State != projections.Live:
		case projections.ValidateKey(ref.Key) == nil:
			all[ref.Partition].suspect(ref.Key, x.gen.Partitions)
		default:
			x.unreadable++
		}
	}
	return nil
}
