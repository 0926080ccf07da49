package declared

import (
	"errors"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// change applies to a document what an event does to it: all operations of its key, or none when one of them cannot be applied. ops begin with the
// document's first one.
func change(p projections.Projection, state projections.State, exists bool, r *events.Record, ops []projections.Op) (projections.State, bool, error) {
	key := ops[0].Key
	next := state
	if slices.ContainsFunc(ops[1:], func(op projections.Op) bool { return op.Key == key }) {
		next = p.NewState()
		if err := next.SetFields(state.AppendFields(nil)); err != nil {
			return state, exists, err
		}
	}
	was := exists
	for i := range ops {
		op := &ops[i]
		if op.Key != key {
			continue
		}
		err := op.Err
		if err == nil {
			err = p.Fold(next, r, op)
		}
		switch {
		case err == nil:
			exists = true
		case errors.Is(err, projections.Delete):
			next, exists = p.NewState(), false
		default:
			return state, was, err
		}
	}
	return next, exists, nil
}
