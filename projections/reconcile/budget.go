package reconcile

import (
	"context"
	"iter"
	"time"

	"tidemark.dev/events"
)

// budget spreads work so that it takes at most a share of the time.
type budget struct {
	share float64 // of one core; 1 and more: all of it
	usual float64 // what it is again later, while it is in a hurry; 0: it is not
}

// hurry allows for a larger share until calm.
func (b *budget) hurry(share float64) {
	if b.usual == 0 && share > b.share {
		b.usual, b.share = b.share, share
	}
}

func (b *budget) calm() {
	if b.usual > 0 {
		b.share, b.usual = b.usual, 0
	}
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

// pacedLog is a log of which a pass takes no more than the budget: whoever reads it rests behind each batch for as long as reading and using that batch asks for.
type pacedLog struct {
	events.Reader
	budget *budget
}

// Read yields the records of a range.
func (p pacedLog) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	if p.budget.share >= 1 {
		return p.Reader.Read(ctx, r)
	}
	return func(yield func([]events.Record, error) bool) {
		done := p.budget.step()
		for records, err := range p.Reader.Read(ctx, r) {
			if !yield(records, err) || err != nil {
				return
			}
			if err := done(ctx); err != nil {
				yield(nil, err)
				return
			}
			done = p.budget.step()
		}
	}
}
