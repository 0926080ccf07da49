package projector

import (
	"context"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/skips"
)

// Skips. The state of a document at a position is the fold of its events up to there, in which an event that cannot be applied is passed over if a
// record up to there says so, and parks the document otherwise. A record speaks of events before it only, so an event that is met for the
// first time is never passed over: it parks. At the record, a document that is parked at the event is folded again; that is the one
// moment at which a skip changes anything, live and in a replay.

// obey applies the records of work up to and including the last skip record that adds something, and returns the rest. What stands before such a
// record is committed first, so that the document that it is about is as it was right before it.
func (e *engine) obey(ctx context.Context, work []*events.Record) (rest []*events.Record, err error) {
	for i := 0; i < len(work); i++ {
		r := work[i]
		if r.Kind != events.KindControl || r.Control.Name != e.skipName {
			continue
		}
		added, err := e.learnSkips(ctx, r)
		if err != nil {
			return nil, err
		}
		if len(added) == 0 {
			continue // a control record like others
		}
		if i > 0 {
			if err := e.applyWhole(ctx, work[:i], work[i-1], false); err != nil {
				return nil, err
			}
		}
		if err := e.release(ctx, r, added); err != nil {
			return nil, err
		}
		work, i = work[i+1:], -1
	}
	return work, nil
}

// knownSkips returns the skips that are recorded, at least up to the tip. They are read when they are needed first.
func (e *engine) knownSkips(ctx context.Context) (*skips.List, error) {
	if e.skips == nil {
		list, err := skips.Read(ctx, e.log, e.def.Name, e.tip.seq)
		if err != nil {
			return nil, err
		}
		e.skips = list
	}
	return e.skips, nil
}

// learnSkips returns the skips that a record adds; none when it is not one that is obeyed.
func (e *engine) learnSkips(ctx context.Context, r *events.Record) ([]skips.Skip, error) {
	list, err := e.knownSkips(ctx)
	if err != nil {
		return nil, err
	}
	added, invalid := list.Add(r)
	if invalid != nil {
		e.tellIgnored(ctx, r, invalid)
	}
	return added, nil
}

// release folds the documents again that are parked at an event which a record adds a skip of, and commits them at the record.
func (e *engine) release(ctx context.Context, r *events.Record, added []skips.Skip) error {
	e.begin()
	targets := make([]*entry, len(added))
	for i, s := range added {
		if n := projections.PartitionOf(s.Key, len(e.parts)); r.Sequence > e.parts[n].seq { // one that is ahead of the tip has it already
			targets[i] = e.need(s.Key, n)
		}
	}
	if err := e.fetch(ctx); err != nil {
		return err
	}
	e.preserve(targets)
	again := &refolding{e: e}
	for i, d := range targets {
		if d == nil {
			continue
		}
		if at, parked := projections.SequenceIn(projections.PlaceOf(d.parked)); parked && at == added[i].Sequence {
			again.add(e.resume(d, at, r.Sequence))
		}
	}
	if len(again.order) > 0 {
		if err := again.run(ctx); err != nil {
			return err
		}
	}
	for _, s := range again.order {
		s.last = r.Sequence
		e.sooner(s.entry) // also when no event came after the one that is passed over
		if s.parked != "" {
			e.batch.parked = append(e.batch.parked, s.entry) // at a later event
		}
		e.changed(s.entry)
	}
	if err := e.collect(); err != nil {
		return err
	}
	if err := e.advance(ctx, []*events.Record{r}, r); err != nil {
		return err
	}
	e.tellSkipped(ctx, r, len(added), again.order)
	return nil
}

// resume prepares a parked document for folding it again up to a record. Its state is that of before the event it is parked at, so that reading goes on
// from there. Only of one that is as a new one is, it cannot be told whether it was there before: that is folded from the start.
func (e *engine) resume(d *entry, at, upto uint64) *suspect {
	s := &suspect{entry: d, upto: upto, after: at}
	d.parked = ""
	if slices.Equal(d.state.AppendFields(nil), e.proj.NewState().AppendFields(nil)) {
		d.state, d.exists, s.after = e.proj.NewState(), false, 0
	}
	return s
}
