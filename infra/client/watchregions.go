package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// Watch tells everything there is in a read model, and then the latest state of every document that changes, until ctx ends. It outlasts whatever breaks:
//
//   - While its region does not answer it tries to go on there from its token, for the client's Patience.
//   - Then it begins with everything in another region, if one answers: generations and tokens are a region's own. It stays there until that breaks.
//   - A token that is too old, or a read model that was replaced, makes it begin with everything again.
//
// Whenever it begins again it says so (Step.Reset). What it tells never goes back behind what the client's session has seen. While no region answers it tells nothing. An error is
// yielded once and ends it: what is wrong with the request, events.ErrClosed, ctx's cause, or, before anything was told, that no region answers.
func (r *Regions) Watch(ctx context.Context, projection string, o WatchOptions) iter.Seq2[Step[query.Document], error] {
	return func(yield func(Step[query.Document], error) bool) {
		w := &regionWatch{Regions: r, follower: follow(projection, o, yield)}
		if err := w.run(ctx); !errors.Is(err, errStopped) {
			yield(Step[query.Document]{}, err)
		}
	}
}

// regionWatch is a watch that goes from region to region.
type regionWatch struct {
	*Regions
	*follower
	trouble error     // why nothing is heard; nil: something is
	since   time.Time // when that began
}

func (w *regionWatch) run(ctx context.Context) error {
	for pause := pauseFrom; ; pause = min(2*pause, pauseTo) {
		p := w.choose()
		err := w.at(ctx, w.station(p))
		if w.trouble == nil { // something was heard
			pause = pauseFrom
		}
		switch {
		case errors.Is(err, errStopped):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case w.life.Err() != nil:
			return events.Errorf(events.ErrClosed, "the client was closed by its owner")
		case errors.Is(err, projections.ErrResync):
			w.token, w.why = "", err
			w.hear()
		case definite(err) && !errors.Is(err, events.ErrLostPosition):
			return err
		default:
			if w.suffer(p, err); !w.begun && time.Since(w.since) > max(w.config.Patience, 0) {
				return err
			}
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
}

// choose returns the region to watch: the one that the token is from, unless that has been silent for too long and another one is there.
func (w *regionWatch) choose() *place {
	probe := &call{Regions: w.Regions, question: w.question(query.ListOptions{Limit: 1})}
	all := probe.order()
	if w.token == "" {
		return all[0]
	}
	from := w.region
	if from == "" {
		from = w.places[0].region
	}
	patient := w.trouble == nil || time.Since(w.since) <= w.config.Patience
	for _, p := range all {
		if p.region == from && patient || p.region != from && !patient && w.health.well(p.region, w.projection) {
			return p
		}
	}
	for _, p := range all { // there is no other
		if p.region == from {
			return p
		}
	}
	w.token = "" // the token is of a region that is not one of ours
	return all[0]
}

func (w *regionWatch) question(o query.ListOptions) question {
	return question{
		operation: queryservice.List, projection: w.projection, options: o.Options,
		request: func(read query.Options) any {
			asked := o
			asked.Options = read
			return queryservice.NewListRequest(w.projection, asked)
		},
	}
}

// station returns a region as it is listed and watched.
func (w *regionWatch) station(p *place) *station {
	return &station{
		region: p.region,
		list: func(ctx context.Context, o query.ListOptions) (page query.Page, err error) {
			c := &call{Regions: w.Regions, question: w.question(o), until: time.Now().Add(w.config.AttemptTimeout + floorWait), said: map[string]said{}}
			told, err := c.attempt(ctx, p, &page, func() *query.Standing { return &page.Standing })
			c.final(ctx, p, told, err)
			return page, err
		},
		updates: func(ctx context.Context, o query.WatchOptions) iter.Seq2[query.Update, error] {
			return w.updates(ctx, p, o)
		},
		heard: func(u *query.Update) {
			w.session.note(p.region, u.Position)
			w.hear()
			if w.health.answered(p.region, w.projection) {
				w.logger.Info("a region answers again", "region", p.region, "projection", w.projection)
			}
		},
	}
}

// updates asks a region for a watch, over the first way on which somebody answers.
func (w *regionWatch) updates(ctx context.Context, p *place, o query.WatchOptions) iter.Seq2[query.Update, error] {
	return func(yield func(query.Update, error) bool) {
		var first error
		for _, caller := range p.callers {
			heard := false
			for u, err := range caller.Updates(ctx, p.region, w.projection, o, w.config.AttemptTimeout) {
				var silence *queryservice.Silence
				if !heard && errors.As(err, &silence) && silence.AtOnce {
					if first == nil {
						first = err
					}
					break
				}
				if heard = true; !yield(u, err) || err != nil {
					return
				}
			}
			if heard {
				return
			}
		}
		yield(query.Update{}, first)
	}
}

// hear takes note that something was heard.
func (w *regionWatch) hear() { w.trouble = nil }

// suffer takes note that a region ended the watch, or did not begin it.
func (w *regionWatch) suffer(p *place, err error) {
	if w.trouble == nil {
		w.since = time.Now()
	}
	w.trouble, w.why = err, err
	var silence *queryservice.Silence
	a := ailment{p.region, w.projection}
	if errors.As(err, &silence) {
		a.projection = ""
	}
	if w.health.failed(a) {
		w.logger.Warn("a region does not answer; others are asked", "region", p.region, "projection", w.projection, "error", err)
	}
}
