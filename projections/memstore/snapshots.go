package memstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// errClosedSnapshot is what reading returns after Close.
var errClosedSnapshot = errors.New("memstore: the snapshot was closed")

// Snapshots keeps snapshots in memory. It is safe for concurrent use.
type Snapshots struct {
	Faults

	mu   sync.Mutex
	kept map[snapshotName]*keptSnapshot
}

type snapshotName struct{ projection, id string }

type keptSnapshot struct {
	description projections.Snapshot
	content     []byte
	sum         [sha256.Size]byte // of what was put
}

var _ projections.Snapshots = (*Snapshots)(nil)

// NewSnapshots returns an empty Snapshots.
func NewSnapshots() *Snapshots { return &Snapshots{kept: make(map[snapshotName]*keptSnapshot)} }

// Put keeps a snapshot. One of that id that is kept already is events.ErrConflict, and stays as it is.
func (s *Snapshots) Put(ctx context.Context, description projections.Snapshot, body io.Reader) (projections.Snapshot, error) {
	before, after := s.call(ctx, OpSnapshotPut, description.Projection, description.ID)
	if before != nil {
		return projections.Snapshot{}, before
	}
	name := snapshotName{description.Projection, description.ID}
	if s.find(name) != nil {
		return projections.Snapshot{}, keptAlready(name)
	}
	var content bytes.Buffer
	if _, err := io.Copy(&content, &reading{ctx: ctx, from: body}); err != nil {
		return projections.Snapshot{}, err
	}
	k := &keptSnapshot{description: description, content: content.Bytes(), sum: sha256.Sum256(content.Bytes())}
	k.description.Bytes = uint64(content.Len()) //nolint:gosec // not negative
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept[name] != nil { // somebody else was faster
		return projections.Snapshot{}, keptAlready(name)
	}
	s.kept[name] = k
	return lose(k.description, after)
}

// List returns the snapshots of a projection, the one of the largest sequence first.
func (s *Snapshots) List(ctx context.Context, projection string) ([]projections.Snapshot, error) {
	before, after := s.call(ctx, OpSnapshotList, projection, "all") // an id that may be one
	if before != nil {
		return nil, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []projections.Snapshot
	for name, k := range s.kept {
		if name.projection == projection {
			list = append(list, k.description)
		}
	}
	projections.SortSnapshots(list)
	return lose(list, after)
}

// Open returns the content of a snapshot. What is kept under the name later does not change it.
func (s *Snapshots) Open(ctx context.Context, projection, id string) (io.ReadCloser, error) {
	before, after := s.call(ctx, OpSnapshotOpen, projection, id)
	if before != nil {
		return nil, before
	}
	k := s.find(snapshotName{projection, id})
	switch {
	case k == nil:
		return nil, events.Errorf(projections.ErrUnknownSnapshot, "projection %s has no snapshot %s", projection, id)
	case after != nil:
		return nil, after
	}
	r := &reading{ctx: ctx, from: bytes.NewReader(k.content)}
	if sha256.Sum256(k.content) != k.sum {
		r.atEnd = events.Errorf(projections.ErrSnapshotDamaged, "the snapshot %s of projection %s is not what was put", id, projection).
			Hint("Delete it, and use another one.")
	}
	return r, nil
}

// Delete removes a snapshot. Whoever reads it goes on.
func (s *Snapshots) Delete(ctx context.Context, projection, id string) error {
	before, after := s.call(ctx, OpSnapshotDelete, projection, id)
	if before != nil {
		return before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, snapshotName{projection, id})
	return after
}

// Tamper changes the content of a snapshot that is kept, as a failing disk does. It reports whether there is one.
func (s *Snapshots) Tamper(projection, id string, edit func(content []byte) []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept[snapshotName{projection, id}]
	if k == nil {
		return false
	}
	damaged := *k // whoever reads the old one goes on
	damaged.content = edit(bytes.Clone(k.content))
	s.kept[snapshotName{projection, id}] = &damaged
	return true
}

func (s *Snapshots) find(name snapshotName) *keptSnapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[name]
}

// call enters a call and checks the names.
func (s *Snapshots) call(ctx context.Context, op Op, projection, id string) (before, after error) {
	c := Call{Op: op, Generation: projections.Generation{Projection: projection}, Key: id}
	if op == OpSnapshotList {
		c.Key = ""
	}
	before, after = s.enter(ctx, c)
	if before == nil {
		before = projections.ValidateSnapshot(projection, id)
	}
	return reachable(before), reachable(after)
}

func keptAlready(name snapshotName) error {
	return events.Errorf(events.ErrConflict, "projection %s has a snapshot %s already; nothing was kept", name.projection, name.id).
		Hint("Choose another id, or delete that one first.")
}

// reading reads until its context ends, or it is closed.
type reading struct {
	ctx   context.Context //nolint:containedctx // an io.Reader has no other way
	from  io.Reader
	atEnd error // in place of io.EOF

	mu     sync.Mutex
	closed bool
}

func (r *reading) Read(p []byte) (int, error) {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	switch {
	case closed:
		return 0, errClosedSnapshot
	case r.ctx.Err() != nil:
		return 0, events.Errorf(events.ErrUnreachable, "the snapshot was not read to its end: %w", context.Cause(r.ctx))
	}
	n, err := r.from.Read(p)
	if err == io.EOF && r.atEnd != nil {
		err = r.atEnd
	}
	return n, err
}

// Close ends the reading.
func (r *reading) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}
