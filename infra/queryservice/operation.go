package queryservice

import (
	"context"
	"reflect"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
)

// operation is one thing that can be asked for.
type operation struct {
	name string
	// what it does and takes, for whoever looks at the service's info.
	what    string
	members []string
	// read decodes a request. wait is how long it asks to wait, beside the time of the answer itself.
	read func(data []byte) (answer work, wait time.Duration, err error)
}

// work answers a request that was understood. With an error, the standing has the position that was reached, as far as it is known.
type work func(ctx context.Context) (body any, at query.Standing, err error)

// operations returns everything that the service answers.
func operations(r *query.Reader) []operation {
	return []operation{
		of(Get, "one document", func(q *GetRequest) (work, time.Duration, error) {
			o, err := q.options()
			return func(ctx context.Context) (any, query.Standing, error) {
				a, err := r.Get(ctx, q.Projection, q.Key, o)
				return &a, a.Standing, err
			}, patience(o), err
		}),
		of(Lookup, "several documents at one position", func(q *LookupRequest) (work, time.Duration, error) {
			o, err := q.options()
			return func(ctx context.Context) (any, query.Standing, error) {
				a, err := r.Lookup(ctx, q.Projection, q.Keys, o)
				return &a, a.Standing, err
			}, patience(o), err
		}),
		of(List, "a page of documents, by key or by an index", func(q *ListRequest) (work, time.Duration, error) {
			o, err := q.options()
			return func(ctx context.Context) (any, query.Standing, error) {
				page, err := r.List(ctx, q.Projection, o)
				return &page, page.Standing, err
			}, patience(o.Options), err
		}),
		of(Count, "how many documents there are", func(q *CountRequest) (work, time.Duration, error) {
			o, err := q.options()
			return func(ctx context.Context) (any, query.Standing, error) {
				n, err := r.Count(ctx, q.Projection, query.CountOptions{Options: o, Range: q.ranged()})
				return &n, n.Standing, err
			}, patience(o), err
		}),
		of(Marks, "what a read model was at the marks that it passed, for comparing regions", func(q *MarksRequest) (work, time.Duration, error) {
			o, err := q.options()
			return func(ctx context.Context) (any, query.Standing, error) {
				m, err := r.Marks(ctx, q.Projection, o)
				return &m, m.Stands(), err
			}, patience(o.Options), err
		}),
		of(Status, "how the region and its read models do", func(*StatusRequest) (work, time.Duration, error) {
			return func(ctx context.Context) (any, query.Standing, error) {
				o, err := r.Overview(ctx)
				return &o, query.Standing{}, err
			}, 0, nil
		}),
	}
}

// of makes an operation of how its requests are understood.
func of[Q any](name, what string, read func(*Q) (work, time.Duration, error)) operation {
	known := members(reflect.TypeFor[Q]())
	return operation{name: name, what: what, members: known, read: func(data []byte) (work, time.Duration, error) {
		q, err := decode[Q](data, known)
		if err != nil {
			return nil, 0, err
		}
		return read(&q)
	}}
}

// patience is how long a read waits for a position.
func patience(o query.Options) time.Duration {
	switch {
	case !o.Waits():
		return 0
	case o.Wait == 0:
		return query.DefaultWait
	}
	return max(o.Wait, 1) // one that does not wait at all is still one of those that may
}

// stopping is told to whoever waits when the service ends.
func stopping() error {
	return events.Errorf(codeStopping, "the service is stopping; the wait ended early").Hint("Ask again, or ask another one.")
}
