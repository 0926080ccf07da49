package projector

import (
	"context"
	"errors"
	"io"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// LastChanges names the records that are about documents of a read model of some partitions, after one sequence and up to another one. note gets them in no order: the last record about a document is
// the one with the largest sequence. Nothing is folded: a document that is parked or was removed since is named too, and so is one that a record is about which changes nothing. It takes one pass over that
// part of the log. After 0 it begins with the newest snapshot that can be used, and else with the first record; kept may be nil. What a snapshot says is as good as the snapshot: it is no more than a reason to look.
// Errors are those of Judge.
func LastChanges(ctx context.Context, v Version, kept projections.Snapshots, partitions int, after, to uint64, note func(partition int, key string, sequence uint64)) error {
	if to <= after {
		return nil // a To of 0 would be the head
	}
	e, info, err := judging(ctx, v, partitions)
	if err != nil {
		return err
	}
	l := latest{proj: v.Projection, note: func(key string, sequence uint64) { note(projections.PartitionOf(key, partitions), key, sequence) }}
	l.keyed, _ = v.Projection.(projections.Keyed)
	from := after + 1
	if after == 0 {
		e.base = base{snapshots: kept, most: to}
		from = l.begin(ctx, e, info)
	}
	if from > to {
		return nil
	}
	var whole whole
	for records, err := range e.log.Read(ctx, events.Range{From: from, To: to}) {
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

// begin notes what the newest snapshot has that can be read, and returns the sequence that comes after it. What one has that turns out to be damaged was noted then, and does not matter.
func (l *latest) begin(ctx context.Context, e *engine, info events.Info) (next uint64) {
	list, err := e.bases(ctx, info)
	for i := 0; err == nil && i < len(list) && ctx.Err() == nil; i++ {
		if l.snapshot(ctx, e, &list[i]) == nil {
			return list[i].Sequence + 1
		}
	}
	return 1 // the log has it all
}

// snapshot notes the documents of a snapshot.
func (l *latest) snapshot(ctx context.Context, e *engine, s *projections.Snapshot) error {
	r, err := e.openBase(ctx, s)
	if err != nil {
		return err
	}
	defer r.Close()
	for ctx.Err() == nil {
		_, d, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case d == nil: // a partition begins
			continue
		}
		sequence, ok := projections.SequenceIn(d.At)
		if !ok {
			return events.Errorf(projections.ErrSnapshotDamaged, "the document %q is at %q", d.Key, d.At)
		}
		l.note(d.Key, sequence)
	}
	return context.Cause(ctx)
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
