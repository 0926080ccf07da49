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
		if !l.reads.start(func() { p.run(ctx) }) {
			cancel(nil)
			yield(nil, errNotOpen())
			return
		}
		defer func() {
			cancel(nil)
			for range p.out { // until it has ended
			}
		}()
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

// readers counts the pumps that run, so that closing the log can wait for them. It does not wait for those who read: one of them may be
// the one who closes.
type readers struct {
	mu      sync.Mutex
	running sync.WaitGroup
	closed  bool
}

// start runs a pump, unless the log is closed.
func (r *readers) start(run func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.running.Go(run)
	}
	return !r.closed
}

// wait starts nothing any more and returns when all that runs has ended.
func (r *readers) wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}
