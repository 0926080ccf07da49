package projector

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// follower runs the live engine in the background and restarts it when a server comes back.
type follower struct {
	p      *Projector
	engine *engine // nil: there is nothing to follow
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why it ended; valid once done is closed
}

// start begins to follow after a delay.
func (f *follower) start(ctx context.Context, delay time.Duration) {
	if f.cancel != nil {
		f.cancel()
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.done = make(chan struct{})
	if f.engine == nil {
		return // done stays open: it never ends by itself
	}
	f.engine.pause = make(chan struct{})
	go func() {
		defer close(f.done)
		select {
		case <-time.After(delay):
			f.err = f.run(ctx)
		case <-f.engine.pause: // err stays what it was
		case <-ctx.Done():
			f.err = context.Cause(ctx)
		}
	}()
}

// run returns when the engine was paused, refuses, lost its ownership, or ctx ended. Servers that do not answer are waited for.
func (f *follower) run(ctx context.Context) error {
	status, gen := &f.p.status, f.engine.gen.Number
	f.engine.loaded = func() { status.set(ctx, projections.ProjectorFollowing, gen, nil) }
	wait := minWait
	for {
		before := f.engine.applied.Load()
		err := f.engine.run(ctx, 0)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !unreachable(err) {
			return err
		}
		if f.engine.applied.Load() > before {
			wait = minWait
		}
		status.set(ctx, projections.ProjectorWaiting, gen, err)
		if f.sleep(ctx, wait) {
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// sleep waits and reports whether a pause was asked for meanwhile.
func (f *follower) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-f.engine.pause:
		return true
	}
	return false
}

// stop ends the engine and waits.
func (f *follower) stop() {
	f.cancel()
	if f.engine != nil {
		<-f.done
	}
}

// rest asks the engine to stop with all partitions at the same checkpoint, waits, and reports whether it did.
func (f *follower) rest() bool {
	if f.engine == nil {
		return false
	}
	close(f.engine.pause)
	<-f.done
	return errors.Is(f.err, errPaused)
}

// unreachable reports whether waiting helps.
func unreachable(err error) bool {
	for _, code := range [...]events.Code{
		events.ErrUnreachable, events.ErrUnauthorized, events.ErrNoLog, projections.ErrStoreUnreachable,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
