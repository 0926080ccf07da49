package client

import (
	"context"
	"errors"
	"iter"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// Source is what the typed functions of this package read from: a Client or a Regions.
type Source interface {
	Get(ctx context.Context, projection, key string, o query.Options) (query.Answer, error)
	Lookup(ctx context.Context, projection string, keys []string, o query.Options) (query.Documents, error)
	List(ctx context.Context, projection string, o query.ListOptions) (query.Page, error)
	Count(ctx context.Context, projection string, o query.CountOptions) (query.Count, error)
	Overview(ctx context.Context) (query.Overview, error)
	Watch(ctx context.Context, projection string, o WatchOptions) iter.Seq2[Step[query.Document], error]
}

var (
	_ Source = (*Client)(nil)
	_ Source = (*Regions)(nil)
)

// Get returns a document. Errors are those of query.Reader.Get; events.ErrUnreachable also when no region can be reached.
func (r *Regions) Get(ctx context.Context, projection, key string, o query.Options) (query.Answer, error) {
	a, told, err := ask(ctx, r, question{
		operation: queryservice.Get, projection: projection, options: o,
		request: func(o query.Options) any {
			return queryservice.GetRequest{Reading: queryservice.NewReading(projection, o), Key: key}
		},
	}, func(a *query.Answer) *query.Standing { return &a.Standing })
	if err == nil {
		return a, nil
	}
	a = query.Answer{Projection: projection, Key: key, Region: told.Region, Standing: standing(told)}
	if errors.Is(err, projections.ErrNoDocument) {
		return a, &query.Absence{Answer: a}
	}
	return a, reached(told, err)
}

// Lookup returns several documents, all from one region. Errors are those of query.Reader.Lookup; events.ErrUnreachable also when no region can be reached.
func (r *Regions) Lookup(ctx context.Context, projection string, keys []string, o query.Options) (query.Documents, error) {
	a, told, err := ask(ctx, r, question{
		operation: queryservice.Lookup, projection: projection, options: o,
		request: func(o query.Options) any {
			return queryservice.LookupRequest{Reading: queryservice.NewReading(projection, o), Keys: keys}
		},
	}, func(a *query.Documents) *query.Standing { return &a.Standing })
	if err != nil {
		return query.Documents{Projection: projection, Region: told.Region, Standing: standing(told)}, reached(told, err)
	}
	return a, nil
}

// List returns a page. Errors are those of query.Reader.List; events.ErrUnreachable also when no region can be reached.
func (r *Regions) List(ctx context.Context, projection string, o query.ListOptions) (query.Page, error) {
	a, told, err := ask(ctx, r, question{
		operation: queryservice.List, projection: projection, options: o.Options,
		request: func(read query.Options) any { // several goroutines ask for it: a look at another region goes beside
			asked := o
			asked.Options = read
			return queryservice.NewListRequest(projection, asked)
		},
	}, func(a *query.Page) *query.Standing { return &a.Standing })
	if err != nil {
		return query.Page{Projection: projection, Region: told.Region, Standing: standing(told)}, reached(told, err)
	}
	return a, nil
}

// Count counts documents. Errors are those of query.Reader.Count; events.ErrUnreachable also when no region can be reached.
func (r *Regions) Count(ctx context.Context, projection string, o query.CountOptions) (query.Count, error) {
	a, told, err := ask(ctx, r, question{
		operation: queryservice.Count, projection: projection, options: o.Options,
		request: func(read query.Options) any {
			asked := o
			asked.Options = read
			return queryservice.NewCountRequest(projection, asked)
		},
	}, func(a *query.Count) *query.Standing { return &a.Standing })
	if err != nil {
		return query.Count{Projection: projection, Region: told.Region, Index: o.Index, Standing: standing(told)}, reached(told, err)
	}
	return a, nil
}

// Overview returns how a region does: the first one that answers. Errors are those of query.Reader.Overview; events.ErrUnreachable also when no region can be reached.
func (r *Regions) Overview(ctx context.Context) (query.Overview, error) {
	o, _, err := ask[query.Overview](ctx, r, question{
		operation: queryservice.Status, request: func(query.Options) any { return queryservice.StatusRequest{} },
	}, nil)
	return o, err
}

func standing(t queryservice.Told) query.Standing {
	return query.Standing{Position: t.Position, Lag: t.Lag, Generation: t.Generation, At: t.At}
}

// reached puts the position that was reached into an error that is about it.
func reached(t queryservice.Told, err error) error {
	if e, ok := errors.AsType[*events.Error](err); ok && e.Code == projections.ErrNotReached && !t.Position.IsZero() {
		return &query.Behind{Position: t.Position, Err: e}
	}
	return err
}
