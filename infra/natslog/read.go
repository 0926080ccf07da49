package natslog

import (
	"context"
	"iter"
	"sync"

	"tidemark.dev/events"
)

// Read yields the records of a range. A goroutine of its own receives and decodes ahead of the caller, at most readAhead batches.
func (l *Log) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		if !l.reads.enter() {
			yield(nil, errNotOpen())
			return
		}
		defer l.reads.leave()
		ctx, stop := l.within(ctx)
		defer stop()
		p, err := l.newPump(ctx, r)
		if err != nil {
			yield(nil, ended(ctx, err))
			return
		}
		if p.finished() {
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		var running sync.WaitGroup
		running.Go(func() { p.run(ctx) })
		defer running.Wait()
		defer cancel(nil)
		for records := range p.out {
			if !yield(records, nil) {
				return
			}
			p.giveBack(records)
		}
		if p.err != nil {
			yield(nil, p.err)
		}
	}
}

func errNotOpen() error {
	return events.Errorf(events.ErrClosed, "the log was closed by its owner")
}

// readers counts the readings that run, so that closing the log can wait for them.
type readers struct {
	mu      sync.Mutex
	running int
	closed  bool
	none    chan struct{}
}

func (r *readers) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.running++
	return true
}

func (r *readers) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running--; r.running == 0 && r.none != nil {
		close(r.none)
	}
}

// wait lets nobody in any more and returns when the last has left.
func (r *readers) wait() {
	r.mu.Lock()
	r.closed = true
	if r.running == 0 {
		r.mu.Unlock()
		return
	}
	r.none = make(chan struct{})
	r.mu.Unlock()
	<-r.none
}
