package client

import (
	"context"
	"slices"
	"strings"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
)

// Verify compares the read models of a projection in all regions: at the newest mark that they have in common, with the partitions that differ. With a position it waits until each region is there;
// one that does not come there, or does not answer, is unknown, with the reason. It asks every region, fails over nowhere, and leaves sessions alone.
func (r *Regions) Verify(ctx context.Context, projection string, o query.Options) reconcile.Verdict {
	v := reconcile.Compare(r.Standings(ctx, projection, query.MarksOptions{Options: o}))
	if v.Result == reconcile.Different {
		v.Narrow(r.Standings(ctx, projection, query.MarksOptions{At: v.Sequence}))
	}
	return v
}

// Standings asks every region what its read model was at the marks that it passed, all at once. They are in the order of Names.
func (r *Regions) Standings(ctx context.Context, projection string, o query.MarksOptions) []reconcile.Standing {
	return everywhere(r, func(p *place) reconcile.Standing {
		var m query.Marks
		c := &call{Regions: r, question: question{
			operation: queryservice.Marks, projection: projection, options: o.Options,
			request: func(read query.Options) any {
				o := o
				o.Options = read
				return queryservice.NewMarksRequest(projection, o)
			},
		}}
		told, err := c.try(ctx, p, o.Options, r.config.AttemptTimeout+c.wait(), &m)
		if err == nil {
			return m.Standing
		}
		return reconcile.Standing{Region: p.region, Projection: projection, Generation: told.Generation, Position: told.Position, Unknown: reasonOf(err)}
	})
}

// Floors returns how much of the log each region has confirmed to hold: who follows the leader, also those that do not now. Errors: those of Log and of events.Floors.
func (r *Regions) Floors(ctx context.Context) ([]events.Floor, error) {
	home, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return home.Floors().Floors(ctx)
}

// Overseen is how a region does, or why it does not say.
type Overseen struct {
	Region   string
	Overview query.Overview
	Err      error
}

// Overviews asks every region how it does, all at once. They are in the order of Names.
func (r *Regions) Overviews(ctx context.Context) []Overseen {
	return everywhere(r, func(p *place) Overseen {
		o := Overseen{Region: p.region}
		c := &call{Regions: r, question: question{operation: queryservice.Status, request: func(query.Options) any { return queryservice.StatusRequest{} }}}
		_, o.Err = c.try(ctx, p, query.Options{}, r.config.AttemptTimeout, &o.Overview)
		return o
	})
}

// everywhere asks all regions at the same time.
func everywhere[A any](r *Regions, ask func(*place) A) []A {
	answers := make([]A, len(r.places))
	var asking sync.WaitGroup
	for i, p := range r.places {
		asking.Go(func() { answers[i] = ask(p) })
	}
	asking.Wait()
	return answers
}

// reasonOf says why a region does not answer.
func reasonOf(err error) *reconcile.Reason {
	code, ok := events.CodeOf(err)
	if !ok {
		code = events.ErrUnreachable
	}
	return &reconcile.Reason{Code: string(code), Message: strings.TrimPrefix(err.Error(), string(code)+": ")}
}

// Known returns the names of the projections that regions know of, sorted.
func Known(all []Overseen) (names []string) {
	for i := range all {
		for j := range all[i].Overview.Projections {
			names = append(names, all[i].Overview.Projections[j].Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
