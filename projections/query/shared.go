package query

import (
	"context"
	"sync"
)

// shared lets all who need an answer at the same time share one question.
type shared[T any] struct {
	ask func(context.Context) (T, error)

	mu     sync.Mutex
	asked  uint64        // questions so far: clocks are too coarse to tell what was asked before what
	asking chan struct{} // closed when the question under way is answered; nil: there is none
	number uint64        // of the question that was answered last
	last   T
	err    error
}

// fresh returns the answer to a question that began after the call of fresh did, or ctx's cause.
func (s *shared[T]) fresh(ctx context.Context) (T, error) {
	s.mu.Lock()
	before := s.asked
	for s.number <= before {
		other := s.asking
		if other == nil {
			return s.askNow(ctx)
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			var none T
			return none, context.Cause(ctx)
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.last, s.err
}

// askNow asks, and tells everybody who waits. It is called with the lock held, and gives it back.
func (s *shared[T]) askNow(ctx context.Context) (T, error) {
	s.asking = make(chan struct{})
	s.asked++
	number := s.asked
	s.mu.Unlock()
	answer, err := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.asking)
	s.asking = nil
	if err != nil && ctx.Err() != nil {
		return answer, context.Cause(ctx) // says nothing about who was asked: whoever waits asks again
	}
	s.number, s.last, s.err = number, answer, err
	return answer, err
}
