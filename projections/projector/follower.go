package projector

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// follower runs the live engine in the background and restarts it when a server comes back. Its methods are called by one goroutine.
type follower struct {
	p      *Projector
	engine *engine // nil: there is nothing to follow
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why it ended; valid once done is closed
	quiet  bool  // queries are not answered from what it follows: its state is not the projector's
}

// start begins to follow, after a delay. The engine must not be running.
func (f *follower) start(ctx context.Context, delay time.Duration) {
	if f.cancel != nil {
		f.cancel()
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.done = make(chan struct{})
	if f.engine == nil {
		return // done stays open: it never ends by itself
	}
	f.engine.pause, f.engine.restAt = make(chan struct{}), 0
	go func() {
		defer close(f.done)
		if delay > 0 && f.sleep(ctx, delay) {
			return // err stays why there was a delay
		}
		if f.quiet {
			f.err = f.keepUp(ctx)
			return
		}
		f.err = f.run(ctx)
	}()
}

// run returns when the engine was paused, refuses, lost its ownership, or ctx ended. Servers that do not answer are waited for.
func (f *follower) run(ctx context.Context) error {
	status, gen := &f.p.status, f.engine.gen.Number
	say := func(state projections.ProjectorState, reason error) {
		if !f.quiet {
			status.set(ctx, state, gen, reason)
		}
	}
	f.engine.follows = func() { say(projections.ProjectorFollowing, nil) }
	wait := minWait
	for {
		before := f.engine.applied.Load()
		err := f.engine.run(ctx, 0)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, errPaused) {
			return err
		}
		f.engine.troubled = true
		if !unreachable(err) {
			return err
		}
		if f.engine.applied.Load() > before {
			wait = minWait
		}
		say(projections.ProjectorWaiting, err)
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
	if f.cancel == nil {
		return // it was never begun
	}
	f.cancel()
	if f.engine != nil {
		<-f.done
	}
}

// rest asks the engine to stop with no partition behind its tip, at sequence atLeast or later, and waits. It reports whether the
// engine stands so. When it stands still without that because it refuses to go on, or because there is none, that is no error.
func (f *follower) rest(atLeast uint64) (bool, error) {
	if f.engine == nil {
		return false, nil
	}
	f.engine.restAt = atLeast
	close(f.engine.pause)
	<-f.done
	switch {
	case errors.Is(f.err, errPaused):
		return true, nil
	case refuses(f.err):
		return false, nil
	}
	return false, f.err
}

// unreachable reports whether waiting helps.
func unreachable(err error) bool {
	for _, code := range [...]events.Code{
		events.ErrUnreachable, events.ErrUnauthorized, events.ErrNoLog, projections.ErrStoreUnreachable, projections.ErrStoreFull,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}
