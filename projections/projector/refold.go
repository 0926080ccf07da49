package projector

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// refold computes documents again from the log up to their partitions' checkpoints, because what is stored is not what was
// written: somebody else changed it. Only the log changes a read model.
//
// A document whose key is its entity's id needs that entity's events alone. All others together need one pass over the log.
func (e *engine) refold(ctx context.Context, damaged []*entry) error {
	again := refolding{e: e, suspects: make(map[string]*entry, len(damaged))}
	for _, d := range damaged {
		d.state, d.exists, d.at, d.last, d.parked = e.proj.NewState(), false, "", 0, ""
		again.suspects[d.key] = d
		again.upto = max(again.upto, e.parts[d.partition].seq)
	}
	if typ, ok := e.entityType(); ok {
		for _, d := range damaged {
			if err := again.history(ctx, events.Entity{Type: typ, ID: d.key}); err != nil {
				return err
			}
		}
	} else if err := again.everything(ctx); err != nil {
		return err
	}
	for _, d := range damaged {
		if err := e.replace(d); err != nil {
			return err
		}
	}
	return nil
}

// replace takes over a document that was folded again. The partition's digest counts what was written at the checkpoint, which is what
// has just been folded; nothing of what is stored can be trusted, its digest included. The indexes have it where it was put then.
func (e *engine) replace(d *entry) error {
	d.counted, d.parkedOld = d.exists, d.exists && d.parked != ""
	d.indexed = indexed{}
	if d.counted {
		d.at = e.place(d.last)
		values := d.state.AppendFields(nil)
		d.digest = e.hasher.Document(d.key, d.at, d.parked, values)
		if err := e.placed(d, d.parked, values); err != nil {
			return err
		}
	}
	d.stored, d.repaired, d.dirty = true, true, true
	e.batch.dirty = append(e.batch.dirty, d)
	return nil
}

// entityType returns the type of the one entity whose events make up a document. Those of documents that expire are not enough: the marks
// are missing.
func (e *engine) entityType() (string, bool) {
	if e.def.Expires != "" {
		return "", false
	}
	typ := e.def.Handles[0].EntityType
	for _, h := range e.def.Handles {
		if !h.ByEntity || h.EntityType != typ || typ == "" {
			return "", false
		}
	}
	return typ, true
}

// refolding is the work of one refold.
type refolding struct {
	e        *engine
	suspects map[string]*entry
	upto     uint64 // the largest of their partitions' checkpoints
	ops      projections.Ops

	first uint64 // of the transaction looked at last
	whole bool   // whether that was whole
}

// everything reads the whole log.
func (f *refolding) everything(ctx context.Context) error {
	if f.upto == 0 {
		return nil // a To of 0 would be the head
	}
	var whole whole
	for records, err := range f.e.log.Read(ctx, events.Range{From: 1, To: f.upto}) {
		if err != nil {
			return err
		}
		work, _ := whole.take(records)
		for _, r := range work {
			f.step(r)
		}
	}
	return nil
}

// history reads the records of one entity.
func (f *refolding) history(ctx context.Context, entity events.Entity) error {
	for r, err := range f.e.log.History(ctx, entity, 1) {
		if err != nil {
			return err
		}
		if r.Sequence > f.upto {
			break
		}
		ok, err := f.ofWhole(ctx, &r)
		if err != nil {
			return err
		}
		if ok {
			f.step(&r)
		}
	}
	return nil
}

// ofWhole reports whether a record belongs to a transaction that is whole: an entity's history shows only the entity's part of it.
func (f *refolding) ofWhole(ctx context.Context, r *events.Record) (bool, error) {
	tx := r.Stamp.Tx
	if tx.Alone() {
		return true, nil
	}
	if r.Sequence < uint64(tx.Index) {
		return false, nil // it would have begun before the log
	}
	first := r.Sequence - uint64(tx.Index) + 1
	if first == f.first {
		return f.whole, nil
	}
	last := first + uint64(tx.Count) - 1
	if last > f.upto {
		return false, nil // the checkpoint never stands inside of a whole one
	}
	var whole whole
	found := 0
	for records, err := range f.e.log.Read(ctx, events.Range{From: first, To: last}) {
		if err != nil {
			return false, err
		}
		work, _ := whole.take(records)
		found += len(work)
	}
	f.first, f.whole = first, found == int(tx.Count)
	return f.whole, nil
}

// step applies a record to the documents that are folded again.
func (f *refolding) step(r *events.Record) {
	if at, ok := events.MarkTime(r); ok {
		for _, d := range f.suspects {
			if r.Sequence <= f.e.parts[d.partition].seq {
				f.e.expire(d, at, r.Sequence)
			}
		}
	}
	if r.Kind != events.KindEvent {
		return
	}
	f.ops.Reset()
	f.e.proj.Route(r, 0, &f.ops)
	list := f.ops.List()
	for i := range list {
		if d := f.suspects[list[i].Key]; d != nil && r.Sequence <= f.e.parts[d.partition].seq {
			f.e.step(d, r, &list[i])
		}
	}
}
