package queryservice

import (
	"sync/atomic"

	"tidemark.dev/events"
)

// places bounds what is at work at once. Nobody waits for one.
type places chan struct{}

func newPlaces(n int) *places {
	p := make(places, n)
	return &p
}

func (p places) take() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

func (p places) leave()    { <-p }
func (p places) size() int { return cap(p) }

// full is the error of a request for which there is no place.
func full(p *places, region string) error {
	return events.Errorf(events.ErrOverloaded, "%d requests of this kind are at work in region %s already; this one was not begun", p.size(), region).
		Hint("Ask again in a moment.")
}

// counts of one operation. A micro service counts what its handlers do before they return, and ours return at once; these are shown beside.
type counts struct {
	all, problems atomic.Uint64
}

// answered is what a service's stats show of an endpoint.
type answered struct {
	Answered uint64 `json:"answered"`
	Problems uint64 `json:"problems"` // of them
}

func (c *counts) answered(problem bool) {
	c.all.Add(1)
	if problem {
		c.problems.Add(1)
	}
}

func (c *counts) now() answered { return answered{c.all.Load(), c.problems.Load()} }
