package client

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
)

func misconfigured(format string, args ...any) *events.Error {
	return events.Errorf(projections.ErrInvalidQuery, format, args...)
}

// named returns the event with what it lacks: an ID of its own, and the client's source.
func named(e events.Event, source string) events.Event {
	if e.ID == "" {
		e.ID = events.NewID()
	}
	if e.Source == "" {
		e.Source = source
	}
	return e
}

// Publish appends one event at the client's own region, which forwards it to the leader where it does not lead. An event without an ID gets a new one, one without a source
// the client's. To be able to repeat a publish whose outcome stayed unknown, set the ID yourself. Errors are those of events.Appender, and of Log. There is no fail-over: an
// append that another region took might be stored a second time, when this one's outcome is not known.
func (r *Regions) Publish(ctx context.Context, e events.Event, x events.Expectation) (events.Receipt, error) {
	log, err := r.Log(ctx)
	if err != nil {
		return events.Receipt{}, err
	}
	receipt, err := log.Append(ctx, events.One(named(e, r.config.Source), x))
	if err == nil {
		r.session.note(published, receipt.Position)
	}
	return receipt, err
}

// Confirm waits until at least n regions hold what was published at a position. It is Client.Confirm.
func (r *Regions) Confirm(ctx context.Context, p events.Position, n int) ([]string, error) {
	home, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return confirm(ctx, home, p, n)
}

// Log returns the log of the client's own region, for events.Mutate, atomic batches and pipelined appends. The first call opens it. Errors: those of
// region.Open, when its servers do not answer or have no log; the next call tries again.
func (r *Regions) Log(ctx context.Context) (events.Log, error) {
	home, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	return home.Log(), nil
}

// open opens the client's own region, one attempt at a time.
func (r *Regions) open(ctx context.Context) (*region.Region, error) {
	for {
		r.mu.Lock()
		switch {
		case r.closed:
			r.mu.Unlock()
			return nil, events.Errorf(events.ErrClosed, "the client was closed by its owner; nothing was written")
		case r.home != nil:
			defer r.mu.Unlock()
			return r.home, nil
		case r.opening == nil:
			r.opening = make(chan struct{})
			r.mu.Unlock()
			return r.attempt(ctx)
		}
		other := r.opening
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *Regions) attempt(ctx context.Context) (*region.Region, error) {
	c := r.config.Regions[0]
	c.Role, c.Logger = region.Publisher, r.logger
	home, err := region.Open(ctx, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.opening)
	r.opening = nil
	if err == nil {
		r.home = home
	}
	return home, err
}
