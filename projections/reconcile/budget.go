package reconcile

import (
	"context"
	"time"
)

// budget spreads work so that it takes at most a share of the time.
type budget struct {
	share float64 // of one core; 1 and more: all of it
}

// maxRest bounds one rest, so that a slow answer does not stop everything.
const maxRest = 5 * time.Second

// step begins a piece of work. What it returns ends it, and rests as long as the budget asks for; it returns the end of ctx.
func (b *budget) step() func(context.Context) error {
	if b.share >= 1 {
		return context.Cause
	}
	began := time.Now()
	return func(ctx context.Context) error {
		took := time.Since(began)
		rest := min(time.Duration(float64(took)*(1/b.share-1)), maxRest)
		t := time.NewTimer(rest)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
