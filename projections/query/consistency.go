package query

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultWait is how long a read waits for what it asks for.
	DefaultWait = 5 * time.Second
	// MaxWait bounds it.
	MaxWait = time.Minute
)

// Options of a read say how new the answer must be. The zero value takes whatever is there.
type Options struct {
	// AtLeast is the position from which on to answer; zero: whatever is there.
	AtLeast events.Position
	// Strong asks the leader for its head after the read began, and answers from there or later: what anybody had been told to be stored, anywhere, is in the answer. It
	// covers every position that was acknowledged, so AtLeast has no place beside it.
	Strong bool
	// Wait is how long to wait for that; 0 means DefaultWait, a negative one not at all. At most MaxWait.
	Wait time.Duration
	// At is the name of a copy of the read model to read instead of the live one; empty: the live one. A copy does not move, so nothing is waited for: AtLeast is answered or refused at
	// once, and Strong is refused.
	At string
}

// wait returns how long to wait at most.
func (o Options) wait() (time.Duration, error) {
	switch {
	case o.Strong && !o.AtLeast.IsZero():
		return 0, events.Errorf(projections.ErrInvalidQuery, "a strong read was asked for, and beside it the position %s", o.AtLeast).
			Hint("Ask for one of them. A strong read covers whatever was acknowledged before it.")
	case o.Wait == 0:
		return DefaultWait, nil
	case o.Wait < 0:
		return 0, nil
	case o.Wait > MaxWait:
		return 0, events.Errorf(projections.ErrInvalidQuery, "a wait of %s is over the bound of %s", o.Wait, MaxWait)
	}
	return o.Wait, nil
}

// Waits reports whether a read may have to wait for anything. One of a copy never does.
func (o Options) Waits() bool { return o.At == "" && (o.Strong || !o.AtLeast.IsZero()) }

// wanted returns the position from which on to answer, zero for any; or why no read model of this region can ever be there.
func (o Options) wanted(ctx context.Context, heads *Heads, wait time.Duration) (events.Position, error) {
	if !o.Strong {
		return o.AtLeast, acceptable(ctx, heads, o.AtLeast)
	}
	head, err := heads.Leader(ctx, wait)
	if err != nil {
		return events.Position{}, err
	}
	err = acceptable(ctx, heads, head)
	if errors.Is(err, events.ErrLostPosition) {
		err = events.Errorf(events.ErrForeignHistory, "the leader's log is at %s, which is not on the history of this region's copy; nothing was read", head).
			Hint("tidemark status says how the copy stands to the leader's log.")
	}
	return head, err
}

// acceptable refuses a position that no read model of this region can ever cover.
func acceptable(ctx context.Context, heads *Heads, p events.Position) error {
	if p.IsZero() {
		return nil
	}
	info, err := heads.Info(ctx)
	if err == nil && (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), p) != events.Lost {
		return nil // it is in the log, or may still come
	}
	histories, head, err := heads.Fresh(ctx) // what was known may be of before the log was recreated
	if err != nil {
		return err
	}
	if histories.Covers(head, p) == events.Lost {
		return lost(p, head)
	}
	return nil
}

func lost(p, at events.Position) error {
	return events.Errorf(events.ErrLostPosition, "the position %s is not of this region's history, which is at %s", p, at).
		Hint("It was made by another installation, or lost in a failover. Read without a position, or publish again.")
}

// Behind is ErrNotReached: the read model did not come far enough in time.
type Behind struct {
	// Position that the read model has reached.
	Position events.Position
	// Err says what was wanted.
	Err *events.Error
}

func notReached(projection string, at, wanted events.Position) error {
	return &Behind{Position: at, Err: events.Errorf(projections.ErrNotReached, "the read model %s is at %s and did not reach %s in time", projection, at, wanted).
		Hint("Ask again, wait longer, or read without a position.")}
}

// Error is the text of Err.
func (b *Behind) Error() string { return b.Err.Error() }

// Unwrap returns Err.
func (b *Behind) Unwrap() error { return b.Err }
