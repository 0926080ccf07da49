package forward

import (
	"context"
	"sync"

	"tidemark.dev/events"
)

// room bounds what is unfinished. Whoever finds it full waits in line.
type room struct {
	mu     sync.Mutex
	free   int
	line   []*guest
	closed bool
}

type guest struct {
	units int
	in    chan error
}

// enter takes units, waiting for them if need be. Errors: ErrClosed, or ctx's cause.
func (r *room) enter(ctx context.Context, units int) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errClosed()
	}
	if len(r.line) == 0 && r.free >= units {
		r.free -= units
		r.mu.Unlock()
		return nil
	}
	g := &guest{units: units, in: make(chan error, 1)}
	r.line = append(r.line, g)
	r.mu.Unlock()
	select {
	case err := <-g.in:
		return err
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case err := <-g.in: // let in at the same moment
		if err == nil {
			r.free += units
		}
	default:
		for i := range r.line {
			if r.line[i] == g {
				r.line = append(r.line[:i], r.line[i+1:]...)
				break
			}
		}
	}
	r.admit()
	return context.Cause(ctx)
}

// leave gives units back.
func (r *room) leave(units int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += units
	r.admit()
}

func (r *room) admit() {
	for len(r.line) > 0 && r.free >= r.line[0].units {
		r.free -= r.line[0].units
		r.line[0].in <- nil
		r.line = r.line[1:]
	}
}

// close turns away everybody who waits or comes later.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, g := range r.line {
		g.in <- errClosed()
	}
	r.line = nil
}

func errClosed() error {
	return events.Errorf(events.ErrClosed, "the appender was closed by its owner; nothing was written")
}
