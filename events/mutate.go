package events

import (
	"context"
	"errors"
	"slices"
)

// MaxMutateAttempts bounds how often Mutate decides again after a conflict.
const MaxMutateAttempts = 16

// Mutate is the loop of an event-sourced service: it loads the entity's events, folds them into a state, lets decide
// choose new events, and appends them expecting that the entity has not moved. After a conflict it reads what is new, folds it
// on, and decides again, at most MaxMutateAttempts times; then the *ConflictError is returned. When the region's copy of the log
// does not hold what the conflict is about yet, Mutate waits for it.
//
// fold returns the state after one event; events of a transaction that a promotion cut off are left out. decide returns the events to append; none
// means there is nothing to do and the receipt is zero. Both run again after a conflict and must have no effect of their own.
// Events without an Entity get entity; events without an ID get a new one. At least one decided event must be about entity, or
// nothing would guard the decision: otherwise it is ErrInvalidBatch. An error of fold or decide is returned as it is; nothing was written.
func Mutate[S any](ctx context.Context, log Log, entity Entity, fold func(S, Record) (S, error),
	decide func(S) ([]Event, error),
) (Receipt, error) {
	a := aggregate[S]{log: log, entity: entity, fold: fold}
	var conflict *ConflictError
	for range MaxMutateAttempts {
		if conflict != nil {
			// The refusal came from the leader; this region's copy may be behind it.
			if err := a.catchUp(ctx, conflict.Actual); err != nil {
				return Receipt{}, err
			}
		}
		if err := a.load(ctx); err != nil {
			return Receipt{}, err
		}
		decided, err := decide(a.state)
		if err != nil || len(decided) == 0 {
			return Receipt{}, err
		}
		decided = completed(decided, entity)
		receipt, err := log.Append(ctx, Batch{Events: decided, Expect: map[Entity]Expectation{entity: ExpectExactly(a.last)}})
		if !errors.As(err, &conflict) || conflict.Actual < a.last || ctx.Err() != nil {
			return receipt, err
		}
	}
	return Receipt{}, conflict
}

// completed returns the events with what the caller may leave out. It leaves the slice alone: decide may return it again.
func completed(events []Event, entity Entity) []Event {
	events = slices.Clone(events)
	for i := range events {
		if events[i].Entity.IsZero() {
			events[i].Entity = entity
		}
		if events[i].ID == "" {
			events[i].ID = NewID()
		}
	}
	return events
}

// aggregate is an entity's state as far as it was loaded.
type aggregate[S any] struct {
	log    Log
	entity Entity
	fold   func(S, Record) (S, error)
	state  S
	last   uint64 // the entity's last sequence
	terms  Terms  // asked for when the first record of a larger transaction is met
}

// load folds what is new.
func (a *aggregate[S]) load(ctx context.Context) error {
	for r, err := range a.log.History(ctx, a.entity, a.last+1) {
		if err != nil {
			return err
		}
		if !r.Stamp.Tx.Alone() && a.terms.Current() == 0 {
			info, err := a.log.Info(ctx)
			if err != nil {
				return err
			}
			a.terms = info.Terms
		}
		if r.Kind == KindEvent && !a.terms.Torn(&r) {
			if a.state, err = a.fold(a.state, r); err != nil {
				return err
			}
		}
		a.last = r.Sequence // the broker counts a torn record too
	}
	return nil
}

// catchUp returns when the region's copy of the log holds the record at seq. After a promotion it forgets what was loaded: some of it
// may be void now.
func (a *aggregate[S]) catchUp(ctx context.Context, seq uint64) error {
	info, err := a.log.Info(ctx)
	if err == nil && info.Last < seq {
		for _, err := range a.log.Read(ctx, Range{From: info.Last + 1, To: seq, Follow: true}) {
			if err != nil {
				return err
			}
		}
		info, err = a.log.Info(ctx)
	}
	if err != nil {
		return err
	}
	if a.terms.Current() != info.Terms.Current() && a.terms.Current() != 0 {
		var nothing S
		a.state, a.last = nothing, 0
	}
	if a.terms.Current() != 0 {
		a.terms = info.Terms
	}
	return nil
}
