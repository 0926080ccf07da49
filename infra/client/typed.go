package client

import (
	"context"
	"errors"
	"iter"

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

// Doc is one document among several.
type Doc[D any] struct {
	Key      string
	Document D // the zero D when it is missing
	// Missing says that the read model is complete and has no document of that key.
	Missing bool
	// Parked says where and why the document's fold stopped; empty when it did not.
	Parked string
}

// GetMany returns the documents of up to query.MaxKeys keys, in their order and from one region, and where the answer stands. Errors are those of query.Reader.Lookup, and
// projections.ErrInvalidQuery when the documents of the projection are not of type D.
func GetMany[D any](ctx context.Context, s Source, projection string, keys []string, o query.Options) ([]Doc[D], query.Documents, error) {
	a, err := s.Lookup(ctx, projection, keys, o)
	if err != nil {
		return nil, a, err
	}
	docs := make([]Doc[D], len(a.Items))
	for i := range a.Items {
		if docs[i], err = doc[D](projection, &a.Items[i]); err != nil {
			return nil, a, err
		}
	}
	return docs, a, nil
}

// All lists documents page after page, of o.Limit each, in the order of their keys or of an index. A document that stays at its place during the whole listing is
// yielded exactly once, whatever is written meanwhile. An error is yielded once and ends it; errors are those of query.Reader.List.
//
// When the read model is replaced meanwhile, or another region answers that has another one, a listing by key begins anew behind the scenes and goes on behind the last key; one
// by an index ends with projections.ErrResync, since documents may have changed places. So does one of a copy: another copy of the name is of another position.
func All[D any](ctx context.Context, s Source, projection string, o query.ListOptions) iter.Seq2[Doc[D], error] {
	return func(yield func(Doc[D], error) bool) {
		last := "" // key that was yielded
		begun := 0 // how often the listing was begun anew since
		for {
			page, err := s.List(ctx, projection, o)
			switch {
			case errors.Is(err, events.ErrTooLarge) && o.Limit != 1:
				o.Limit = max(limit(o)/2, 1) // it has to fit into a message
				continue
			case errors.Is(err, projections.ErrResync) && o.Index == "" && o.At == "" && o.After != "" && last != "" && begun < maxBegun:
				o.After = ""
				begun++
				continue
			case err != nil:
				yield(Doc[D]{}, err)
				return
			}
			for i := range page.Items {
				if o.Index == "" && last != "" && page.Items[i].Key <= last {
					continue
				}
				d, err := doc[D](projection, &page.Items[i])
				if !yield(d, err) || err != nil {
					return
				}
				last, begun = d.Key, 0
			}
			if o.After = page.Next; o.After == "" {
				return
			}
		}
	}
}

// maxBegun bounds how often a listing is begun anew without coming any further.
const maxBegun = 5

func limit(o query.ListOptions) int {
	if o.Limit == 0 {
		return query.DefaultLimit
	}
	return o.Limit
}

func doc[D any](projection string, item *query.Item) (Doc[D], error) {
	d := Doc[D]{Key: item.Key, Missing: item.Missing, Parked: item.Parked}
	if item.Missing {
		return d, nil
	}
	var err error
	d.Document, err = typed[D](projection, item.Document)
	return d, err
}

// typed reads a document into a D.
func typed[D any](projection string, document query.Document) (D, error) {
	d, err := projections.Decode[D](document.Fields, document.Values)
	if err != nil {
		return d, events.Errorf(projections.ErrInvalidQuery, "the documents of %s do not fit %T: %w", projection, d, err)
	}
	return d, nil
}
