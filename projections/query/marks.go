package query

import (
	"context"
	"fmt"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/reconcile"
)

// MarksOptions say which marks are wanted.
type MarksOptions struct {
	Options
	// At is the sequence of a mark at which every partition is told; 0: none.
	At uint64
}

// Marks are what a read model had come to at the marks that it passed, for comparing it with those of other regions.
type Marks struct {
	reconcile.Standing
	// Lag is nil when it is not known.
	Lag *Lag `json:"lag"`
}

// Stands returns where the answer stands.
func (m *Marks) Stands() Standing {
	return Standing{Position: m.Position, Lag: m.Lag, Generation: m.Generation}
}

// Marks returns the marks that a read model has passed with all its partitions. With a position it waits until the read model is there. Errors: those of Get that are not about a document, and
// events.ErrNotFound when not all partitions have recorded the mark that is asked for.
func (r *Reader) Marks(ctx context.Context, projection string, o MarksOptions) (Marks, error) {
	if o.Options.At != "" {
		return Marks{}, events.Errorf(projections.ErrInvalidQuery, "marks are those of the live read model, and the copy %q was named", clip(o.Options.At)).Hint("Ask without naming a copy.")
	}
	var headers []projections.Header
	var recorded [][]projections.PartitionMark
	m, h, err := r.read(ctx, question{
		projection: projection, from: everywhere,
		do: func(ctx context.Context, m *model) (_ projections.Header, err error) {
			if headers, recorded, err = r.store.Marks(ctx, m.gen); err != nil {
				return projections.Header{}, err
			}
			return least(headers), nil
		},
	}, o.Options)
	a := Marks{Standing: reconcile.Standing{
		Region: r.region, Projection: projection, Version: m.def.Version, Generation: m.gen.Number, Partitions: m.gen.Partitions, Position: h.Checkpoint,
	}}
	if m.def.Source != nil {
		a.Stream = m.def.Source.Stream
	}
	if err != nil {
		return a, err
	}
	a.Definition, a.Marks, a.Lag = headers[0].Definition, reconcile.Common(recorded), r.headsOf(&m).Lag(ctx, h.Checkpoint)
	if o.At > 0 {
		if a.At = reconcile.At(recorded, o.At); a.At == nil {
			return a, events.Errorf(events.ErrNotFound, "not all partitions of the read model %s have recorded a mark at sequence %d", projection, o.At).
				Hint("Without a sequence the answer has the marks that they have recorded.")
		}
	}
	r.examine(ctx, &m, &a)
	if record, err := reconcile.ReadRecord(ctx, r.kv, projection); err == nil && record.Scrubbed != nil && record.Scrubbed.Generation == m.gen.Number {
		a.Scrubbed = record.Scrubbed.Began // what was changed since may not have been seen
	}
	return a, nil
}

// examine says how old the newest mark is, and whether the read model has stopped passing marks.
func (r *Reader) examine(ctx context.Context, m *model, a *Marks) {
	s := ModelStatus{Name: a.Projection}
	status, entry, err := projections.ReadStatus(ctx, r.kv, a.Projection)
	if err != nil {
		a.Unhealthy = reasonOf(err)
	}
	r.hear(&s, &status, entry)
	switch s.Projector {
	case projections.ProjectorRefused, projections.ProjectorWaiting, projections.ProjectorSilent:
		a.Unhealthy = &reconcile.Reason{Code: string(s.Projector), Message: "its projector is " + string(s.Projector) + ": " + s.Message}
	}
	if m.def.Source != nil {
		return
	}
	next, err := r.newest(ctx, a)
	switch {
	case a.Unhealthy != nil:
	case err != nil:
		a.Unhealthy = reasonOf(err)
	case s.Projector == projections.ProjectorPaused:
	case (reconcile.Pace{Interval: marks.DefaultInterval, Idle: marks.DefaultIdle}).Overdue(a.Passed, next, time.Now()):
		a.Unhealthy = overdue(a, next)
	}
}

// newest finds out when the newest mark was stored, and returns when the first record behind it was; zero when there is none.
func (r *Reader) newest(ctx context.Context, a *Marks) (next time.Time, err error) {
	newest, ok := a.Newest()
	info, err := r.heads.Info(ctx)
	if err != nil {
		return next, err
	}
	if ok {
		record, err := r.heads.log.Record(ctx, newest.Sequence)
		if err != nil {
			return next, err
		}
		age := max(0, time.Since(record.Time)).Round(time.Millisecond).Seconds()
		a.Passed, a.Age = record.Time.UTC(), &age
	}
	if newest.Sequence >= info.Last {
		return next, nil
	}
	record, err := r.heads.log.Record(ctx, max(newest.Sequence+1, info.First))
	return record.Time, err
}

func overdue(a *Marks, next time.Time) *reconcile.Reason {
	const advice = "Its projector, or whoever writes marks in the region that leads, does not work, or the link between them is down."
	message := "it has passed no mark, and the log has records since " + next.UTC().Format(time.RFC3339)
	if newest, ok := a.Newest(); ok {
		message = fmt.Sprintf("the newest mark that it has passed is number %d of %s", newest.Number, a.Passed.Format(time.RFC3339))
	}
	return &reconcile.Reason{Code: reconcile.ReasonOverdue, Message: message + ". " + advice}
}

// reasonOf says that something is not known because of an error.
func reasonOf(err error) *reconcile.Reason {
	code, ok := events.CodeOf(err)
	if !ok {
		code = projections.ErrUnavailable
	}
	return &reconcile.Reason{Code: string(code), Message: "whether it goes on is not known: " + err.Error()}
}
