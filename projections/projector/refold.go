package projector

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/skips"
)

// refold computes documents again from the log up to their partitions' checkpoints, because what is stored is not what was
// written: somebody else changed it. Only the log changes a read model.
func (e *engine) refold(ctx context.Context, damaged []*entry) error {
	again := &refolding{e: e}
	for _, d := range damaged {
		d.state, d.exists, d.at, d.last, d.parked = e.proj.NewState(), false, "", 0, ""
		again.add(&suspect{entry: d, upto: e.parts[d.partition].seq})
	}
	if err := again.run(ctx); err != nil {
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
	if err := e.replaced(d); err != nil {
		return err
	}
	d.dirty = true
	e.batch.dirty = append(e.batch.dirty, d)
	return nil
}

// replaced makes a document that was folded again what the engine remembers, and what is stored worth nothing.
func (e *engine) replaced(d *entry) error {
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
	d.stored, d.repaired = true, true
	return nil
}

// ByHistory reports whether each document of a projection is judged by one entity's own history, and not by a pass over the log.
func ByHistory(def *projections.Definition) bool {
	_, ok := entityType(def)
	return ok
}

// entityType returns the type of the one entity whose events make up a document. Those of documents that expire are not enough: the marks
// are missing.
func entityType(def *projections.Definition) (string, bool) {
	if def.Expires != "" {
		return "", false
	}
	typ := def.Handles[0].EntityType
	for _, h := range def.Handles {
		if !h.ByEntity || h.EntityType != typ || typ == "" {
			return "", false
		}
	}
	return typ, true
}

// suspect is a document that is folded again.
type suspect struct {
	*entry
	after uint64 // its state is that after this sequence, and only later events are folded; 0: none
	upto  uint64 // the position that it is folded to: later events, and skips of later records, do not count
	since uint64 // the newest record whose skip was obeyed
}

// refolding folds documents again from the log, with the skips that are recorded up to where each is folded to.
//
// A document whose key is its entity's id needs that entity's events alone. All others together need one pass over the log.
type refolding struct {
	e        *engine
	suspects map[string]*suspect
	order    []*suspect // as they were added
	upto     uint64     // the largest of theirs
	skips    *skips.List
	ops      projections.Ops
	targets  []*entry // of each operation; nil: nothing to do

	// Hooks of a judge; nil: there are none.
	admit   func(key string) *suspect             // takes in a document that is met for the first time; nil: it is not wanted
	passed  func(r *events.Record)                // a record was applied, to whatever documents it is about
	changed func(s *suspect, r *events.Record)    // a document is another one since a record
	skipped func(s *suspect, at, recorded uint64) // an event was passed over that is parked at until a record

	wholes map[uint64]bool // whether transactions are whole, by their first sequence: many entities take part in one of an import
}

// maxWholes bounds the transactions that are remembered.
const maxWholes = 100_000

// add takes in a document, once.
func (f *refolding) add(s *suspect) {
	if f.suspects == nil {
		f.suspects = map[string]*suspect{}
	}
	f.suspects[s.key] = s
	f.order = append(f.order, s)
	f.upto = max(f.upto, s.upto)
}

// run folds all of them.
func (f *refolding) run(ctx context.Context) (err error) {
	if f.skips, err = f.e.knownSkips(ctx); err != nil {
		return err
	}
	if typ, ok := entityType(f.e.def); ok {
		for _, s := range f.order {
			if err := f.history(ctx, events.Entity{Type: typ, ID: s.key}, s.after+1); err != nil {
				return err
			}
		}
	} else if err := f.everything(ctx); err != nil {
		return err
	}
	for _, s := range f.order {
		s.last = max(s.last, s.since)
	}
	return nil
}

// everything reads the log from where the first of the documents stands.
func (f *refolding) everything(ctx context.Context) error {
	if f.upto == 0 {
		return nil // a To of 0 would be the head
	}
	from := f.upto
	if f.admit != nil {
		from = 1
	}
	for _, s := range f.order {
		begin, err := f.begin(ctx, s.after)
		if err != nil {
			return err
		}
		from = min(from, begin)
	}
	var whole whole
	for records, err := range f.e.log.Read(ctx, events.Range{From: from, To: f.upto}) {
		if err != nil {
			return err
		}
		work, _ := whole.take(records)
		for _, r := range work {
			if r.Kind.Gone() {
				return f.e.beyondRefolding(r, len(f.suspects))
			}
			f.step(r)
		}
	}
	return nil
}

// begin returns where to begin to read what comes after a sequence: with the first record of its transaction, or the rest of that would look
// like one that was cut off.
func (f *refolding) begin(ctx context.Context, after uint64) (uint64, error) {
	if after == 0 {
		return 1, nil
	}
	r, err := f.e.log.Record(ctx, after)
	if errors.Is(err, events.ErrNotFound) {
		return 0, events.Errorf(events.ErrHole, "sequence %d was read before, and is missing from the log of %s now", after, f.e.log.Origin())
	}
	if err != nil {
		return 0, err
	}
	if tx := r.Stamp.Tx; !tx.Alone() && uint64(tx.Index) <= after {
		return after - uint64(tx.Index) + 1, nil
	}
	return after + 1, nil
}

// history reads the records of one entity.
func (f *refolding) history(ctx context.Context, entity events.Entity, from uint64) error {
	for r, err := range f.e.log.History(ctx, entity, from) {
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
	if known, ok := f.wholes[first]; ok {
		return known, nil
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
	if f.wholes == nil || len(f.wholes) == maxWholes {
		f.wholes = make(map[uint64]bool)
	}
	f.wholes[first] = found == int(tx.Count)
	return f.wholes[first], nil
}

// step applies a record to the documents that are folded again.
func (f *refolding) step(r *events.Record) {
	if at, ok := events.MarkTime(r); ok && f.e.expiry.field >= 0 {
		f.expire(r, at)
	}
	if f.passed != nil {
		defer f.passed(r)
	}
	if r.Kind != events.KindEvent && r.Kind != events.KindMessage {
		return
	}
	f.ops.Reset()
	f.e.proj.Route(r, 0, &f.ops)
	list := f.ops.List()
	f.targets = f.targets[:0]
	for i := range list {
		var target *entry
		if s := f.find(list[i].Key); s != nil && r.Sequence > s.after && r.Sequence <= s.upto && s.parked == "" {
			target = s.entry
		}
		f.targets = append(f.targets, target)
	}
	for i, target := range f.targets {
		if target != nil && !slices.Contains(f.targets[:i], target) {
			f.fold(f.suspects[target.key], r, list[i:], f.targets[i:])
		}
	}
}

// expire removes the documents that expire at a mark.
func (f *refolding) expire(r *events.Record, at time.Time) {
	x := &f.e.expiry
	if f.e.store == nil { // it is known when each of them expires, for they were folded from the start
		text, ok := projections.FormatExpiry(at)
		if !ok || x.soon == "" || x.soon > text {
			return
		}
		x.soon = ""
	}
	for _, s := range f.suspects {
		if r.Sequence > s.after && r.Sequence <= s.upto && f.e.expire(s.entry, at, r.Sequence) && f.changed != nil {
			f.changed(s, r)
		}
		f.e.sooner(s.entry)
	}
}

// find returns the document with a key, if it is folded again.
func (f *refolding) find(key string) *suspect {
	s := f.suspects[key]
	if s == nil && f.admit != nil && key != "" {
		if s = f.admit(key); s != nil {
			f.add(s)
		}
	}
	return s
}

// fold applies an event to a document. One that cannot be applied is passed over when that is recorded, and parks the document otherwise.
func (f *refolding) fold(s *suspect, r *events.Record, ops []projections.Op, targets []*entry) {
	err := f.e.try(s.entry, r, ops, targets)
	if err != nil {
		if at, ok := f.skips.Find(s.key, r.Sequence, s.upto); ok {
			if s.since = max(s.since, at); f.skipped != nil {
				f.skipped(s, r.Sequence, at)
			}
			return
		}
		f.e.park(s.entry, r, err)
	}
	s.last = r.Sequence
	f.e.sooner(s.entry)
	if f.changed != nil {
		f.changed(s, r)
	}
}
