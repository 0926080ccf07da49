package projector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Remover drops what a region has of a projection that was removed: the generations in the store, the pointer, the status and the replay.
type Remover struct {
	name    string
	store   projections.Store
	kv      projections.KV
	leases  projections.Leases
	options Options
	log     *slog.Logger
}

// NewRemover returns a Remover.
func NewRemover(name string, store projections.Store, kv projections.KV, leases projections.Leases, o Options) *Remover {
	o = o.withDefaults()
	return &Remover{name: name, store: store, kv: kv, leases: leases, options: o, log: o.Logger.With("projection", name)}
}

// Run returns nil when nothing is left, or when ctx ends; then another Remover goes on where it stood. What does not answer is tried again.
func (r *Remover) Run(ctx context.Context) error {
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		err := r.turn(ctx)
		if err == nil {
			return nil
		}
		if wait == minWait && ctx.Err() == nil {
			r.log.WarnContext(ctx, "a removed projection could not be dropped; it is tried again", "reason", err.Error())
		}
		sleep(ctx, wait)
	}
	return nil
}

// turn takes the lease and drops everything. The order: no query finds the projection any more, then its documents go, and last what says where they were.
func (r *Remover) turn(ctx context.Context) error {
	lease, err := r.leases.Acquire(ctx, leaseOf(r.name), r.options.Holder)
	if err != nil {
		return err
	}
	defer release(ctx, lease)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(lease.Context(), func() { cancel(context.Cause(lease.Context())) }) //nolint:contextcheck // the lease's own end
	defer stop()

	pointer, revision, served, err := r.withdraw(ctx)
	if err != nil {
		return err
	}
	if served.Number != 0 {
		r.tellReaders(ctx, served, lease.Token())
		sleep(ctx, r.options.RetireDelay) // for readers that still hold it
	}
	for _, old := range pointer.Retired {
		if err := r.store.Drop(ctx, projections.Generation{Projection: r.name, Number: old.Generation, Partitions: old.Partitions}); err != nil {
			return err
		}
	}
	if err := r.dropSnapshots(ctx); err != nil {
		return err
	}
	for _, key := range [...]func(string) string{
		projections.ReplayKey, projections.ReplaysKey, projections.SnapshotKey, projections.RepairKey, projections.PlanKey, projections.FindingsKey,
	} {
		if err := r.forget(ctx, key(r.name)); err != nil {
			return err
		}
	}
	if revision != 0 {
		if err := r.kv.Delete(ctx, projections.PointerKey(r.name), revision); err != nil {
			return err
		}
	}
	r.log.InfoContext(ctx, "a removed projection is dropped", "generations", len(pointer.Retired))
	return nil
}

// withdraw makes the projection unknown to queries: all its generations are retired. It returns the one that was live.
func (r *Remover) withdraw(ctx context.Context) (projections.Pointer, uint64, projections.Generation, error) {
	pointer, revision, err := projections.ReadPointer(ctx, r.kv, r.name)
	if err != nil {
		return pointer, revision, projections.Generation{}, err
	}
	job, _, err := projections.ReadJSON[projections.Replay](ctx, r.kv, projections.ReplayKey(r.name))
	if err != nil {
		return pointer, revision, projections.Generation{}, err
	}
	if err := r.remember(ctx, pointer.Highest); err != nil {
		return pointer, revision, projections.Generation{}, err
	}
	served := pointer.Live(r.name)
	if revision != 0 {
		pointer.Generation = 0
		retire(&pointer, projections.Retiree{Generation: served.Number, Partitions: served.Partitions})
		if before := pointer.Previous; before != nil {
			retire(&pointer, before.Retiree)
		}
		for _, c := range pointer.Copies {
			retire(&pointer, c.Retiree)
		}
		pointer.Previous, pointer.Copies = nil, nil
		if job.Running() {
			retire(&pointer, projections.Retiree{Generation: job.Generation, Partitions: cmp.Or(job.Partitions, r.options.Partitions)})
		}
		if revision, err = projections.WriteJSON(ctx, r.kv, projections.PointerKey(r.name), pointer, revision); err != nil {
			return pointer, revision, served, err
		}
	}
	return pointer, revision, served, r.forget(ctx, projections.StatusKey(r.name))
}

// dropSnapshots removes the snapshots of the projection.
func (r *Remover) dropSnapshots(ctx context.Context) error {
	if r.options.Snapshots == nil {
		return nil
	}
	list, err := listSnapshots(ctx, r.options.Snapshots, r.name)
	if err != nil {
		return err
	}
	for i := range list {
		err := r.options.Snapshots.Delete(ctx, r.name, list[i].ID)
		if errors.Is(err, events.ErrUnauthorized) {
			r.log.WarnContext(ctx, "a snapshot of a removed projection stays: the region has no right to delete it", "snapshot", list[i].ID)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remember keeps the largest generation number beyond the pointer.
func (r *Remover) remember(ctx context.Context, highest uint32) error {
	gone, revision, err := projections.ReadJSON[projections.Gone](ctx, r.kv, projections.GoneKey(r.name))
	if err != nil || highest <= gone.Highest {
		return err
	}
	_, err = projections.WriteJSON(ctx, r.kv, projections.GoneKey(r.name), projections.Gone{Highest: highest}, revision)
	return err
}

// tellReaders marks the generation as retired, so that whoever remembers it as live looks again. Who is not told looks within a second.
func (r *Remover) tellReaders(ctx context.Context, gen projections.Generation, token uint64) {
	if _, err := r.store.Claim(ctx, gen, token); err == nil {
		_ = r.store.SetState(ctx, gen, token, projections.Retired)
	}
}

// forget deletes a key, whatever it holds.
func (r *Remover) forget(ctx context.Context, key string) error {
	e, err := r.kv.Get(ctx, key)
	if errors.Is(err, projections.ErrNoKey) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.kv.Delete(ctx, key, e.Revision)
}
