package events

import (
	"fmt"
	"time"
)

// MaxTimeAhead is how far the time of an event may be ahead of its writer's clock. An event is in the past: more than time
// zones and sloppy clocks explain is a mistake.
const MaxTimeAhead = 24 * time.Hour

// Validate checks a batch before anything is sent: every event, every expectation, the bounds, and that no two events
// share source and id. It returns ErrInvalidBatch, ErrTooLarge, or the error of the first event that is wrong, and says which.
func (b *Batch) Validate() error {
	n := len(b.Events) + len(b.Controls)
	switch {
	case n == 0:
		return Errorf(ErrInvalidBatch, "the append has no event; nothing was written")
	case n > MaxBatch:
		return Errorf(ErrTooLarge, "the append has %d records, over the bound of %d; nothing was written", n, MaxBatch).Hint("Split it.")
	}
	bytes := 0
	var seen map[Entity]bool
	if len(b.Expect) > 0 {
		seen = make(map[Entity]bool, len(b.Expect))
	}
	for i := range b.Events {
		e := &b.Events[i]
		if err := e.Validate(); err != nil {
			return b.which(i, err)
		}
		bytes += len(e.Data)
		if seen != nil {
			seen[e.Entity] = true
		}
	}
	for entity := range b.Expect {
		if !seen[entity] {
			return Errorf(ErrInvalidBatch, "the append expects a sequence of %q but has no event of it; nothing was written", clip(entity.String()))
		}
	}
	for i := range b.Controls {
		if err := b.validateControl(i); err != nil {
			return err
		}
		bytes += len(b.Controls[i].Data)
	}
	if bytes > MaxBatchBytes {
		return Errorf(ErrTooLarge, "the append has %d bytes of data, over the bound of %d; nothing was written", bytes, MaxBatchBytes).Hint("Split it.")
	}
	return b.uniqueIDs()
}

// which adds to the error of one event of several which one it is.
func (b *Batch) which(i int, err error) error {
	if told, ok := err.(*Error); ok && len(b.Events) > 1 { //nolint:errorlint // Validate wraps nothing
		told.What = fmt.Sprintf("event %d of %d: %s", i+1, len(b.Events), told.What)
	}
	return err
}

func (b *Batch) validateControl(i int) error {
	c := &b.Controls[i]
	if !ValidControlName(c.Name) {
		return Errorf(ErrInvalidBatch, "%q cannot name a control record; nothing was written", clip(c.Name))
	}
	if len(c.Data) > MaxDataBytes {
		return Errorf(ErrTooLarge, "the control record %s has %d bytes, over the bound of %d; nothing was written", c.Name, len(c.Data), MaxDataBytes)
	}
	for j := range i {
		if b.Controls[j].Name == c.Name {
			return Errorf(ErrInvalidBatch, "the append has two control records %s; nothing was written", c.Name)
		}
	}
	return nil
}

func (b *Batch) uniqueIDs() error {
	if len(b.Events) < 2 {
		return nil
	}
	type key struct{ source, id string }
	ids := make(map[key]struct{}, len(b.Events))
	for i := range b.Events {
		k := key{b.Events[i].Source, b.Events[i].ID}
		if _, twice := ids[k]; twice {
			return Errorf(ErrInvalidBatch, "two events of the append have the source %q and the id %q; nothing was written", clip(k.source), clip(k.id))
		}
		ids[k] = struct{}{}
	}
	return nil
}

// Messages returns the batch's messages in order. Clock gives each record its timestamp; observed turns an expected sequence into
// the position that the writer had seen. It returns ErrClockAhead when the clock refuses, or an event's time is further ahead of
// it than MaxTimeAhead.
func (b *Batch) Messages(origin string, clock *Clock, observed func(seq uint64) Position) ([]Message, error) {
	n := len(b.Events) + len(b.Controls)
	out := make([]Message, 0, n)
	for i := range b.Events {
		e := &b.Events[i]
		ts, err := clock.Now()
		if err != nil {
			return nil, err
		}
		if e.Time.After(ts.Time().Add(MaxTimeAhead)) {
			return nil, b.which(i, Errorf(ErrClockAhead, "the event's time %s is more than %s ahead of the clock; nothing was written",
				e.timeText(), MaxTimeAhead))
		}
		stamp := Stamp{Time: ts, Tx: place(i, n), Hash: e.ContentHash(), Observed: e.Observed}
		if seq, exact := b.Expect[e.Entity].Sequence(); exact && seq > 0 && stamp.Observed.IsZero() {
			stamp.Observed = observed(seq)
		}
		out = append(out, EncodeEvent(origin, e, stamp))
	}
	for i := range b.Controls {
		c := b.Controls[i].Control
		ts, err := clock.Now()
		if err != nil {
			return nil, err
		}
		stamp := Stamp{Time: ts, Tx: place(len(b.Events)+i, n), Hash: c.ContentHash()}
		out = append(out, EncodeControl(origin, c, stamp))
	}
	return out, nil
}

func place(i, n int) Tx {
	if n <= 1 {
		return Tx{}
	}
	return Tx{Index: uint16(i + 1), Count: uint16(n)} //nolint:gosec // at most MaxBatch
}
