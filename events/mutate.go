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
// fold returns the state after one event. decide returns the events to append; none means there is nothing to do and the receipt is zero.
// Both run again after a conflict and must have no effect of their own. Events without an Entity get entity; events without an ID get a new one.
// At least one decided event must be about entity, or nothing would guard the decision: otherwise it is ErrInvalidBatch.
// An error of fold or decide is returned as it is; nothing was written.
func Mutate[S any](ctx context.Context, log Log, entity Entity, fold func(S, Record) (S, error),
	decide func(S) ([]Event, error),
) (Receipt, error) {
	var state S
	var last uint64
	var conflict *ConflictError
	for range MaxMutateAttempts {
		if conflict != nil {
			// The refusal came from the leader; this region's copy may be behind it.
			if err := waitFor(ctx, log, conflict.Actual); err != nil {
				return Receipt{}, err
			}
		}
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
		decided = completed(decided, entity)
		receipt, err := log.Append(ctx, Batch{Events: decided, Expect: map[Entity]Expectation{entity: ExpectExactly(last)}})
		if !errors.As(err, &conflict) || conflict.Actual < last || ctx.Err() != nil {
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

// waitFor returns when the region's copy of the log holds the record at seq.
func waitFor(ctx context.Context, log Log, seq uint64) error {
	info, err := log.Info(ctx)
	if err != nil || info.Last >= seq {
		return err
	}
	for _, err := range log.Read(ctx, Range{From: info.Last + 1, To: seq, Follow: true}) {
		if err != nil {
			return err
		}
	}
	return nil
}
