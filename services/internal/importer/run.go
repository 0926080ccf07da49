package importer

import (
	"context"
	"errors"
	"io"

	"tidemark.dev/events"
)

// attempts bounds how often an append whose outcome is not known is sent again.
const attempts = 3

// Options of an import. The zero value works.
type Options struct {
	// Progress is called after every batch, from the goroutine that called Run.
	Progress func(Progress)
	// Floors tell how far the regions are that follow the log; nil: none is waited for.
	Floors events.Floors
	// Held is called when the import has waited for a region for some seconds, once for each wait; nil: nobody is told.
	Held func(slowest events.Floor)
	// Ahead is how many records the import may be ahead of the slowest of them; default DefaultAhead.
	Ahead uint64
	// Batch bounds the events of one batch; default and most MaxEvents.
	Batch int
}

// Progress is how far a running import is.
type Progress struct {
	Read   int64  // bytes of the input, as they are in the file
	Lines  uint64 // in the log, those of earlier runs included
	Events uint64 // of those lines
}

// Result is what an import did.
type Result struct {
	Name          string          `json:"name"`
	Lines         uint64          `json:"lines"`  // in the log now
	Events        uint64          `json:"events"` // of those lines
	ResumedAtLine uint64          `json:"resumed_after_line"`
	AddedLines    uint64          `json:"added_lines"`
	AddedEvents   uint64          `json:"added_events"`
	Position      events.Position `json:"position"` // that covers everything imported; empty when the input is
}

// Run imports what of the input is not in the log yet. It returns ErrInvalidLine (everything before the line is imported), ErrChanged,
// ErrRunning, or an error of the log. The result tells in every case what was done.
func Run(ctx context.Context, log events.Log, m *Map, input io.Reader, o Options) (Result, error) {
	if o.Batch <= 0 || o.Batch > MaxEvents {
		o.Batch = MaxEvents
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Ahead == 0 {
		o.Ahead = DefaultAhead
	}
	r := &run{log: log, m: m, id: events.NewID(), result: Result{Name: m.name}, pace: pace{floors: o.Floors, ahead: o.Ahead, held: o.Held}}
	at, seq, err := readCursor(ctx, log, m)
	if err != nil {
		return r.result, err
	}
	r.seq = seq
	r.result.Lines, r.result.Events, r.result.ResumedAtLine = at.Lines, at.Events, at.Lines
	if seq > 0 {
		info, err := log.Info(ctx)
		if err != nil {
			return r.result, err
		}
		r.result.Position = info.Position(seq)
	}
	lines, err := newLines(input)
	if err != nil {
		return r.result, err
	}
	b, err := newBatcher(m, lines, at, o.Batch)
	if err != nil {
		return r.result, err
	}
	return r.result, r.all(ctx, b, o.Progress)
}

// run is one import being executed.
type run struct {
	log    events.Log
	m      *Map
	id     string
	seq    uint64 // of the cursor's record
	result Result
	pace   pace
}

// prepared is a batch, or why there is none. Both, when the lines before a bad one make a batch.
type prepared struct {
	batch
	err error
}

// all appends batch after batch. While one is under way the next is made; it is sent after the answer, because its cursor expects the
// sequence that the answer tells.
func (r *run) all(ctx context.Context, b *batcher, progress func(Progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan prepared, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			made, err := b.batch()
			select {
			case ready <- prepared{made, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	// A read of the input that never returns must not hold back a caller who gave up, so only the orderly end waits.
	defer cancel()
	for {
		select {
		case next := <-ready:
			if len(next.events) > 0 {
				if err := r.pace.wait(ctx, r.seq); err != nil {
					return err
				}
				if err := r.append(ctx, next.batch); err != nil {
					return err
				}
				progress(Progress{Read: next.read, Lines: r.result.Lines, Events: r.result.Events})
			}
			if next.err != nil {
				<-done
				if errors.Is(next.err, io.EOF) {
					return nil
				}
				return next.err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// append stores a batch and its cursor, and finds out what happened when the answer does not say.
func (r *run) append(ctx context.Context, next batch) error {
	next.after.Run = r.id
	b := events.Batch{Events: next.events, Controls: []events.ControlWrite{next.after.write(r.m, r.seq)}}
	for attempt := 1; ; attempt++ {
		receipt, err := r.log.Append(ctx, b)
		switch {
		case err == nil && !receipt.Duplicate:
			r.accept(next, receipt.Position, receipt.Last)
			return nil
		case errors.Is(err, events.ErrUnknownOutcome) && attempt < attempts && ctx.Err() == nil:
			continue
		case err != nil && !errors.Is(err, events.ErrConflict) && !errors.Is(err, events.ErrIDConflict):
			return err
		}
		return r.resolve(ctx, next, err)
	}
}

// resolve looks at the cursor after an answer that leaves open who wrote the events: an attempt of ours whose answer was lost, another
// import, or somebody who published the same ids.
func (r *run) resolve(ctx context.Context, next batch, refusal error) error {
	now, seq, err := readCursor(ctx, r.log, r.m)
	switch {
	case err != nil:
		return err
	case seq != r.seq && now == next.after:
		info, err := r.log.Info(ctx)
		if err != nil {
			return err
		}
		r.accept(next, info.Position(seq), seq)
		return nil
	case seq != r.seq || errors.Is(refusal, events.ErrConflict):
		return events.Errorf(ErrRunning, "another import of %s wrote to the log meanwhile; this one stopped after line %d and added nothing twice",
			r.m.name, r.result.Lines).Hint("Let the other one finish, or run this one again: it goes on where the log stands.")
	case refusal != nil:
		return refusal
	}
	// The events were there before, all of them, and only the cursor was not moved.
	receipt, err := r.log.Append(ctx, events.Batch{Controls: []events.ControlWrite{next.after.write(r.m, r.seq)}})
	if err != nil {
		return err
	}
	r.accept(next, receipt.Position, receipt.Last)
	return nil
}

func (r *run) accept(next batch, p events.Position, seq uint64) {
	r.result.AddedLines += next.after.Lines - r.result.Lines
	r.result.AddedEvents += uint64(len(next.events))
	r.result.Lines, r.result.Events = next.after.Lines, next.after.Events
	r.result.Position, r.seq = p, seq
}
