package memstore

import (
	"context"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Find returns entries of an index with their documents.
func (s *Store) Find(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, q projections.IndexQuery,
) (projections.Header, []projections.Found, error) {
	before, lost := s.enter(ctx, Call{Op: OpFind, Generation: g, Partition: partition})
	if before != nil {
		return projections.Header{}, nil, before
	}
	_, kinds, err := def.FindIndex(q.Index)
	if err != nil {
		return projections.Header{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := at(g, partition)
	p := s.partitions[a]
	h := p.read(partition)
	if h.State == projections.Absent || lost != nil {
		return h, nil, lost
	}
	if err := p.checkIndex(a, q.Index); err != nil {
		return h, nil, err
	}
	var out []projections.Found
	for _, entry := range p.entries(&q) {
		value, key, ok := projections.CutIndexEntry(kinds, entry)
		if q.Bare {
			if !ok {
				value, key = entry, ""
			}
			out = append(out, projections.Found{Value: value, Document: projections.Document{Key: key}})
			continue
		}
		if !ok {
			return h, nil, events.Errorf(projections.ErrDocumentDamaged, "the index %s of %s has the entry %q, which cannot be read", q.Index, a, entry)
		}
		out = append(out, projections.Found{Value: value, Document: p.listed(def, key)})
	}
	return h, out, nil
}

// entries returns the entries that a query asks for.
func (p *partition) entries(q *projections.IndexQuery) []string {
	from, to := q.From, q.To
	switch after := q.After + q.AfterKey; {
	case q.AfterKey == "":
	case q.Reverse && (to == "" || after < to):
		to = after
	case !q.Reverse && after+"\x00" > from:
		from = after + "\x00" // the first text behind it
	}
	list := p.indexes[q.Index].between(from, to)
	n := min(max(q.Limit, 0), len(list))
	if !q.Reverse {
		return list[:n]
	}
	list = slices.Clone(list[len(list)-n:])
	slices.Reverse(list)
	return list
}

// Count returns the number of entries of an index, or of documents.
func (s *Store) Count(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, index, from, to string,
) (projections.Header, uint64, error) {
	before, lost := s.enter(ctx, Call{Op: OpCount, Generation: g, Partition: partition})
	if before != nil {
		return projections.Header{}, 0, before
	}
	if index != "" {
		if _, _, err := def.FindIndex(index); err != nil {
			return projections.Header{}, 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := at(g, partition)
	p := s.partitions[a]
	h := p.read(partition)
	switch {
	case h.State == projections.Absent || lost != nil:
		return h, 0, lost
	case index == "":
		return h, h.Documents, nil
	}
	if err := p.checkIndex(a, index); err != nil {
		return h, 0, err
	}
	return h, uint64(len(p.indexes[index].between(from, to))), nil
}

// Changes returns what the change log has after a sequence.
func (s *Store) Changes(
	ctx context.Context, g projections.Generation, partition int, after uint64, limit int,
) (projections.Header, []projections.Change, uint64, error) {
	before, lost := s.enter(ctx, Call{Op: OpChanges, Generation: g, Partition: partition})
	if before != nil {
		return projections.Header{}, nil, 0, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := at(g, partition)
	p := s.partitions[a]
	h := p.read(partition)
	if h.State == projections.Absent || lost != nil {
		return h, nil, 0, lost
	}
	if err := p.checkChanges(a); err != nil {
		return h, nil, 0, err
	}
	now := projections.SequenceOf(h.Checkpoint)
	floor := p.changes.floor(now)
	if after < floor {
		return h, nil, floor, nil
	}
	return h, p.changes.after(after, now, limit), floor, nil
}
