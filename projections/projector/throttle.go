package projector

import (
	"context"
	"sync"
	"time"
)

// throttle holds a generation back that is being built: at a rate, and as long as the store has no room for it.
type throttle struct {
	rate int // records in each second; 0: as many as it can

	mu     sync.Mutex
	begun  time.Time
	passed int
	held   chan struct{} // closed when it may go on; nil: it may
}

// hold lets nothing pass from now on.
func (t *throttle) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held == nil {
		t.held = make(chan struct{})
	}
}

// free lets pass what was held.
func (t *throttle) free() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held != nil {
		close(t.held)
		t.held = nil
	}
}

// wait waits until records may be applied.
func (t *throttle) wait(ctx context.Context, records int) error {
	for {
		t.mu.Lock()
		held := t.held
		t.mu.Unlock()
		if held == nil {
			break
		}
		select {
		case <-held:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if t.rate == 0 || records == 0 {
		return nil
	}
	t.mu.Lock()
	if t.begun.IsZero() {
		t.begun = time.Now()
	}
	t.passed += records
	due := t.begun.Add(time.Duration(float64(t.passed) / float64(t.rate) * float64(time.Second)))
	if now := time.Now(); now.Sub(due) > time.Second { // it stood still meanwhile: that is not caught up
		t.begun, t.passed, due = now, 0, now
	}
	t.mu.Unlock()
	sleep(ctx, time.Until(due))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// pacedBatch returns how many records are read at once at a rate, so that progress is seen and giving up takes effect.
func pacedBatch(rate, batch int) int {
	if rate == 0 {
		return batch
	}
	return min(max(rate/10, 1), batch)
}
