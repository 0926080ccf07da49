package memstore

import (
	"context"
	"fmt"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Leases hands out leases in memory. A lease lasts until it is released or expired by hand. It is safe for concurrent use.
type Leases struct {
	Faults

	mu      sync.Mutex
	token   uint64
	held    map[string]*lease
	changed chan struct{} // closed and replaced whenever a name gets free
}

var _ projections.Leases = (*Leases)(nil)

// NewLeases returns Leases of which none is held.
func NewLeases() *Leases {
	return &Leases{held: make(map[string]*lease), changed: make(chan struct{})}
}

type lease struct {
	from   *Leases
	name   string
	holder string
	token  uint64
	ctx    context.Context //nolint:containedctx // the lease is this context
	end    context.CancelCauseFunc
}

// Acquire waits until name is free, or ctx ends, and takes it.
func (l *Leases) Acquire(ctx context.Context, name, holder string) (projections.Lease, error) {
	before, after := l.enter(ctx, Call{Op: OpAcquire, Key: name})
	if before != nil {
		return nil, reachable(before)
	}
	for {
		taken, changed := l.take(name, holder)
		switch {
		case taken != nil && after != nil:
			return nil, reachable(after) // taken, and nobody knows: it has to be expired
		case taken != nil:
			return taken, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lease %q, which %q holds: %w", name, l.Holder(name), context.Cause(ctx))
		}
	}
}

func (l *Leases) take(name, holder string) (*lease, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] != nil {
		return nil, l.changed
	}
	l.token++
	ctx, end := context.WithCancelCause(context.Background())
	taken := &lease{from: l, name: name, holder: holder, token: l.token, ctx: ctx, end: end}
	l.held[name] = taken
	return taken, nil
}

// Holder returns who holds the name; empty when nobody does.
func (l *Leases) Holder(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.held[name]; x != nil {
		return x.holder
	}
	return ""
}

// Expire takes the name away from its holder at once.
func (l *Leases) Expire(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.held[name]; x != nil {
		l.free(x, events.Errorf(projections.ErrLeaseLost, "the lease %q of %q ran out", name, x.holder))
	}
}

// free ends the lease's context before anybody else can take the name.
func (l *Leases) free(x *lease, cause error) {
	if l.held[x.name] != x {
		return
	}
	x.end(cause)
	delete(l.held, x.name)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Token returns the fencing token.
func (x *lease) Token() uint64 { return x.token }

// Context ends with the lease.
func (x *lease) Context() context.Context { return x.ctx }

// Release gives the name free. Releasing what was lost or released is no error.
func (x *lease) Release(ctx context.Context) error {
	before, after := x.from.enter(ctx, Call{Op: OpRelease, Key: x.name})
	if before != nil {
		return reachable(before)
	}
	x.from.mu.Lock()
	defer x.from.mu.Unlock()
	x.from.free(x, context.Canceled)
	return reachable(after)
}
