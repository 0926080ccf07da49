package memstore

import (
	"context"
	"iter"
	"maps"
	"slices"

	"tidemark.dev/projections"
)

// Inspect returns what a partition has under some keys.
func (s *Store) Inspect(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, asked []projections.Inspected,
) (projections.Header, []projections.Inspected, error) {
	before, lost := s.enter(ctx, Call{Op: OpInspect, Generation: g, Partition: partition})
	if before != nil {
		return projections.Header{}, nil, before
	}
	if err := projections.CheckInspected(def, asked); err != nil {
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
	out := make([]projections.Inspected, len(asked))
	for i, q := range asked {
		x := projections.Inspected{Key: q.Key, Entries: q.Entries, Foreign: p.foreign[q.Key], Listed: p.keys.members[q.Key], Has: make([]bool, len(q.Entries))}
		if fields := p.documents[q.Key]; fields != nil && !x.Foreign {
			x.Document = decode(def, q.Key, fields)
		}
		for j, e := range q.Entries {
			name, _ := def.IndexName(e.Index) // it was checked
			if err := p.checkIndex(a, name); err != nil {
				return h, nil, err
			}
			index := p.indexes[name]
			x.Has[j] = index != nil && index.members[e.Value+q.Key]
		}
		out[i] = x
	}
	return h, out, nil
}

// Sizes returns how many keys and entries of indexes a partition has.
func (s *Store) Sizes(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int,
) (projections.Header, uint64, map[string]uint64, error) {
	before, lost := s.enter(ctx, Call{Op: OpSizes, Generation: g, Partition: partition})
	if before != nil {
		return projections.Header{}, 0, nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := at(g, partition)
	p := s.partitions[a]
	h := p.read(partition)
	if h.State == projections.Absent || lost != nil {
		return h, 0, nil, lost
	}
	entries := make(map[string]uint64)
	for _, name := range def.IndexNames() {
		if err := p.checkIndex(a, name); err != nil {
			return h, 0, nil, err
		}
		entries[name] = uint64(len(p.indexes[name].between("", "")))
	}
	return h, uint64(len(p.keys.members)), entries, nil
}

// Strays yields the documents that the lists of keys do not have: one partition after the other, by key.
func (s *Store) Strays(ctx context.Context, g projections.Generation, listed func(projections.Ref) bool) iter.Seq2[projections.Ref, error] {
	return func(yield func(projections.Ref, error) bool) {
		for i := range g.Partitions {
			refs, err := s.strays(ctx, g, i)
			for _, ref := range refs {
				if listed != nil && listed(ref) {
					continue
				}
				if !yield(ref, nil) {
					return
				}
			}
			if err != nil {
				yield(projections.Ref{}, err)
				return
			}
		}
	}
}

func (s *Store) strays(ctx context.Context, g projections.Generation, partition int) (refs []projections.Ref, err error) {
	before, lost := s.enter(ctx, Call{Op: OpStrays, Generation: g, Partition: partition})
	if before != nil {
		return nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[at(g, partition)]
	if p == nil || !p.exists || lost != nil {
		return nil, lost
	}
	names := make(map[string]bool)
	for key := range p.documents {
		names[key] = true
	}
	maps.Copy(names, p.foreign)
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if !p.keys.members[key] {
			refs = append(refs, projections.Ref{Partition: partition, Key: key})
		}
	}
	return refs, nil
}
