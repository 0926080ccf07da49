// Package marks writes marks into a log: records at which time passes for read models, at which each writes down what it is by then, and which say what the records before
// them are, so that every copy of the log can be checked.
package marks

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"tidemark.dev/events"
)

const (
	// DefaultInterval is how often a log that is written to gets a mark.
	DefaultInterval = 10 * time.Second
	// DefaultIdle is how often one gets a mark that holds nothing new since the last.
	DefaultIdle = time.Minute
	// patience bounds one attempt.
	patience = 10 * time.Second
)

// Options of a Writer. The zero value works.
type Options struct {
	// Interval is how often a log that is written to gets a mark; default DefaultInterval.
	Interval time.Duration
	// Idle is how often one gets a mark that nobody writes to; default DefaultIdle, and at least Interval.
	Idle time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Logger gets one line when marks cannot be written any more, and one when they can again; default: none.
	Logger *slog.Logger
}

// Writer writes the marks of one log, in the region that leads it. Several may run: each mark is compared and set against the one before, so that two
// of them never write more marks than one does.
type Writer struct {
	log     events.Log
	options Options
	failed  bool
}

// New returns a Writer.
func New(log events.Log, o Options) *Writer {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.Idle <= 0 {
		o.Idle = DefaultIdle
	}
	o.Idle = max(o.Idle, o.Interval)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Writer{log: log, options: o}
}

// Run writes marks until ctx ends, and then returns nil. A log that does not answer is waited for. A Writer runs once at a time.
func (w *Writer) Run(ctx context.Context) error {
	tick := time.NewTicker(w.options.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		bounded, cancel := context.WithTimeout(ctx, patience)
		err := w.Write(bounded)
		cancel()
		if ctx.Err() == nil {
			w.tell(ctx, err)
		}
	}
}

// Write writes a mark, unless there is one that is young enough. Errors are those of events.Appender and events.Reader.
func (w *Writer) Write(ctx context.Context) error {
	last, info, err := w.last(ctx)
	if err != nil {
		return err
	}
	if last.Sequence > 0 {
		due := w.options.Interval / 2 // somebody else's, a moment ago
		before, _ := events.MarkOf(&last)
		if idle := last.Sequence >= info.Last; idle && before.Upto+1 >= last.Sequence {
			due = w.options.Idle - w.options.Interval/2
		}
		if w.options.Now().Sub(last.Time) < due {
			return nil
		}
	}
	_, err = w.append(ctx, &last, info)
	if errors.Is(err, events.ErrConflict) || errors.Is(err, events.ErrUnknownOutcome) {
		return nil // somebody else wrote it, or we did and the next attempt will see
	}
	return err
}

// Now writes a mark at once, however young the last one is, and returns its position. In a region that mirrors the log it goes to the one that leads. Errors are those of events.Appender and
// events.Reader, and events.ErrConflict when others write marks all the time.
func (w *Writer) Now(ctx context.Context) (events.Position, error) {
	for attempt := 1; ; attempt++ {
		last, info, err := w.last(ctx)
		if err != nil {
			return events.Position{}, err
		}
		at, err := w.append(ctx, &last, info)
		if err == nil || attempt == attempts || !errors.Is(err, events.ErrConflict) && !errors.Is(err, events.ErrUnknownOutcome) {
			return at, err
		}
		if why := w.await(ctx, last.Sequence); why != nil {
			return events.Position{}, errors.Join(err, why)
		}
	}
}

const (
	// attempts bounds how often Now tries, and look is how often it looks whether the mark of somebody else has come to this copy of the log.
	attempts = 5
	look     = 20 * time.Millisecond
	// settle is how long a mark is waited for that may have been written.
	settle = 3 * time.Second
)

// await waits until the log has a mark above a sequence, or for so long that none will come: of an append whose outcome is not known that is what resolves it.
func (w *Writer) await(ctx context.Context, above uint64) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	enough := time.NewTimer(settle)
	defer enough.Stop()
	for {
		last, _, err := w.last(ctx)
		if err != nil || last.Sequence > above {
			return err
		}
		select {
		case <-tick.C:
		case <-enough.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// last returns the last mark, and the log as it is after that: so it reaches beyond what the mark covers.
func (w *Writer) last(ctx context.Context) (events.Record, events.Info, error) {
	last, err := w.log.LastControl(ctx, events.ControlMark)
	if err != nil && !errors.Is(err, events.ErrNotFound) {
		return last, events.Info{}, err
	}
	info, err := w.log.Info(ctx)
	return last, info, err
}

// append appends the mark behind the last one.
func (w *Writer) append(ctx context.Context, last *events.Record, info events.Info) (events.Position, error) {
	before, _ := events.MarkOf(last)
	next := events.Mark{Time: w.options.Now().UTC(), Number: before.Number + 1, After: before.Upto, Upto: min(info.Last, before.Upto+events.MaxMarkRange)}
	chain, err := ChainOf(ctx, w.log, next.After, next.Upto)
	if err != nil {
		return events.Position{}, err
	}
	next.Chain = chain.String()
	data, err := json.Marshal(next)
	if err != nil {
		return events.Position{}, err
	}
	mark := events.ControlWrite{Control: events.Control{Name: events.ControlMark, Data: data}, Expect: events.ExpectExactly(last.Sequence)}
	receipt, err := w.log.Append(ctx, events.Batch{Controls: []events.ControlWrite{mark}})
	return receipt.Position, err
}

// ChainOf returns the chain of the records of a log above after, up to upto. Errors are those of events.Reader.
func ChainOf(ctx context.Context, log events.Reader, after, upto uint64) (events.Hash, error) {
	var c events.Chain
	if after >= upto {
		return c.Sum(), nil
	}
	for records, err := range log.Read(ctx, events.Range{From: after + 1, To: upto}) {
		if err != nil {
			return events.Hash{}, err
		}
		for i := range records {
			c.Add(&records[i])
		}
	}
	if err := ctx.Err(); err != nil {
		return events.Hash{}, err
	}
	return c.Sum(), nil
}

// tell logs each change of whether marks can be written.
func (w *Writer) tell(ctx context.Context, err error) {
	switch {
	case err != nil && !w.failed:
		w.options.Logger.WarnContext(ctx, "no mark can be written: nothing expires until one is", "origin", w.log.Origin(), "reason", err.Error())
	case err == nil && w.failed:
		w.options.Logger.InfoContext(ctx, "marks are written again", "origin", w.log.Origin())
	}
	w.failed = err != nil
}
