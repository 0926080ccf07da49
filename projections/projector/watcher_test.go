package projector_test

import (
	"context"
	"fmt"

	"tidemark.dev/projections"
)

// watcher keeps a copy of a read model by its change log alone, as somebody does who serves a cache: it goes through all documents once, then
// reads what changed. It is what a reader may rely on, put to the test: its copy must be right at every moment, whatever happened to the store.
type watcher struct {
	gen     projections.Generation
	version int
	parts   []followed
	copy    map[string]projections.Document
}

// followed is what a watcher knows of a partition.
type followed struct {
	after uint64
	known bool // the documents were gone through
}

// look brings the copy forward as far as the store answers, and says what is wrong with it.
func (s *simulation) look(w *watcher) error {
	gen := s.live()
	if gen.Number == 0 {
		return nil
	}
	oracle, known := s.oracleOf(gen.Number)
	if !known {
		return nil
	}
	s.moveTo(w, gen, oracle.version)
	for i := range w.parts {
		if err := s.lookAt(w, i, oracle); err != nil {
			return fmt.Errorf("a watcher of generation %d partition %d: %w", gen.Number, i, err)
		}
	}
	return nil
}

// moveTo goes on with another generation. A sequence means the same there, when it was folded with the same definition; the partitions may be others.
func (s *simulation) moveTo(w *watcher, gen projections.Generation, version int) {
	if w.gen == gen {
		return
	}
	next := followed{known: w.version == version}
	for i, p := range w.parts {
		if next.known = next.known && p.known; i == 0 || p.after < next.after {
			next.after = p.after
		}
	}
	if next.known {
		s.counts["changes followed into another generation"]++
	} else {
		w.copy = map[string]projections.Document{}
	}
	w.gen, w.version, w.parts = gen, version, make([]followed, gen.Partitions)
	for i := range w.parts {
		w.parts[i] = next
	}
}

// lookAt goes on with one partition until it has nothing more to tell. An answer that does not come is tried again at the next look.
func (s *simulation) lookAt(w *watcher, i int, o *oracle) error {
	p := &w.parts[i]
	limit := 1 + s.random.IntN(6)
	for {
		if !p.known && !s.goThrough(w, i, o) {
			return nil
		}
		h, list, floor, err := s.seenStore.Changes(context.Background(), w.gen, i, p.after, limit)
		if err != nil {
			return allowed(err, projections.ErrStoreUnreachable)
		}
		if h.State != projections.Live {
			return nil
		}
		if projections.SequenceOf(h.Checkpoint) < p.after {
			s.counts["watchers that wait for a store"]++
			return nil // it went back, and comes again
		}
		if p.after < floor {
			p.known = false
			s.counts["watchers sent back"]++
			continue
		}
		for _, c := range list {
			if !s.copyDocument(w, i, c.Key) {
				return nil
			}
			s.counts["changes followed"]++
		}
		if len(list) >= limit {
			p.after = list[len(list)-1].Sequence
			continue
		}
		p.after = projections.SequenceOf(h.Checkpoint)
		return s.checkCopy(w, i, o)
	}
}

// goThrough copies all documents of a partition, and begins where its header was before.
func (s *simulation) goThrough(w *watcher, i int, o *oracle) bool {
	def := mustDefinition(s.t, s.kind, o.version)
	h, list, err := s.seenStore.Page(context.Background(), w.gen, def, i, "", 1_000)
	if err != nil || h.State != projections.Live {
		return false
	}
	for key := range w.copy {
		if projections.PartitionOf(key, w.gen.Partitions) == i {
			delete(w.copy, key)
		}
	}
	for _, d := range list {
		w.copy[d.Key] = d
	}
	w.parts[i] = followed{after: projections.SequenceOf(h.Checkpoint), known: true}
	return true
}

func (s *simulation) copyDocument(w *watcher, i int, key string) bool {
	def := mustDefinition(s.t, s.kind, w.version)
	h, d, err := s.seenStore.Get(context.Background(), w.gen, def, projections.Ref{Partition: i, Key: key})
	if err != nil || h.State != projections.Live {
		return false
	}
	if delete(w.copy, key); d != nil {
		w.copy[key] = *d
	}
	return true
}

// checkCopy compares the documents of a partition, each of which must be as it was where the watcher is, or at some time since.
func (s *simulation) checkCopy(w *watcher, i int, o *oracle) error {
	after := w.parts[i].after
	for key := range o.docs {
		if projections.PartitionOf(key, w.gen.Partitions) != i || s.everEdited(key) {
			continue
		}
		d, has := w.copy[key]
		if !o.was(key, after, has, d) {
			return fmt.Errorf("at %d its copy of %s is %q at %s, there: %t; it was not so since", after, key, d.Values, d.At, has)
		}
	}
	s.counts["copies compared"]++
	return nil
}

// everEdited reports whether somebody changed a document by hand, in any generation: a copy of it may live on.
func (s *simulation) everEdited(key string) bool {
	for e := range s.edited {
		if e.key == key {
			return true
		}
	}
	return false
}

// was reports whether a document was so at a sequence or at some time since.
func (o *oracle) was(key string, since uint64, there bool, d projections.Document) bool {
	same := func(e expected, exists bool) bool {
		return exists == there && (!exists || e.differs(d.At, d.Parked, d.Values) == "")
	}
	if same(o.get(key, since)) {
		return true
	}
	for _, e := range o.docs[key] {
		if e.seq > since && same(e, e.exists) {
			return true
		}
	}
	return false
}

// finalLook requires that the copy is the read model once all is quiet.
func (s *simulation) finalLook(w *watcher) error {
	if err := s.look(w); err != nil {
		return err
	}
	o := s.oracle(s.version)
	for i, p := range w.parts {
		if !p.known || p.after != o.head() {
			return fmt.Errorf("a watcher of partition %d is at %d, known: %t, and the log ends at %d", i, p.after, p.known, o.head())
		}
	}
	return nil
}
