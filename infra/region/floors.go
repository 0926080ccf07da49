package region

import (
	"context"
	"slices"
	"sync"
	"time"

	"tidemark.dev/events"
)

// floorsAge is how long known floors are used without asking again. Floors only grow, so an old answer claims too little.
const floorsAge = 50 * time.Millisecond

// sharedFloors asks some times a second, however many appends wait to be confirmed, and one question at a time.
type sharedFloors struct {
	floors events.Floors

	mu     sync.Mutex
	asking chan struct{} // closed when the question under way is answered; nil: there is none
	last   []events.Floor
	err    error
	until  time.Time
}

func shareFloors(f events.Floors) *sharedFloors { return &sharedFloors{floors: f} }

// Floors returns the floors, at most floorsAge old.
func (s *sharedFloors) Floors(ctx context.Context) ([]events.Floor, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // whose time is over asks nobody
		}
		s.mu.Lock()
		if time.Now().Before(s.until) {
			defer s.mu.Unlock()
			return slices.Clone(s.last), s.err
		}
		other := s.asking
		if other == nil {
			s.asking = make(chan struct{})
			s.mu.Unlock()
			return s.ask(ctx)
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (s *sharedFloors) ask(ctx context.Context) ([]events.Floor, error) {
	all, err := s.floors.Floors(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.asking)
	s.asking = nil
	if ctx.Err() == nil { // otherwise it says nothing about the leader: whoever waits asks again
		s.last, s.err, s.until = all, err, time.Now().Add(floorsAge)
	}
	return slices.Clone(all), err
}
