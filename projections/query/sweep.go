package query

import (
	"cmp"
	"context"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// sweep is one reading of what changed in some partitions.
type sweep struct {
	watch   *watch
	found   []swept
	changes []Change // in the order of the log
}

// swept is what was read of a partition.
type swept struct {
	read     bool
	header   projections.Header
	list     []projections.Change
	sequence uint64          // up to which everything is in list
	at       events.Position // where that is, or earlier
	more     bool
}

// read reads the changes of the partitions, and the documents as they are now. Nothing of the watch is changed.
func (s *sweep) read(ctx context.Context, moved projections.PartitionSet) error {
	w := s.watch
	var partitions []int
	for i := range w.parts {
		if moved.Has(i) {
			partitions = append(partitions, i)
		}
	}
	if len(partitions) == 0 {
		return nil
	}
	if err := scatter(ctx, partitions, s.readPartition); err != nil {
		return err
	}
	headers := make([]projections.Header, 0, len(partitions))
	for _, i := range partitions {
		headers = append(headers, s.found[i].header)
	}
	if err := s.judge(ctx, least(headers)); err != nil {
		return err
	}
	histories, err := w.reader.headsOf(&w.model).Contains(ctx, least(headers).Checkpoint)
	if err != nil {
		return err
	}
	var keys []projections.Change
	for _, i := range partitions {
		s.place(i, histories)
		keys = append(keys, latest(s.found[i].list, w.matches)...)
	}
	slices.SortFunc(keys, func(a, b projections.Change) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Key, b.Key))
	})
	return s.readDocuments(ctx, keys)
}

// readPartition reads the changes of one partition.
func (s *sweep) readPartition(ctx context.Context, i int) error {
	w := s.watch
	after := w.parts[i].sequence
	h, list, floor, err := w.reader.store.Changes(ctx, w.model.gen, i, after, changesStep)
	if err != nil {
		return err
	}
	if h.State == projections.Live && after < floor {
		return events.Errorf(projections.ErrResync, "the read model %s has changed too often since %s: the changes are kept from %d on only", w.projection, w.parts[i].at, floor).
			Hint("List, and watch from the token of the first page.")
	}
	s.found[i] = swept{read: true, header: h, list: list, more: len(list) >= changesStep}
	return nil
}

// judge says whether the partitions can be watched. A generation that was replaced is told apart from one that is missing for a while.
func (s *sweep) judge(ctx context.Context, h projections.Header) error {
	w := s.watch
	if h.State == projections.Retired || h.State == projections.Absent {
		now, err := w.reader.models.get(ctx, w.projection, "", true)
		if err == nil && now.gen != w.model.gen {
			return replaced(w.projection, w.model.gen.Number, now.gen.Number)
		}
	}
	return w.reader.judge(ctx, &w.model, h, events.Position{})
}

// place finds out up to where everything was read. A partition that went back stays where it was: it comes again.
func (s *sweep) place(i int, histories events.Histories) {
	f, was := &s.found[i], s.watch.parts[i]
	f.sequence, f.at = projections.SequenceOf(f.header.Checkpoint), f.header.Checkpoint
	if f.more {
		f.sequence, f.at = f.list[len(f.list)-1].Sequence, was.at
		if points := f.header.Checkpoint.Points(); len(points) == 1 { // then a sequence is its origin's own
			if terms, known := histories[points[0].Origin]; known {
				f.at = events.At(terms.Point(points[0].Origin, f.sequence))
			}
		}
	}
	if f.sequence < was.sequence {
		f.sequence, f.at = was.sequence, was.at
	}
}

// latest returns each key once, with the sequence of its last change.
func latest(list []projections.Change, matches func(string) bool) (out []projections.Change) {
	seen := make(map[string]bool, len(list))
	for _, c := range slices.Backward(list) {
		if !seen[c.Key] && matches(c.Key) {
			seen[c.Key] = true
			out = append(out, c)
		}
	}
	return out
}

// readDocuments reads the documents of keys. One that is older than its change was read from a partition that went back since: everything is read again then.
func (s *sweep) readDocuments(ctx context.Context, keys []projections.Change) error {
	w := s.watch
	for part := range slices.Chunk(keys, MaxKeys) {
		refs := make([]projections.Ref, len(part))
		for i, c := range part {
			refs[i] = projections.Ref{Partition: projections.PartitionOf(c.Key, w.model.gen.Partitions), Key: c.Key}
		}
		headers, documents, err := w.reader.store.Lookup(ctx, w.model.gen, &w.model.def, refs)
		if err != nil {
			return err
		}
		if err := s.judge(ctx, least(headers)); err != nil {
			return err
		}
		for i, c := range part {
			d := documents[i]
			switch {
			case projections.SequenceOf(headers[i].Checkpoint) < c.Sequence:
				return events.Errorf(projections.ErrUnavailable, "the read model %s went back while it was read", w.projection)
			case d == nil:
				s.changes = append(s.changes, Change{Key: c.Key, Deleted: true})
			case d.Values == nil:
				return w.model.damaged(c.Key)
			default:
				s.changes = append(s.changes, Change{Key: c.Key, Document: Document{Fields: w.model.def.Fields, Values: d.Values}, Changed: d.At, Parked: d.Parked})
			}
		}
	}
	return nil
}

// advance takes over how far was read, and returns the partitions that have more.
func (s *sweep) advance() (more projections.PartitionSet) {
	for i := range s.found {
		if f := &s.found[i]; f.read {
			s.watch.parts[i] = watched{sequence: f.sequence, at: f.at}
			if f.more {
				more.Add(i)
			}
		}
	}
	return more
}
