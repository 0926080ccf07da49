package projector

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// LastChanges names the records that are about documents of a read model, up to where each partition stands; 0 in upto: the partition is not wanted. note gets them in the order of the log, so the last one
// about a document is named last. Nothing is folded: a document that is parked or was removed since is named too, and so is one that a record is about which changes nothing. It takes one pass over the
// log. Errors are those of Judge.
func LastChanges(ctx context.Context, v Version, upto []uint64, note func(partition int, key string, sequence uint64)) error {
	e, err := judging(ctx, v, len(upto))
	if err != nil {
		return err
	}
	to := uint64(0)
	for _, at := range upto {
		to = max(to, at)
	}
	if to == 0 {
		return nil // a To of 0 would be the head
	}
	l := latest{proj: v.Projection, note: func(key string, sequence uint64) {
		if n := projections.PartitionOf(key, len(upto)); sequence <= upto[n] {
			note(n, key, sequence)
		}
	}}
	l.keyed, _ = v.Projection.(projections.Keyed)
	var whole whole
	for records, err := range e.log.Read(ctx, events.Range{From: 1, To: to}) {
		if err != nil {
			return err
		}
		work, _ := whole.take(records)
		for _, r := range work {
			if r.Kind.Gone() {
				return e.beyondRefolding(r, 0)
			}
			if r.Kind == events.KindEvent || r.Kind == events.KindMessage {
				l.look(r)
			}
		}
	}
	return nil
}

// latest says which documents events are about.
type latest struct {
	proj  projections.Projection
	keyed projections.Keyed // nil: events have to be routed
	note  func(key string, sequence uint64)
	ops   projections.Ops
}

func (l *latest) look(r *events.Record) {
	if l.keyed != nil && r.Kind == events.KindEvent {
		if key, ok := l.keyed.KeyOf(r); ok {
			if key != "" {
				l.note(key, r.Sequence)
			}
			return
		}
	}
	l.ops.Reset()
	l.proj.Route(r, 0, &l.ops)
	for _, op := range l.ops.List() {
		if op.Key != "" {
			l.note(op.Key, r.Sequence)
		}
	}
}
