package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

const (
	// floorWait is how long a region may take to come to what the session has seen in another one, before others are asked. Where it is known to be behind, nobody waits for it.
	floorWait = 2 * time.Second
	// lookWait is how long a look at a region that was behind may take: what the session has seen elsewhere moves on while somebody writes, and every region follows after a while only.
	lookWait = 5 * time.Second
	// pauseFrom and pauseTo bound the pause after every region was asked in vain.
	pauseFrom = 50 * time.Millisecond
	pauseTo   = 500 * time.Millisecond
)

// question is what is asked, of whatever region.
type question struct {
	operation  string
	projection string // empty: it is about no read model, and no position
	options    query.Options
	request    func(query.Options) any
}

// wait returns how long the caller asks to wait.
func (q *question) wait() time.Duration {
	switch o := q.options; {
	case !o.Waits():
		return 0
	case o.Wait == 0:
		return query.DefaultWait
	default:
		return max(o.Wait, 0)
	}
}

// of returns the question as one region is asked. imposed says that only the session wants the position that is in it.
func (q *question) of(floor events.Position, waited bool) (o query.Options, imposed bool) {
	o = q.options
	if waited && o.Waits() {
		o.Wait = -1
	}
	switch {
	case q.projection == "" || o.Strong || o.At != "" || floor.IsZero(): // a strong read covers whatever anybody has seen, and a copy stays where it is
		return o, false
	case o.AtLeast.IsZero():
		return query.Options{AtLeast: floor, Wait: floorWait}, true
	}
	o.AtLeast = later(floor, o.AtLeast)
	return o, false
}

// call is one question on its way from region to region.
type call struct {
	*Regions
	question
	until  time.Time       // when no new round is begun
	said   map[string]said // what each region said last
	waited bool            // the caller's wait is over
}

// said is why a region has not given the answer.
type said struct {
	told queryservice.Told
	err  error
}

// ask asks region after region until one answers, or the time is over. standing finds where an answer stands; nil when it stands nowhere. The errors are what the
// regions say; when there are several, the code is that of the first one.
func ask[A any](ctx context.Context, r *Regions, q question, standing func(*A) *query.Standing) (A, queryservice.Told, error) {
	c := &call{Regions: r, question: q, until: time.Now().Add(r.config.Patience + q.wait()), said: map[string]said{}}
	var none A
	for pause := pauseFrom; ; pause = min(2*pause, pauseTo) {
		for _, p := range c.order() {
			var a A
			told, err := c.attempt(ctx, p, &a, func() *query.Standing {
				if standing == nil {
					return nil
				}
				return standing(&a)
			})
			switch {
			case c.final(ctx, p, told, err):
				return a, told, err
			case ctx.Err() != nil:
				return none, told, errors.Join(context.Cause(ctx), err)
			}
		}
		if r.life.Err() != nil {
			return none, queryservice.Told{}, events.Errorf(events.ErrClosed, "the client was closed by its owner")
		}
		if r.config.Patience < 0 || c.waited || c.unknown() || !time.Now().Add(pause).Before(c.until) {
			told, err := c.failure()
			return none, told, err
		}
		if err := rest(ctx, pause); err != nil {
			told, why := c.failure()
			return none, told, errors.Join(err, why)
		}
	}
}

// order returns the regions in the order in which they are asked now: the ones that are well first. It has a look taken at preferred ones that are not.
func (c *call) order() []*place {
	var well, ill []*place
	for _, p := range c.places {
		if c.health.well(p.region, c.projection) {
			well = append(well, p)
			continue
		}
		ill = append(ill, p)
		if len(well) == 0 && c.health.look(p.region, c.projection) {
			c.look(p)
		}
	}
	return append(well, ill...)
}

// attempt asks one region, over whatever way there is.
func (c *call) attempt(ctx context.Context, p *place, a any, standing func() *query.Standing) (queryservice.Told, error) {
	floor := c.session.floor(p.region)
	o, imposed := c.of(floor, c.waited)
	told, err := c.try(ctx, p, o, max(time.Until(c.until), c.config.AttemptTimeout), a)
	switch code, _ := events.CodeOf(err); {
	case o.At != "": // what a copy has says nothing about how far a session is
		if s := standing(); err == nil && s != nil && s.At != o.At {
			err = events.Errorf(queryservice.ErrProtocol, "region %s answered from %q and was asked for the copy %q", p.region, s.At, o.At).Hint("Run the same version of tidemark on both sides.")
		}
	case err == nil:
		s := standing()
		if s == nil {
			break
		}
		if !reaches(s.Position, floor) {
			err = events.Errorf(queryservice.ErrProtocol, "region %s answered at %s and was asked for %s or later", p.region, s.Position, floor)
			break
		}
		c.session.note(p.region, s.Position)
	case code == projections.ErrNoDocument:
		c.session.note(p.region, told.Position)
	case code == events.ErrLostPosition && !floor.IsZero():
		c.session.forget()
		if e, ok := errors.AsType[*events.Error](err); ok && imposed {
			err = e.Hint("This client had seen that position, in a history that is lost. It begins a new session: read again.")
		}
	case code == projections.ErrNotReached && imposed:
		err = &behindSession{err}
	}
	return told, err
}

