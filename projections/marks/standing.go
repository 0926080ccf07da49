package marks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark.dev/events"
)

const (
	// looks is how often a log that ends before what was audited is looked at before that is believed: a leader that was elected just now may not have counted its
	// last records yet.
	looks = 4
	// firstLook is the pause after the first look, which doubles.
	firstLook = 50 * time.Millisecond
)

// standing compares what the log is now with what was audited: its lineage, its bounds, and the records of the marks that were found right. An error says nothing about the log.
func standing(ctx context.Context, log events.Reader, a *Audit) (*Finding, error) {
	info, err := log.Info(ctx)
	for look := 0; err == nil; look++ {
		if info.Terms.Lineage == a.Lineage {
			a.leaveBehind(info.Terms)
			a.terms = info.Terms
		}
		if look == looks-1 || info.Last >= a.last().Sequence {
			break
		}
		if err := pause(ctx, firstLook<<look); err != nil {
			return nil, err
		}
		info, err = log.Info(ctx)
	}
	switch {
	case errors.Is(err, events.ErrForeignHistory):
		return unidentified(ctx, log, a, err)
	case errors.Is(err, events.ErrDamaged):
		return &Finding{Kind: Altered, From: 1, First: 1, Text: "a record that says which history this is cannot be read: " + textOf(err)}, nil
	case err != nil:
		return nil, err
	}
	a.first = max(info.Begins, 1)
	switch begins := max(info.Begins, 1); {
	case info.First > begins:
		return &Finding{Kind: Hole, From: begins, To: info.First - 1, First: begins, Exact: true, Text: fmt.Sprintf("it begins at sequence %d", info.First)}, nil
	case a.Lineage != "" && info.Terms.Lineage != a.Lineage:
		return recreated(a, fmt.Sprintf("its lineage is %s, and the one that was audited has %s", info.Terms.Lineage, a.Lineage)), nil
	}
	return compare(ctx, log, a, info.Last)
}

// unidentified says of a log whose identity cannot be told what that means.
func unidentified(ctx context.Context, log events.Reader, a *Audit, cause error) (*Finding, error) {
	if a.Lineage == "" {
		return nil, cause // nothing was audited: it is not for us to say whose it is
	}
	r, err := log.Record(ctx, 1)
	switch {
	case err == nil && r.Kind == events.KindControl && r.Control.Name == events.ControlGenesis:
		return &Finding{Kind: Forked, From: 1, First: 1, Text: textOf(cause)}, nil // two histories in one
	case err == nil, errors.Is(err, events.ErrForeignHistory):
		return recreated(a, textOf(cause)), nil
	case errors.Is(err, events.ErrNotFound):
		return &Finding{Kind: Hole, From: 1, To: a.last().Sequence, First: 1, Exact: true, Text: textOf(cause)}, nil
	case errors.Is(err, events.ErrDamaged):
		return &Finding{Kind: Altered, From: 1, To: 1, First: 1, Exact: true, Text: textOf(cause)}, nil
	}
	return nil, err
}

func recreated(a *Audit, text string) *Finding {
	return &Finding{Kind: Recreated, From: 1, To: a.last().Sequence, First: 1, Exact: true, Text: text}
}

// compare looks for the newest good mark that the log, which ends at last, still holds, and says what is wrong with those behind it.
func compare(ctx context.Context, log events.Reader, a *Audit, last uint64) (*Finding, error) {
	var found *Finding
	if top := a.last(); top.Sequence > last {
		found = &Finding{
			Kind: Truncated, From: last + 1, To: top.Sequence, First: last + 1, Exact: true,
			Text: fmt.Sprintf("it ends at sequence %d, and was audited up to the mark at %d", last, top.Sequence),
		}
	}
	for i := len(a.Good) - 1; i >= 0; i-- {
		g := &a.Good[i]
		if g.Sequence > last || g.Sequence < a.first {
			continue
		}
		r, err := log.Record(ctx, g.Sequence)
		here := &Finding{From: g.Sequence, To: a.last().Sequence, First: g.Sequence, Exact: true, Text: fmt.Sprintf("the mark at sequence %d is not there any more", g.Sequence)}
		switch {
		case errors.Is(err, events.ErrNotFound):
			here.Kind = Hole
		case errors.Is(err, events.ErrDamaged), errors.Is(err, events.ErrForeignHistory):
			here.Kind, here.Text = Altered, textOf(err)
		case err != nil:
			return nil, err
		case r.Fingerprint().String() != g.Print:
			here.Kind, here.Exact = Forked, false
			here.Text = fmt.Sprintf("sequence %d is not the mark that was there when it was audited, but %s of %s", g.Sequence, r.Subject, r.Time.UTC().Format(time.RFC3339Nano))
		default:
			if found != nil && found.Kind != Truncated { // it begins somewhere behind this one
				found.At = place{g.Sequence, g.Number, g.Upto}
				if !found.Exact {
					found.From, found.First = g.Upto+1, g.Sequence+1
				}
			}
			return found, nil
		}
		if !here.Exact {
			here.From, here.First = 1, 1 // until an older one is found right
		}
		found = here
	}
	return found, nil
}

// pause waits, or returns ctx's cause when it ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
