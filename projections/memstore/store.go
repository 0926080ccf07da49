package memstore

import (
	"cmp"
	"context"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Store keeps read models in memory. It is safe for concurrent use; one lock makes every step atomic.
type Store struct {
	Faults

	mu         sync.Mutex
	partitions map[address]*partition
	memory     projections.Memory
}

var _ projections.Store = (*Store)(nil)

// New returns an empty Store.
func New() *Store { return &Store{partitions: make(map[address]*partition)} }

// Headers returns the header of every partition.
func (s *Store) Headers(ctx context.Context, g projections.Generation) ([]projections.Header, error) {
	before, after := s.enter(ctx, Call{Op: OpHeaders, Generation: g})
	if before != nil {
		return nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return lose(s.headers(g), after)
}

func (s *Store) headers(g projections.Generation) []projections.Header {
	out := make([]projections.Header, g.Partitions)
	for i := range out {
		out[i] = s.partitions[at(g, i)].read(i)
	}
	return out
}

// Claim makes owner the owner of every partition that exists.
func (s *Store) Claim(ctx context.Context, g projections.Generation, owner uint64) ([]projections.Header, error) {
	before, after := s.enter(ctx, Call{Op: OpClaim, Generation: g})
	if before != nil {
		return nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range g.Partitions {
		p := s.partitions[at(g, i)]
		if p == nil || !p.exists {
			continue
		}
		if p.header.Owner > owner {
			return nil, events.Errorf(projections.ErrFenced, "%s is owned by %d, which is newer than %d", at(g, i), p.header.Owner, owner)
		}
		p.header.Owner = owner
	}
	return lose(s.headers(g), after)
}

// Create makes an absent partition.
func (s *Store) Create(ctx context.Context, g projections.Generation, h projections.Header) error {
	before, after := s.enter(ctx, Call{Op: OpCreate, Generation: g, Partition: h.Partition})
	if before != nil {
		return before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := at(g, h.Partition)
	if p := s.partitions[a]; p != nil && p.exists {
		return events.Errorf(projections.ErrFenced, "%s exists already, owned by %d; it was not touched", a, p.header.Owner)
	}
	p := newPartition()
	p.exists, p.header = true, h
	if h.State == projections.Live {
		p.changes.begin(projections.SequenceOf(h.Checkpoint))
	}
	s.partitions[a] = p
	return after
}

// Load returns the documents of refs.
func (s *Store) Load(
	ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref,
) ([]*projections.Document, error) {
	before, after := s.enter(ctx, Call{Op: OpLoad, Generation: g})
	if before != nil {
		return nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*projections.Document, len(refs))
	for i, r := range refs {
		d, err := s.document(g, def, r)
		if err != nil {
			return nil, err
		}
		out[i] = d
	}
	return lose(out, after)
}

func (s *Store) document(g projections.Generation, def *projections.Definition, r projections.Ref) (*projections.Document, error) {
	a := at(g, r.Partition)
	p := s.partitions[a]
	if p == nil {
		return nil, nil //nolint:nilnil // the port says so: no document is no error
	}
	if err := p.checkType(a, r.Key); err != nil {
		return nil, err
	}
	fields, ok := p.documents[r.Key]
	if !ok {
		return nil, nil //nolint:nilnil // as above
	}
	return decode(def, r.Key, fields), nil
}

// Apply executes the commits.
func (s *Store) Apply(ctx context.Context, g projections.Generation, def *projections.Definition, commits []projections.Commit) []error {
	errs := make([]error, len(commits))
	before, after := s.enter(ctx, Call{Op: OpApply, Generation: g})
	for i := range commits {
		if before != nil {
			errs[i] = before
			continue
		}
		if errs[i] = s.apply(ctx, g, def, &commits[i]); after != nil {
			errs[i] = after
		}
	}
	return errs
}

func (s *Store) apply(ctx context.Context, g projections.Generation, def *projections.Definition, c *projections.Commit) error {
	before, after := s.enter(ctx, Call{Op: OpCommit, Generation: g, Partition: c.Partition})
	if before != nil {
		return before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := at(g, c.Partition)
	p := s.partitions[a]
	if err := p.check(a, def, c); err != nil {
		return err
	}
	p.commit(def, c)
	return after
}

// Marks returns the header and the recorded marks of every partition.
func (s *Store) Marks(ctx context.Context, g projections.Generation) ([]projections.Header, [][]projections.PartitionMark, error) {
	before, after := s.enter(ctx, Call{Op: OpMarks, Generation: g})
	if before != nil {
		return nil, nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	marks := make([][]projections.PartitionMark, g.Partitions)
	for i := range marks {
		a := at(g, i)
		p := s.partitions[a]
		if p == nil || !p.exists {
			continue
		}
		if p.marks.foreign {
			return nil, nil, events.Errorf(projections.ErrWrongType, "the marks of %s are something else", a)
		}
		for _, text := range p.marks.between("", "") {
			if m, ok := projections.ParseMark(text); ok {
				marks[i] = append(marks[i], m)
			}
		}
	}
	if after != nil {
		return nil, nil, after
	}
	return s.headers(g), marks, nil
}

// SetState changes the state of every partition that owner owns.
func (s *Store) SetState(ctx context.Context, g projections.Generation, owner uint64, state projections.PartitionState) error {
	before, after := s.enter(ctx, Call{Op: OpSetState, Generation: g})
	if before != nil {
		return before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused error
	for i := range g.Partitions {
		if p := s.partitions[at(g, i)]; p != nil && p.exists {
			refused = cmp.Or(p.setState(at(g, i), owner, state), refused)
		}
	}
	return cmp.Or(refused, after)
}

// Get returns a document and its partition's header.
func (s *Store) Get(
	ctx context.Context, g projections.Generation, def *projections.Definition, ref projections.Ref,
) (projections.Header, *projections.Document, error) {
	before, after := s.enter(ctx, Call{Op: OpGet, Generation: g, Partition: ref.Partition, Key: ref.Key})
	if before != nil {
		return projections.Header{}, nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if after != nil {
		return s.partitions[at(g, ref.Partition)].read(ref.Partition), nil, after
	}
	return s.look(g, def, ref)
}

// Lookup returns the documents of refs, each with its partition's header.
func (s *Store) Lookup(
	ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref,
) ([]projections.Header, []*projections.Document, error) {
	before, after := s.enter(ctx, Call{Op: OpLookup, Generation: g})
	if before != nil {
		return nil, nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	headers, documents := make([]projections.Header, len(refs)), make([]*projections.Document, len(refs))
	for i, ref := range refs {
		var err error
		if headers[i], documents[i], err = s.look(g, def, ref); err != nil {
			return nil, nil, err
		}
	}
	if after != nil {
		return nil, nil, after
	}
	return headers, documents, nil
}

// look returns a document and its partition's header. It is called with the lock held.
func (s *Store) look(g projections.Generation, def *projections.Definition, ref projections.Ref) (projections.Header, *projections.Document, error) {
	p := s.partitions[at(g, ref.Partition)]
	h := p.read(ref.Partition)
	if h.State == projections.Absent {
		return h, nil, nil
	}
	d, err := s.document(g, def, ref)
	if d == nil && err == nil && (p.keys.members[ref.Key] || uint64(len(p.keys.members)) != h.Documents) {
		d = &projections.Document{Key: ref.Key} // it was removed by hand, or may have been
	}
	return h, d, err
}

// Page returns documents in the order of their keys.
func (s *Store) Page(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int,
) (projections.Header, []projections.Document, error) {
	before, lost := s.enter(ctx, Call{Op: OpPage, Generation: g, Partition: partition})
	if before != nil {
		return projections.Header{}, nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[at(g, partition)]
	h := p.read(partition)
	if h.State == projections.Absent || lost != nil {
		return h, nil, lost
	}
	var out []projections.Document
	for _, key := range p.keys.above(after, limit) {
		out = append(out, p.listed(def, key))
	}
	return h, out, nil
}

// Drop removes a generation.
func (s *Store) Drop(ctx context.Context, g projections.Generation) error {
	before, after := s.enter(ctx, Call{Op: OpDrop, Generation: g})
	if before != nil {
		return before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.partitions {
		if a.projection == g.Projection && a.number == g.Number {
			delete(s.partitions, a)
		}
	}
	return after
}

// Memory says what SetMemory said.
func (s *Store) Memory(ctx context.Context) (projections.Memory, error) {
	before, after := s.enter(ctx, Call{Op: OpMemory})
	if before != nil {
		return projections.Memory{}, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return lose(s.memory, after)
}

// SetMemory sets what Memory says. Nothing else comes of it.
func (s *Store) SetMemory(m projections.Memory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = m
}

// lose returns v unless err says that the answer was lost.
func lose[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
