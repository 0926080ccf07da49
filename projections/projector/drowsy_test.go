package projector_test

import (
	"context"
	"sync/atomic"
	"time"

	"tidemark.dev/projections"
)

// drowsy hands out leases whose holders notice only after a while that they lost them, as a paused process does. Meanwhile two
// projectors believe that they own the projection.
type drowsy struct {
	projections.Leases
	delay atomic.Int64 // of the notice; a time.Duration
}

// Acquire waits for the lease.
func (d *drowsy) Acquire(ctx context.Context, name, holder string) (projections.Lease, error) {
	inner, err := d.Leases.Acquire(ctx, name, holder)
	if err != nil {
		return nil, err
	}
	l := &drowsyLease{Lease: inner}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	l.stop = context.AfterFunc(inner.Context(), func() {
		time.AfterFunc(time.Duration(d.delay.Load()), func() { l.end(context.Cause(inner.Context())) })
	})
	return l, nil
}

type drowsyLease struct {
	projections.Lease
	ctx  context.Context //nolint:containedctx // the lease is this context
	end  context.CancelCauseFunc
	stop func() bool
}

// Context ends some time after the lease did.
func (l *drowsyLease) Context() context.Context { return l.ctx }

// Release gives the lease free.
func (l *drowsyLease) Release(ctx context.Context) error {
	l.stop()
	l.end(context.Canceled)
	return l.Lease.Release(ctx)
}
