package projector

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// refold computes a document again from the log up to its partition's checkpoint, because what is stored is not what was
// written: somebody else changed it. Only the log changes a read model.
//
// A document whose key is its entity's id needs that entity's events alone; any other needs one pass over the log.
func (e *engine) refold(ctx context.Context, target *entry) error {
	upto := e.parts[target.partition].seq
	target.state, target.exists, target.at, target.parked = e.proj.NewState(), false, "", ""
	var ops projections.Ops
	step := func(r *events.Record) {
		if r.Kind != events.KindEvent || r.Sequence > upto {
			return
		}
		ops.Reset()
		e.proj.Route(r, 0, &ops)
		list := ops.List()
		for i := range list {
			if list[i].Key == target.key {
				e.step(target, r, &list[i])
			}
		}
	}
	if typ, ok := e.entityType(); ok {
		for r, err := range e.log.History(ctx, events.Entity{Type: typ, ID: target.key}, 1) {
			if err != nil {
				return err
			}
			step(&r)
		}
	} else {
		var whole whole
		for records, err := range e.log.Read(ctx, events.Range{From: 1, To: upto}) {
			if err != nil {
				return err
			}
			work, _ := whole.take(records)
			for _, r := range work {
				step(r)
			}
		}
	}
	// The partition's digest counts what was written at the checkpoint, which is what has just been folded; nothing
	// of what is stored can be trusted, its digest included.
	target.counted, target.parkedOld = target.exists, target.exists && target.parked != ""
	if target.counted {
		values := target.state.AppendFields(nil)
		target.digest = e.hasher.Document(target.key, target.at, target.parked, values)
	}
	target.stored, target.repaired = true, true
	target.dirty = true
	e.batch.dirty = append(e.batch.dirty, target)
	return nil
}

// entityType returns the type of the one entity whose events make up a document.
func (e *engine) entityType() (string, bool) {
	typ := e.def.Handles[0].EntityType
	for _, h := range e.def.Handles {
		if !h.ByEntity || h.EntityType != typ || typ == "" {
			return "", false
		}
	}
	return typ, true
}
