package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// resumeTimeout bounds how long it takes until every writer gets acknowledgements again.
const resumeTimeout = 90 * time.Second

// traffic is the writers and readers that go on while things are stopped.
type traffic struct {
	writers []*writer
	readers []*reader
	stop    chan struct{}
	done    sync.WaitGroup
	cancel  context.CancelCauseFunc
	ctx     context.Context // ends with the first broken promise
}

// startTraffic starts a writer in every region and a second one, without expectations, at the leader; and a reader in every region.
func startTraffic(ctx context.Context, e *engine, want expected) *traffic {
	const key = "ORD"
	t := &traffic{stop: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.writers = append(t.writers, &writer{name: "CHECK-0", target: e.url(leader + "-writer")})
	for i, region := range regions() {
		t.writers = append(t.writers, &writer{name: fmt.Sprintf("CHECK-%d", i+1), target: e.url(region + "-writer"), expect: true})
		t.readers = append(t.readers, &reader{region: region, target: e.url(region + "-query"), key: key, want: want.airports[key]})
	}
	for _, w := range t.writers {
		t.start(w.run)
	}
	for _, r := range t.readers {
		t.start(r.run)
	}
	return t
}

func (t *traffic) start(run func(context.Context, <-chan struct{}) error) {
	t.done.Go(func() {
		if err := run(t.ctx, t.stop); err != nil {
			t.cancel(err)
		}
	})
}

// broken returns the first promise that was broken, if any.
func (t *traffic) broken() error { return context.Cause(t.ctx) }

// finish stops everybody and waits until every event is acknowledged.
func (t *traffic) finish() error {
	close(t.stop)
	t.done.Wait()
	return t.broken()
}

// landed returns the flights whose events were acknowledged.
func (t *traffic) landed() []flight {
	var all []flight
	for _, w := range t.writers {
		all = append(all, w.acknowledged()...)
	}
	return all
}

// resumed waits until the writers at these regions get one more acknowledgement.
func (t *traffic) resumed(ctx context.Context, from []int) error {
	err := until(ctx, resumeTimeout, func() (bool, error) {
		for i, w := range t.writers {
			if len(w.acknowledged()) <= from[i] {
				return false, t.broken()
			}
		}
		return true, t.broken()
	})
	if !errors.Is(err, errLate) {
		return err
	}
	for i, w := range t.writers {
		if len(w.acknowledged()) <= from[i] {
			return fmt.Errorf("writer %s at %s got no acknowledgement within %s of everything being healthy", w.name, w.target, resumeTimeout)
		}
	}
	return nil
}

// counts returns how many events each writer has acknowledged.
func (t *traffic) counts() []int {
	out := make([]int, len(t.writers))
	for i, w := range t.writers {
		out[i] = len(w.acknowledged())
	}
	return out
}
