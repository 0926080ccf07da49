package skips

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// rounds bounds how often a write begins anew, because somebody else wrote a skip of the projection first.
	rounds = 32
	// doubts bounds how often an append whose outcome is not known is made again.
	doubts = 3
	// copyPoll is how often a copy of the log is looked at that has not received yet what its leader has.
	copyPoll = 20 * time.Millisecond
)

// Written tells where a skip stands in the log.
type Written struct {
	// Position of the record that added it: from there on it is obeyed.
	Position events.Position `json:"position"`
	// Already says that it was there before, and nothing was written now.
	Already bool `json:"already"`
}

// Write appends the record that adds a skip. reason is why, for whoever reads the log later.
//
// Two that write at once both succeed. The record is compared and set on the newest of its name, so it is stored at most once whatever is lost
// on the way: an append whose outcome is not known is made again, with the same expectation, and a refusal is resolved by reading. It returns
// ErrInvalidSkip and ErrTooManySkips (nothing was written), the errors of Append and of reading, or events.ErrUnknownOutcome: then
// writing the same skip again resolves it.
func Write(ctx context.Context, log events.Log, projection string, s Skip, reason string) (Written, error) {
	s.At = 0
	if err := check(s, reason); err != nil {
		return Written{}, err
	}
	w := writing{log: log, projection: projection, skip: s, reason: reason}
	for range rounds {
		done, err := w.round(ctx)
		if done || err != nil {
			return w.written, err
		}
	}
	return Written{}, events.Errorf(events.ErrConflict, "others wrote skips of %s %d times while this one was to be written; it was not", projection, rounds).
		Hint("Try again.")
}

func check(s Skip, reason string) error {
	switch {
	case projections.ValidateKey(s.Key) != nil:
		return projections.ValidateKey(s.Key)
	case s.Sequence == 0:
		return invalid("no event has sequence 0; nothing was written")
	case len(reason) > MaxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl):
		return invalid("the reason must be at most %d bytes of text on one line; nothing was written", MaxReason)
	}
	return nil
}

// writing is one call of Write.
type writing struct {
	log        events.Log
	projection string
	skip       Skip
	reason     string

	doubt   error // an attempt's outcome is not known
	doubts  int
	written Written
}

// round reads what is there and appends the next record. It reports whether the skip is in the log.
func (w *writing) round(ctx context.Context) (done bool, err error) {
	info, err := w.log.Info(ctx)
	if err != nil {
		return false, w.failed(err)
	}
	list, err := Read(ctx, w.log, w.projection, info.Last)
	if err != nil {
		return false, w.failed(err)
	}
	if at, ok := list.Find(w.skip.Key, w.skip.Sequence, info.Last); ok {
		w.written = Written{Position: info.Position(at), Already: w.doubt == nil}
		return true, nil
	}
	if w.skip.Sequence > info.Last {
		return false, invalid("sequence %d is not in the log, which ends at %d; nothing was written", w.skip.Sequence, info.Last)
	}
	data, err := list.with(w.skip, w.reason)
	if err != nil {
		return false, w.failed(err)
	}
	record := events.ControlWrite{
		Control: events.Control{Name: Name(w.projection), Data: data}, Expect: events.ExpectExactly(list.Last()),
	}
	receipt, err := w.log.Append(ctx, events.Batch{Controls: []events.ControlWrite{record}})
	var conflict *events.ConflictError
	switch {
	case err == nil:
		w.written = Written{Position: receipt.Position}
		return true, nil
	case errors.As(err, &conflict):
		return false, w.await(ctx, conflict.Actual)
	case errors.Is(err, events.ErrUnknownOutcome) && w.doubts < doubts && ctx.Err() == nil:
		w.doubt, w.doubts = err, w.doubts+1
		return false, nil
	}
	return false, w.failed(err)
}

// with returns the data of the record that adds a skip.
func (l *List) with(s Skip, reason string) ([]byte, error) {
	c := content{Skips: append(append(make([]Skip, 0, len(l.skips)+1), l.skips...), s), Reason: reason}
	data, err := c.encode()
	if err == nil && (len(c.Skips) > MaxSkips || len(data) > MaxBytes) {
		return nil, events.Errorf(projections.ErrTooManySkips, "%d skips are recorded already, and %d of at most %d KiB are the bound; nothing was written",
			len(l.skips), MaxSkips, MaxBytes>>10).
			Hint("Give the projection a new version that can apply such events: it is built beside the old one and folds them again.")
	}
	return data, err
}

// await waits until this region's copy of the log holds what its leader has.
func (w *writing) await(ctx context.Context, seq uint64) error {
	for {
		info, err := w.log.Info(ctx)
		if err != nil {
			return w.failed(err)
		}
		if info.Last >= seq {
			return nil
		}
		t := time.NewTimer(copyPoll)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return w.failed(context.Cause(ctx))
		}
	}
}

// failed returns an error, unless an attempt before may have been stored.
func (w *writing) failed(err error) error {
	if w.doubt == nil || errors.Is(err, events.ErrUnknownOutcome) {
		return err
	}
	return events.Errorf(events.ErrUnknownOutcome, "the skip may or may not be in the log: %w, and then %w", w.doubt, err).
		Hint("Write the same skip again: that resolves it.")
}
