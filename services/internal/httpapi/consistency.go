package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// The values of the parameter consistency.
const (
	consistencyEventual = "eventual"
	consistencyAtLeast  = "at-least"
	consistencyStrong   = "strong"
)

// readParameters are those of every read.
func readParameters(more ...string) []string {
	return append(more, "consistency", "at-least", "wait")
}

// modelParameters are those of every read of documents.
func modelParameters(more ...string) []string { return readParameters(append(more, "at")...) }

// modelOptions reads how new an answer must be, and of which copy it is to be.
func modelOptions(r *http.Request, values url.Values) (o query.Options, err error) {
	if o, err = readOptions(r, values); err != nil {
		return o, err
	}
	o.At, err = copyName(values)
	return o, err
}

// copyName returns the copy that a request names; empty: none.
func copyName(values url.Values) (string, error) {
	at := values.Get("at")
	if values.Has("at") && at == "" {
		return "", events.Errorf(projections.ErrInvalidQuery, "the name of the copy is empty").Hint("Leave at out to read the live read model.")
	}
	return at, nil
}

// readOptions reads how new an answer must be. Contradictions are refused: one of the two would be a promise that is not kept.
func readOptions(r *http.Request, values url.Values) (o query.Options, err error) {
	if o.AtLeast, err = atLeast(r, values); err != nil {
		return o, err
	}
	switch consistency := values.Get("consistency"); {
	case !values.Has("consistency"):
	case consistency == consistencyStrong:
		o.Strong = true // beside a position it is refused by whoever reads
	case consistency == consistencyEventual && !o.AtLeast.IsZero():
		return o, events.Errorf(projections.ErrInvalidQuery, "an eventual read takes whatever is there, and the position %s was asked for beside it", o.AtLeast).
			Hint("Leave one of them out.")
	case consistency == consistencyAtLeast && o.AtLeast.IsZero():
		return o, events.Errorf(projections.ErrInvalidQuery, "at least from which position on is not said").Hint("Add at-least=POSITION.")
	case consistency == consistencyEventual, consistency == consistencyAtLeast:
	default:
		return o, events.Errorf(projections.ErrInvalidQuery, "%q is not a consistency", clip(consistency)).Hint("There are eventual, at-least and strong.")
	}
	if !values.Has("wait") {
		return o, nil
	}
	wait, err := time.ParseDuration(values.Get("wait"))
	switch {
	case err != nil || wait < 0:
		return o, events.Errorf(projections.ErrInvalidQuery, "a wait of %q is not a duration such as 5s or 250ms", clip(values.Get("wait")))
	case wait == 0:
		wait = -1
	}
	o.Wait = wait
	return o, nil
}

// atLeast returns the position that a request names, in a parameter or a header.
func atLeast(r *http.Request, values url.Values) (at events.Position, err error) {
	given := r.Header.Values(headerAtLeast)
	if values.Has("at-least") {
		given = append(slices.Clone(given), values.Get("at-least"))
	}
	for i, text := range given {
		if text == "" {
			// An empty variable in a script: answering from anywhere would look like keeping the promise.
			return at, events.Errorf(events.ErrInvalidPosition, "the position to wait for is empty").Hint("Leave at-least out to read without one.")
		}
		p, err := events.ParsePosition(text)
		if err != nil {
			return at, err
		}
		if i > 0 && !p.Equal(at) {
			return at, events.Errorf(events.ErrInvalidPosition, "the request names two different positions").Hint("Name one.")
		}
		at = p
	}
	return at, nil
}

// patient returns the context of a read. One that may wait has a place: there is a bound on those, and they end when the service stops.
func (a *API) patient(ctx context.Context, o query.Options) (context.Context, func(), error) {
	if !o.Waits() {
		return ctx, func() {}, nil
	}
	leave, err := a.place()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := a.untilStop(ctx)
	return ctx, func() {
		cancel()
		leave()
	}, nil
}

// untilStop returns a context that ends when the service stops, too.
func (a *API) untilStop(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	release := context.AfterFunc(a.stopping, func() { cancel(context.Cause(a.stopping)) })
	return ctx, func() {
		release()
		cancel(nil)
	}
}

// asked calls read with a context that may wait, and tells the observer how long that took.
func (a *API) asked(r *http.Request, o query.Options, read func(context.Context) error) error {
	ctx, done, err := a.patient(r.Context(), o)
	if err != nil {
		return err
	}
	defer done()
	begun := time.Now()
	err = read(ctx)
	a.waited(r.Context(), o, begun, err)
	return err
}
