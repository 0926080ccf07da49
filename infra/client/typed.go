package client

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// Get returns a document as a D, and the answer it came in. Errors are those of query.Reader.Get, and
// projections.ErrInvalidQuery when the documents of the projection are not of type D.
func Get[D any](ctx context.Context, s Source, projection, key string, o query.Options) (D, query.Answer, error) {
	a, err := s.Get(ctx, projection, key, o)
	if err != nil {
		var none D
		return none, a, err
	}
	d, err := typed[D](projection, a.Document)
	return d, a, err
}

// typed reads a document into a D.
func typed[D any](projection string, doc query.Document) (D, error) {
	d, err := projections.Decode[D](doc.Fields, doc.Values)
	if err != nil {
		return d, events.Errorf(projections.ErrInvalidQuery, "the documents of %s do not fit %T: %w", projection, d, err)
	}
	return d, nil
}
