package reconcile

import (
	"context"
	"slices"

	"tidemark.dev/projections"
)

const (
	// walkPage is how many documents are read at once.
	walkPage = 1_000
	// maxExpected bounds what is believed of a header's number of documents.
	maxExpected = 1 << 20
	// settleTries bounds how often what changed during a walk is read again until it stands still for a moment.
	settleTries = 60
)

// suspect is a document of which something looks wrong. Looking is not judging: it may just have changed.
type suspect struct {
	content bool                     // it does not look right by itself, or in the sums
	unindex []projections.IndexEntry // entries that name it and are not those of what it is
	index   []string                 // indexes that may not have it
}

// scrubbed is what a walk through a partition found.
type scrubbed struct {
	partition  int
	header     projections.Header // of the moment for which the sums were compared
	settled    bool               // there was such a moment
	keys       *keys              // of the documents; nil: none was listed
	seen       []seen             // of each, by the place of its key
	entries    *expected
	suspects   map[string]*suspect
	misplaced  map[string]*suspect // of documents that belong to another partition
	unreadable []unreadable
	sums       bool   // what the partition says of its documents together is not what they come to
	read       uint64 // documents read
}

// seen is what a walk remembers of a document. What its digest covers is as good as remembered: one whose content is not its digest's is suspected at once.
type seen struct {
	digest   projections.Digest
	sequence uint64 // of the record that changed it last
	place    int    // in what is expected of indexes
	parked   bool
	gone     bool // it was removed during the walk
}

// unreadable is an entry of an index that can be of no document, or, without an index, the name of a document that can be none.
type unreadable struct{ index, entry string }

// suspect returns what is suspected of a document.
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

// doubt suspects a document of not being what it should be.
func (s *scrubbed) doubt(key string, partitions int) { s.suspect(key, partitions).content = true }

// scrub walks through one partition: each document against its digest, all of them against the sums of the header, each index against the documents.
func (x *examination) scrub(ctx context.Context, partition int) (*scrubbed, error) {
	s := &scrubbed{partition: partition, entries: &x.expected, suspects: map[string]*suspect{}, misplaced: map[string]*suspect{}}
	s.entries.reset()
	begin, err := x.documents(ctx, s)
	if err != nil || begin.State != projections.Live {
		s.header = begin
		return s, err
	}
	if err := x.settle(ctx, s, &begin); err != nil {
		return nil, err
	}
	if err := x.indexes(ctx, s); err != nil {
		return nil, err
	}
	s.entries = nil // they are as large as the documents
	if err := x.relook(ctx, s); err != nil {
		return nil, err
	}
	x.hurryFor(s)
	return s, nil
}

// documents reads all documents that are listed, and returns the header that came with the first ones.
func (x *examination) documents(ctx context.Context, s *scrubbed) (begin projections.Header, err error) {
	err = pages(ctx, &x.budget, walkPage,
		func(last *projections.Document) ([]projections.Document, error) {
			after := ""
			if last != nil {
				after = last.Key
			}
			h, page, err := x.store.Page(ctx, x.gen, x.def, s.partition, after, walkPage)
			if last == nil {
				begin = h
			}
			return page, err
		},
		func(page []projections.Document) {
			if s.keys == nil {
				n := min(begin.Documents, maxExpected)
				s.keys, s.seen = newKeys(n), make([]seen, 0, n)
			}
			for i := range page {
				s.look(x, &page[i])
			}
			s.read += uint64(len(page))
			x.progress.add(len(page))
			x.hurryFor(s)
		})
	return begin, err
}

// look checks a document that is listed, and remembers it.
func (s *scrubbed) look(x *examination, d *projections.Document) {
	own := projections.PartitionOf(d.Key, x.gen.Partitions) == s.partition
	if !own || d.Values == nil || x.hasher.Stored(d) != d.Digest {
		s.doubt(d.Key, x.gen.Partitions)
	}
	sequence, _ := projections.SequenceIn(d.At) // 0 when it cannot be read: no record is the last one about it then
	s.remember(d.Key, seen{digest: d.Digest, sequence: sequence, place: s.entries.expect(x, d, own), parked: d.Parked != ""})
}

// remember keeps what was seen of a document, in place of what was seen before.
func (s *scrubbed) remember(key string, d seen) {
	if s.keys == nil { // it came after the walk, which found none
		s.keys = newKeys(0)
	}
	if at, added := s.keys.add(key); !added {
		s.seen[at] = d
		return
	}
	s.seen = append(s.seen, d)
}

// forget drops what was seen of a document that is not there any more.
func (s *scrubbed) forget(key string) {
	if at, known := s.keys.find(key); known {
		s.seen[at].gone = true
	}
}

// find returns what was seen of a document that is there.
func (s *scrubbed) find(key string) (d seen, ok bool) {
	at, ok := s.place(key)
	if !ok {
		return seen{}, false
	}
	return s.seen[at], true
}

// place returns where a document that is there is in seen.
func (s *scrubbed) place(key string) (at int, ok bool) {
	at, ok = s.keys.find(key)
	return at, ok && !s.seen[at].gone
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
			s.sums = s.sum() != sumOf(&now.header)
			x.hurryFor(s)
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
		s.forget(found.Key)
		if found.Listed || found.Foreign {
			s.doubt(found.Key, x.gen.Partitions)
		}
		return
	}
	s.look(x, found.Document)
	if !found.Listed {
		s.doubt(found.Key, x.gen.Partitions)
	}
}

// sum is what documents come to together.
type sum struct {
	digest            projections.Digest
	documents, parked uint64
}

// sumOf returns what a header says of all documents together.
func sumOf(h *projections.Header) sum { return sum{h.Digest, h.Documents, h.Parked} }

// sum returns what the documents come to as they were read.
func (s *scrubbed) sum() (all sum) {
	for i := range s.seen {
		if d := &s.seen[i]; !d.gone {
			all.add(*d)
		}
	}
	return all
}

func (s *sum) add(d seen) {
	s.digest, s.documents = s.digest.Add(d.digest), s.documents+1
	if d.parked {
		s.parked++
	}
}

func (s *sum) take(d seen) {
	s.digest, s.documents = s.digest.Sub(d.digest), s.documents-1
	if d.parked {
		s.parked--
	}
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

// strays takes in what the store has under names of documents that no list of keys has.
func (x *examination) strays(ctx context.Context, all []*scrubbed) error {
	listed := func(ref projections.Ref) bool {
		if ref.Partition >= len(all) {
			return false
		}
		_, ok := all[ref.Partition].place(ref.Key)
		return ok
	}
	for ref, err := range x.store.Strays(ctx, x.gen, listed) {
		switch {
		case err != nil:
			return err
		case ref.Partition < 0 || ref.Partition >= len(all) || all[ref.Partition].header.State != projections.Live:
		case projections.ValidateKey(ref.Key) == nil:
			all[ref.Partition].doubt(ref.Key, x.gen.Partitions)
		default:
			s := all[ref.Partition]
			s.unreadable = append(s.unreadable, unreadable{entry: ref.Key})
		}
	}
	return nil
}
