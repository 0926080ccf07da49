// Package room bounds what is unfinished: appends take units of it, and whoever finds it full waits in line. The log on JetStream and the forwarding of
// appends share it.
package room

import (
	"context"
	"sync"
)

// Room is a number of units.
type Room struct {
	over   func() error // makes what those are told who wait or come after Close
	mu     sync.Mutex
	free   int
	line   []*guest
	closed bool
}

// New returns a room of free units. over makes the error for those who wait or come after Close.
func New(free int, over func() error) *Room { return &Room{free: free, over: over} }

type guest struct {
	units int
	in    chan error
}

// Enter takes units, waiting for them if need be. Errors: that of over, or ctx's cause.
func (r *Room) Enter(ctx context.Context, units int) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return r.over()
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
			r.admit()
		}
	default:
		r.drop(g)
		r.admit()
	}
	return context.Cause(ctx)
}

// Leave gives units back.
func (r *Room) Leave(units int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += units
	r.admit()
}

func (r *Room) admit() {
	for len(r.line) > 0 && r.free >= r.line[0].units {
		r.free -= r.line[0].units
		r.line[0].in <- nil
		r.line[0] = nil
		r.line = r.line[1:]
	}
}

func (r *Room) drop(g *guest) {
	for i := range r.line {
		if r.line[i] == g {
			r.line = append(r.line[:i], r.line[i+1:]...)
			return
		}
	}
}

// Close turns away everybody who waits or comes later.
func (r *Room) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, g := range r.line {
		g.in <- r.over()
	}
	r.line = nil
}
