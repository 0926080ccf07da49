package projector

import (
	"context"
	"time"

	"tidemark.dev/projections"
)

// Idle stands for a projection that is not to be folded here: it is paused, or this program cannot run it. It says so in the projection's status whenever
// no other process works on the projection: it takes the lease for the moment of saying it, so that whoever can run it gets it.
type Idle struct {
	name   string
	state  projections.ProjectorState
	reason error
	kv     projections.KV
	leases projections.Leases
	status statusWriter
	holder string
}

// NewPaused returns the Idle of a projection that is paused.
func NewPaused(def projections.Definition, kv projections.KV, leases projections.Leases, o Options) *Idle {
	return newIdle(def, projections.ProjectorPaused, nil, kv, leases, o)
}

// NewRefused returns the Idle of a projection that this program cannot run, and why.
func NewRefused(def projections.Definition, reason error, kv projections.KV, leases projections.Leases, o Options) *Idle {
	return newIdle(def, projections.ProjectorRefused, reason, kv, leases, o)
}

func newIdle(def projections.Definition, state projections.ProjectorState, reason error, kv projections.KV, leases projections.Leases, o Options) *Idle {
	o = o.withDefaults()
	log := o.Logger.With("projection", def.Name)
	return &Idle{
		name: def.Name, state: state, reason: reason, kv: kv, leases: leases, holder: o.Holder,
		status: statusWriter{kv: kv, def: &def, holder: o.Holder, log: log, observer: o.Observer},
	}
}

// Run says it until ctx ends, and then returns nil. What does not answer is tried again.
func (i *Idle) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = i.turn(ctx) // a status that cannot be said is said later
		sleep(ctx, refusedWait)
	}
	return nil
}

func (i *Idle) turn(ctx context.Context) error {
	lease, err := i.leases.Acquire(ctx, leaseOf(i.name), i.holder)
	if err != nil {
		return err
	}
	defer release(ctx, lease)
	pointer, _, err := projections.ReadPointer(ctx, i.kv, i.name)
	if err != nil {
		return err
	}
	i.status.own(lease.Token())
	i.status.set(ctx, i.state, pointer.Generation, i.reason)
	return nil
}

// leaseOf returns the name of a projection's lease.
func leaseOf(projection string) string { return "projector-" + projection }

// release gives a lease free, also when ctx has ended.
func release(ctx context.Context, lease projections.Lease) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = lease.Release(end) // it runs out by itself otherwise
}
