package events

import (
	"context"
	"errors"
)

// MaxMutateAttempts bounds how often Mutate decides again after a conflict.
const MaxMutateAttempts = 16

// Mutate is the loop of an event-sourced service: it loads the entity's events, folds them into a state, lets decide
// choose new events, and appends them expecting that the entity has not moved. After a conflict it reads what is new, folds it
// on, and decides again, at most MaxMutateAttempts times; then the *ConflictError is returned.
//
// fold returns the state after one event. decide returns the events to append; none means there is nothing to do and the receipt is zero.
// Both run again after a conflict and must have no effect of their own. Events without an Entity get entity; events without an ID get a new one,
// kept over the attempts of one decision. An error of fold or decide is returned as it is; nothing was written.
func Mutate[S any](ctx context.Context, log Log, entity Entity, fold func(S, Record) (S, error),
	decide func(S) ([]Event, error),
) (Receipt, error) {
	var state S
	var last uint64
	var conflict error
	for range MaxMutateAttempts {
		for r, err := range log.History(ctx, entity, last+1) {
			if err != nil {
				return Receipt{}, err
			}
			if r.Kind == KindEvent {
				if state, err = fold(state, r); err != nil {
					return Receipt{}, err
				}
			}
			last = r.Sequence
		}
		decided, err := decide(state)
		if err != nil || len(decided) == 0 {
			return Receipt{}, err
		}
		for i := range decided {
			if decided[i].Entity.IsZero() {
				decided[i].Entity = entity
			}
			if decided[i].ID == "" {
				decided[i].ID = NewID()
			}
		}
		receipt, err := log.Append(ctx, Batch{Events: decided, Expect: map[Entity]Expectation{entity: ExpectExactly(last)}})
		if !errors.Is(err, ErrConflict) {
			return receipt, err
		}
		conflict = err
		if ctx.Err() != nil {
			break
		}
	}
	return Receipt{}, conflict
}
