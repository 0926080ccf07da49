package query

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Range is a part of an index. The zero Range is all documents, by key.
type Range struct {
	// Index is the name of an index of the projection; empty: by key.
	Index string
	// Equal are the values that the first fields of the index must have, in its order.
	Equal []string
	// From and To bound the next field: from From on, up to To and without it; nil: no bound.
	From, To *string
}

// unbounded returns an error when there are bounds and no index that they are of.
func (x *Range) unbounded() error {
	if len(x.Equal) > 0 || x.From != nil || x.To != nil {
		return events.Errorf(projections.ErrInvalidQuery, "bounds were given, and no index that they are of").Hint("Name an index.")
	}
	return nil
}

func (r *Reader) fetchIndex(*model, *listing) (fetch, error) {
	return func(context.Context, int, place, int) (projections.Header, []entry, error) {
		return projections.Header{}, nil, nil
	}, nil
}
