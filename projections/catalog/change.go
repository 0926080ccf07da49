package catalog

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
)

const (
	// attempts bounds how often a change is decided again after somebody else changed the catalog.
	attempts = 16
	// doubts bounds how often an append whose outcome is not known is made again.
	doubts = 3
	// doubtPause is the pause before that: the log has pursued it already.
	doubtPause = 250 * time.Millisecond
)

// Done is a decision that is in the log.
type Done struct {
	Decision
	// Position of the catalog that it is in; zero when there is none yet.
	Position events.Position
	// Catalog with it, as it is in the log.
	Catalog Catalog
}

// Change reads the catalog, decides, and appends what was decided if the catalog has not moved; else it reads and decides again. A decision that changes nothing
// is not appended. decide may be called several times and must have no effect of its own; its error is returned as it is.
//
// In a region that mirrors the log the append is forwarded, and a conflict is with what this region may not hold yet: then that is waited for. So is the leader's head, which floors tell,
// before it is believed that there is nothing to do; without floors that is said of this region's copy. An append whose outcome is not
// known is never guessed: the same decision is made again on the catalog as it is now, and the expected sequence lets only one of the two be stored.
//
// Errors: ErrUnreadable, and those of events.Log. With events.ErrUnknownOutcome, making the same change again resolves it; with every other error nothing
// was changed.
func Change(ctx context.Context, log events.Log, floors events.Floors, decide func(Catalog) (Decision, error)) (Done, error) {
	w := writer{log: log, floors: floors, decide: decide, mine: make(map[string]Decision)}
	for range attempts {
		done, again, err := w.try(ctx)
		if !again {
			return done, w.told(ctx, err)
		}
	}
	return Done{}, w.told(ctx, w.conflict)
}

// writer makes one change.
type writer struct {
	log      events.Log
	floors   events.Floors // nil once this region's copy is known to hold what the leader had
	decide   func(Catalog) (Decision, error)
	mine     map[string]Decision // what was appended, by the record's change, and may be stored
	doubt    error               // why that is not known of one of them
	doubts   int
	conflict error
}

// try makes one attempt, and reports whether another one is to be made.
func (w *writer) try(ctx context.Context) (done Done, again bool, err error) {
	c, err := Read(ctx, w.log)
	if err != nil {
		return Done{}, false, err
	}
	if made, ok := w.mine[c.change]; ok && c.Sequence != 0 { // the one whose answer was lost
		w.doubt = nil
		made.After, _ = c.Find(made.After.Name)
		return w.finish(ctx, made, c)
	}
	if c.newer != "" {
		return Done{}, false, unreadable(c.Sequence, "a newer release wrote into it what this one does not know (%s)", c.newer)
	}
	d, err := w.decide(c)
	if err == nil && d.Verdict != Unchanged {
		return w.append(ctx, c, d)
	}
	if w.floors != nil { // the leader's catalog may be another one
		late := w.level(ctx)
		if late == nil {
			return Done{}, true, nil
		}
		if err == nil {
			err = late
		}
	}
	if err != nil {
		return Done{}, false, err
	}
	w.doubt = nil // whoever did it: it is so
	return w.finish(ctx, d, c)
}

// level returns when the region's copy holds what the leader has now.
func (w *writer) level(ctx context.Context) error {
	all, err := w.floors.Floors(ctx)
	if err != nil {
		return err
	}
	w.floors = nil
	head := uint64(0)
	for _, f := range all {
		head = max(head, f.Sequence)
	}
	return w.catchUp(ctx, head)
}

// append stores a decision.
func (w *writer) append(ctx context.Context, c Catalog, d Decision) (Done, bool, error) {
	change := events.NewID()
	b, err := w.batch(ctx, c, d, change)
	if err != nil {
		return Done{}, false, err
	}
	receipt, err := w.log.Append(ctx, b)
	conflict, moved := errors.AsType[*events.ConflictError](err)
	switch {
	case err == nil:
		w.doubt = nil
		stored, err := decode(&events.Record{Sequence: receipt.Last, Control: b.Controls[len(b.Controls)-1].Control})
		d.After, _ = stored.Find(d.After.Name)
		return Done{Decision: d, Position: receipt.Position, Catalog: stored}, false, err
	case moved:
		w.conflict = err
		err = w.catchUp(ctx, conflict.Actual)
		return Done{}, err == nil, err
	case errors.Is(err, events.ErrUnknownOutcome):
		w.mine[change], w.doubt = d, err
		if w.doubts++; w.doubts > doubts {
			return Done{}, false, err
		}
		return Done{}, pause(ctx, doubtPause), err
	}
	return Done{}, false, err
}

// batch returns the append: the definition, if there is a new one, and then the catalog, so that a catalog is never without its definitions.
func (w *writer) batch(ctx context.Context, c Catalog, d Decision, change string) (events.Batch, error) {
	var b events.Batch
	if d.text != nil {
		last := uint64(0)
		r, err := w.log.LastControl(ctx, DefinitionControl(d.After.Name))
		switch {
		case err == nil:
			last = r.Sequence
		case !errors.Is(err, events.ErrNotFound):
			return b, err
		}
		b.Controls = append(b.Controls, events.ControlWrite{
			Control: events.Control{Name: DefinitionControl(d.After.Name), Data: d.text}, Expect: events.ExpectExactly(last),
		})
	}
	b.Controls = append(b.Controls, events.ControlWrite{
		Control: events.Control{Name: Control, Data: d.next.encode(change)}, Expect: events.ExpectExactly(c.Sequence),
	})
	return b, nil
}

// finish returns what the catalog says.
func (w *writer) finish(ctx context.Context, d Decision, c Catalog) (Done, bool, error) {
	done := Done{Decision: d, Catalog: c}
	if c.Sequence == 0 {
		return done, false, nil
	}
	info, err := w.log.Info(ctx)
	if err == nil {
		done.Position = info.Position(c.Sequence)
	}
	return done, false, err
}

// catchUp returns when the region's copy of the log holds the record at seq, which a conflict was with.
func (w *writer) catchUp(ctx context.Context, seq uint64) error {
	info, err := w.log.Info(ctx)
	if err != nil || info.Last >= seq {
		return err
	}
	for _, err := range w.log.Read(ctx, events.Range{From: info.Last + 1, To: seq, Follow: true}) {
		if err != nil {
			return err
		}
	}
	return nil
}

// told returns the error of a change. While an earlier append may be stored, none says that nothing was changed.
func (w *writer) told(ctx context.Context, err error) error {
	if err == nil || w.doubt == nil {
		return err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return events.Errorf(events.ErrUnknownOutcome, "it could not be found out whether the catalog of projections was changed: %w", errors.Join(w.doubt, err)).
		Hint("Do the same again: what is there already is not done twice.")
}

// pause waits, and reports whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
