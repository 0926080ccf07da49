package projector

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// failedWait is how long a failed build of a new version is left alone before it is begun anew without being asked for.
const failedWait = 30 * time.Second

// pointer returns the live pointer. The first projector of a region makes it, with generation 1, or, after the projection was removed here, with the first
// number that was not used before.
func (p *Projector) pointer(ctx context.Context) (projections.Pointer, error) {
	name := p.def.Name
	pointer, revision, err := projections.ReadPointer(ctx, p.kv, name)
	if err != nil || pointer.Generation != 0 {
		return pointer, err
	}
	gone, _, err := projections.ReadJSON[projections.Gone](ctx, p.kv, projections.GoneKey(name))
	if err != nil {
		return pointer, err
	}
	number := max(pointer.Highest, gone.Highest) + 1
	pointer = projections.Pointer{
		Generation: number, Partitions: p.options.Partitions, Version: p.def.Version, Definition: p.def.Fingerprint(),
		Fields: p.def.Fields, Indexes: p.def.Indexes, Source: p.def.Source, Highest: number, Retired: pointer.Retired,
	}
	_, err = projections.WriteJSON(ctx, p.kv, projections.PointerKey(name), pointer, revision)
	return pointer, err
}

// ask asks for our version to be built, unless it is live already. What it returns yields when it is to be called again; nil: it need not be.
func (p *Projector) ask(ctx context.Context, live *follower) (<-chan time.Time, error) {
	pointer, err := p.pointer(ctx)
	if err != nil {
		return nil, err
	}
	again, err := p.upgrade(ctx, pointer, live)
	return timerOf(again), err
}

// upgrade compares the definition of the live generation with ours: a changed definition needs a new version, and a new version is built
// beside the live generation by a replay. When such a replay failed a moment ago, and an earlier version is followed, it returns after how long to ask again.
func (p *Projector) upgrade(ctx context.Context, pointer projections.Pointer, live *follower) (again time.Duration, err error) {
	ours := p.def.Fingerprint()
	switch {
	case pointer.Definition == ours && pointer.Version == p.def.Version, pointer.Declined == ours:
		return 0, nil
	case p.def.Version < pointer.Version:
		return 0, events.Errorf(projections.ErrVersionLowered, "the read model %s was built by version %d, and this projector has version %d; nothing was applied",
			p.def.Name, pointer.Version, p.def.Version).Hint("Deploy version %d or a later one.", pointer.Version)
	case p.def.Version == pointer.Version:
		return 0, events.Errorf(projections.ErrDefinitionChanged, "the definition of %s version %d changed from %s to %s; nothing was applied",
			p.def.Name, p.def.Version, pointer.Definition, ours).Hint("Raise the version: it is then built beside the live one.")
	}
	last, _, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(p.def.Name))
	if err != nil {
		return 0, err
	}
	if last.State == projections.ReplayFailed && last.Definition == ours && last.Finished != nil {
		if left := failedWait - time.Since(*last.Finished); left > 0 {
			if live.engine != nil {
				return left, nil // the replay's own record says why
			}
			return 0, events.Errorf(events.Code(last.Code), "version %d of %s could not be built: %s", p.def.Version, p.def.Name, last.Message)
		}
	}
	_, err = projections.RequestReplay(ctx, p.kv, p.def.Name, "new version", time.Now())
	if errors.Is(err, projections.ErrReplayRunning) {
		return 0, nil
	}
	return 0, err
}

// wanted returns ErrFenced when a generation is neither live nor being built: then somebody else has gone on, and it was dropped.
func (p *Projector) wanted(ctx context.Context, number uint32) error {
	pointer, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil || pointer.Generation == number || pointer.Previous != nil && pointer.Previous.Generation == number {
		return err
	}
	running, _, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(p.def.Name))
	if err != nil || running.Running() && running.Generation == number {
		return err
	}
	return events.Errorf(projections.ErrFenced, "generation %d of %s is not in use any more; nothing was made", number, p.def.Name)
}

// retire lists a generation for the sweeper, unless it is the live one.
func retire(pointer *projections.Pointer, old projections.Retiree) {
	if old.Generation != 0 && old.Generation != pointer.Generation && !isRetired(pointer, old.Generation) {
		pointer.Retired = append(pointer.Retired, old)
	}
}

func isRetired(pointer *projections.Pointer, number uint32) bool {
	return slices.ContainsFunc(pointer.Retired, func(r projections.Retiree) bool { return r.Generation == number })
}

// wakeSweeper says that a generation was retired.
func (p *Projector) wakeSweeper() {
	select {
	case p.retired <- struct{}{}:
	default: // it is awake
	}
}

// sweep drops retired generations, after the delay for readers that still hold them, until ctx ends.
func (p *Projector) sweep(ctx context.Context) {
	wait := minWait
	for ctx.Err() == nil {
		err := p.dropRetired(ctx)
		if err != nil && ctx.Err() == nil {
			if wait == minWait {
				p.options.Logger.WarnContext(ctx, "a retired generation could not be dropped; it is tried again", "reason", err.Error())
			}
			sleep(ctx, wait)
			wait = min(2*wait, maxWait)
			continue
		}
		wait = minWait
		select {
		case <-p.retired:
		case <-ctx.Done():
		}
	}
}

// dropRetired removes the generations that are retired now.
func (p *Projector) dropRetired(ctx context.Context) error {
	pointer, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil || len(pointer.Retired) == 0 {
		return err
	}
	sleep(ctx, p.options.RetireDelay)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil {
		return err
	}
	for _, old := range pointer.Retired {
		if !isRetired(&now, old.Generation) || inUse(&now, old.Generation) {
			continue // somebody else has dropped it
		}
		if err := p.drop(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

// drop removes a retired generation and then forgets that it was there. A retired number never gets live again.
func (p *Projector) drop(ctx context.Context, old projections.Retiree) error {
	gen := projections.Generation{Projection: p.def.Name, Number: old.Generation, Partitions: old.Partitions}
	if err := p.store.Drop(ctx, gen); err != nil {
		return err
	}
	for {
		now, revision, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
		if err != nil {
			return err
		}
		now.Retired = slices.DeleteFunc(now.Retired, func(r projections.Retiree) bool { return r.Generation == old.Generation })
		_, err = projections.WriteJSON(ctx, p.kv, projections.PointerKey(p.def.Name), now, revision)
		if !errors.Is(err, projections.ErrRevision) {
			return err
		}
	}
}
