package runner

import (
	"context"
	"log/slog"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// plan is what is to be done about one projection.
type plan struct {
	// key tells plans apart: the same key is the same work, which goes on.
	key  string
	what string // for the log
	run  func(ctx context.Context)
}

// slot is the place of one projection: one plan at a time. A new one begins when the one before has ended, so that a projector is never beside its successor
// in this process, and one that does not end holds up nobody else.
type slot struct {
	name     string
	next     chan plan // the newest plan
	last     string    // its key; the setter's
	observer projector.Observer
	logger   *slog.Logger
}

func newSlot(name string, observer projector.Observer, logger *slog.Logger) *slot {
	return &slot{name: name, next: make(chan plan, 1), observer: observer, logger: logger}
}

// set tells what is to be done from now on. It is called by one goroutine.
func (s *slot) set(p plan) {
	if p.key == s.last {
		return
	}
	s.last = p.key
	select {
	case <-s.next: // it was not begun yet
	default:
	}
	s.next <- p
}

// run does what it is told until ctx ends.
func (s *slot) run(ctx context.Context) {
	for {
		select {
		case p := <-s.next:
			for again := true; again; {
				p, again = s.do(ctx, p)
			}
		case <-ctx.Done():
			return
		}
	}
}

// do carries out a plan until it is done, ctx ends, or there is another one, which it returns.
func (s *slot) do(ctx context.Context, p plan) (next plan, another bool) {
	s.logger.InfoContext(ctx, "what is done about a projection changed", "projection", s.name, "now", p.what)
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.run(working)
	}()
	select {
	case next = <-s.next:
		cancel()
		<-ended
		if s.observer != nil { // what it said last is not true any more
			s.observer.Changed(projections.Status{Projection: s.name})
		}
		return next, true
	case <-ctx.Done():
		<-ended
	case <-ended:
	}
	return plan{}, false
}
