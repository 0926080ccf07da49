package projector

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// pointer returns the live pointer. The first projector of a region makes it, with generation 1.
func (p *Projector) pointer(ctx context.Context) (projections.Pointer, error) {
	name := p.def.Name
	pointer, revision, err := projections.ReadPointer(ctx, p.kv, name)
	if err != nil || pointer.Generation != 0 {
		return pointer, err
	}
	pointer = projections.Pointer{
		Generation: 1, Partitions: p.options.Partitions, Version: p.def.Version, Definition: p.def.Fingerprint(),
		Fields: p.def.Fields, Highest: 1,
	}
	_, err = projections.WriteJSON(ctx, p.kv, projections.PointerKey(name), pointer, revision)
	return pointer, err
}

// upgrade compares the definition of the live generation with ours: a changed definition needs a new version, and a new version is built
// beside the live generation by a replay.
func (p *Projector) upgrade(ctx context.Context, pointer projections.Pointer) error {
	ours := p.def.Fingerprint()
	switch {
	case pointer.Definition == ours && pointer.Version == p.def.Version:
		return nil
	case p.def.Version < pointer.Version:
		return events.Errorf(projections.ErrVersionLowered, "the read model %s was built by version %d, and this projector has version %d; nothing was applied",
			p.def.Name, pointer.Version, p.def.Version).Hint("Deploy version %d or a later one.", pointer.Version)
	case p.def.Version == pointer.Version:
		return events.Errorf(projections.ErrDefinitionChanged, "the definition of %s version %d changed from %s to %s; nothing was applied",
			p.def.Name, p.def.Version, pointer.Definition, ours).Hint("Raise the version: it is then built beside the live one.")
	}
	_, err := projections.RequestReplay(ctx, p.kv, p.def.Name, "new version", time.Now())
	if errors.Is(err, projections.ErrReplayRunning) {
		return nil
	}
	return err
}

// update changes the pointer by compare-and-set.
func (p *Projector) update(ctx context.Context, change func(*projections.Pointer)) (projections.Pointer, error) {
	key := projections.PointerKey(p.def.Name)
	for {
		pointer, revision, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
		if err != nil {
			return pointer, err
		}
		change(&pointer)
		_, err = projections.WriteJSON(ctx, p.kv, key, pointer, revision)
		if !errors.Is(err, projections.ErrRevision) {
			return pointer, err
		}
	}
}

// dropRetired removes generations that are no longer live, after the delay for readers that still hold them. What it does not get to is
// done by the next owner.
func (p *Projector) dropRetired(ctx context.Context) {
	pointer, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil || len(pointer.Retired) == 0 {
		return
	}
	sleep(ctx, p.options.RetireDelay)
	if ctx.Err() != nil {
		return
	}
	for _, old := range pointer.Retired {
		gen := projections.Generation{Projection: p.def.Name, Number: old.Generation, Partitions: old.Partitions}
		if err := p.store.Drop(ctx, gen); err != nil {
			p.options.Logger.WarnContext(ctx, "a retired generation could not be dropped; the next start tries again",
				"projection", p.def.Name, "generation", old.Generation, "reason", err.Error())
			return
		}
		if _, err := p.update(ctx, func(now *projections.Pointer) {
			now.Retired = slices.DeleteFunc(now.Retired, func(r projections.Retiree) bool { return r == old })
		}); err != nil {
			return
		}
	}
}