// behindSession is a region that is not yet where the session has been.
type behindSession struct{ error }

func (b *behindSession) Unwrap() error { return b.error }

// try asks one region once, over the first way on which somebody answers, for most at most.
func (c *call) try(ctx context.Context, p *place, o query.Options, most time.Duration, a any) (told queryservice.Told, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(most, c.config.AttemptTimeout+(&question{options: o}).wait()))
	defer cancel()
	request := c.request(o)
	var first error
	for _, caller := range p.callers {
		told, err = caller.Ask(ctx, p.region, c.operation, request, a)
		var silence *queryservice.Silence
		if !errors.As(err, &silence) && !(told.Region == "" && errors.Is(err, events.ErrUnauthorized)) {
			return told, err
		}
		if first == nil {
			first = err
		}
		if silence != nil && !silence.AtOnce {
			break
		}
	}
	return told, first
}

// final takes note of what a region said, and reports whether that is the answer.
func (c *call) final(ctx context.Context, p *place, told queryservice.Told, err error) bool {
	var behind *behindSession
	switch {
	case err == nil || definite(err):
		c.recovered(p)
		return true
	case ctx.Err() != nil: // that the caller has no time says nothing about the region
		return false
	case errors.As(err, &behind):
		c.ill(ailment{p.region, c.projection}, err)
	case errors.Is(err, projections.ErrUnknownCopy): // copies are a region's own
		c.recovered(p)
	case errors.Is(err, projections.ErrNotReached):
		c.recovered(p)
		c.waited = true
	case told.Region == "":
		c.ill(ailment{p.region, ""}, err)
	default:
		c.ill(ailment{p.region, c.projection}, err)
	}
	c.said[p.region] = said{told, err}
	return false
}

// unknown reports whether every region said that it has no such copy: asking again changes nothing.
func (c *call) unknown() bool {
	return !slices.ContainsFunc(c.places, func(p *place) bool { return !errors.Is(c.said[p.region].err, projections.ErrUnknownCopy) })
}

// definite reports whether an error is about the request, or is an answer: another region would say the same.
func definite(err error) bool {
	code, _ := events.CodeOf(err)
	return slices.Contains([]events.Code{
		projections.ErrNoDocument, projections.ErrUnknownProjection, projections.ErrInvalidKey, projections.ErrInvalidQuery, projections.ErrInvalidCursor,
		projections.ErrResync, projections.ErrUnknownIndex, events.ErrInvalidPosition, events.ErrLostPosition, events.ErrTooLarge,
	}, code)
}

func (c *call) ill(a ailment, err error) {
	if c.health.failed(a) {
		c.logger.Warn("a region does not answer; others are asked", "region", a.region, "projection", a.projection, "error", err)
	}
}

func (c *call) recovered(p *place) {
	if c.health.answered(p.region, c.projection) {
		c.logger.Info("a region answers again", "region", p.region, "projection", c.projection)
	}
}

// look asks a region that did not answer again, beside the call, so that nobody has to wait for it.
func (c *call) look(p *place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.looks.Go(func() {
		defer c.health.looked(p.region, c.projection)
		probe := &call{Regions: c.Regions, question: c.question}
		var ignored map[string]any
		o, imposed := probe.of(c.session.floor(p.region), true)
		if imposed {
			o.Wait = lookWait
		}
		told, err := probe.try(c.life, p, o, c.config.AttemptTimeout+lookWait, &ignored)
		switch {
		case c.life.Err() != nil:
		case err == nil || definite(err) || errors.Is(err, projections.ErrUnknownCopy):
			c.recovered(p)
		case told.Region == "":
			c.ill(ailment{p.region, ""}, err)
		default:
			c.ill(ailment{p.region, c.projection}, err)
		}
	})
}

// failure says what every region said.
func (c *call) failure() (queryservice.Told, error) {
	var first said
	var all []string
	for _, p := range c.places {
		one, asked := c.said[p.region]
		if !asked {
			continue
		}
		if first.err == nil {
			first = one
		}
		what := one.err.Error()
		if e, ok := errors.AsType[*events.Error](one.err); ok {
			what = e.What
		}
		all = append(all, fmt.Sprintf("%s: %s", p.region, what))
	}
	e, ok := errors.AsType[*events.Error](first.err)
	if len(all) == 1 || !ok {
		return first.told, first.err
	}
	return first.told, &events.Error{Code: e.Code, What: "no region can answer: " + strings.Join(all, "; "), Next: e.Next, Err: first.err}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
