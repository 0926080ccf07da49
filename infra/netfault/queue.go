package netfault

import (
	"context"
	"sync"
	"time"
)

// chunk is some bytes on their way, or the end of them.
type chunk struct {
	data []byte
	due  time.Time
	end  error
}

// queue holds what was read and not delivered. One goroutine puts, one takes.
type queue struct {
	mu    sync.Mutex
	items []chunk
	bytes int
	more  chan struct{} // has room for one: something was put
	less  chan struct{} // has room for one: something was taken
}

func newQueue() *queue {
	return &queue{more: make(chan struct{}, 1), less: make(chan struct{}, 1)}
}

// put adds a chunk unless so many bytes are held already.
func (q *queue) put(c chunk, most int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes >= most {
		return false
	}
	q.items = append(q.items, c)
	q.bytes += len(c.data)
	signal(q.more)
	return true
}

// take waits for the next chunk.
func (q *queue) take(ctx context.Context) (chunk, bool) {
	for {
		if c, ok := q.first(); ok {
			return c, true
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return chunk{}, false
		}
	}
}

func (q *queue) first() (chunk, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return chunk{}, false
	}
	c := q.items[0]
	q.items[0] = chunk{}
	if q.items = q.items[1:]; len(q.items) == 0 {
		q.items = nil // the room of a burst is given back
	}
	q.bytes -= len(c.data)
	signal(q.less)
	return c, true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
