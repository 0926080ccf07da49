package reconcile

import (
	"context"
	"iter"
	"time"

	"tidemark.dev/events"
)

// budget spreads work so that it takes at most a share of the time. What is known only once several steps were done can be done in a burst: the rest that these steps ask for is owed, and paid
// afterwards.
type budget struct {
	share float64       // of one core; 1 and more: all of it
	usual float64       // what it is again later, while it is in a hurry; 0: it is not
	burst float64       // of one core, within a burst; up to share: there is none
	owed  time.Duration // rest of the burst
	done  time.Duration // how long all steps took so far, with their rest
}

// maxOwed bounds what is owed: some three seconds of work with DefaultBudget. What takes longer goes on with the usual share.
const maxOwed = time.Minute

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

// step begins a piece of work. What it returns ends it, and rests as long as the budget asks for, but for steps within it, which have rested; it returns the end of ctx.
func (b *budget) step() func(context.Context) error {
	if b.share >= 1 {
		return context.Cause
	}
	began, before := time.Now(), b.done
	return func(ctx context.Context) error {
		within := b.done - before
		took := max(time.Since(began)-within, 0)
		rest := restOf(took, b.share)
		if b.burst > b.share && b.owed < maxOwed {
			soon := restOf(took, b.burst)
			rest, b.owed = soon, b.owed+rest-soon
		}
		err := wait(ctx, rest)
		b.done = before + time.Since(began)
		return err
	}
}

// restOf returns how long is rested for a piece of work.
func restOf(took time.Duration, share float64) time.Duration {
	return min(time.Duration(float64(took)*(1/share-1)), maxRest)
}

// pay rests for what is owed. It returns the end of ctx.
func (b *budget) pay(ctx context.Context) error {
	owed := b.owed
	b.owed = 0
	return wait(ctx, owed)
}

// wait rests. It returns the end of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d > 0 && rest(ctx, d) {
		return nil
	}
	return context.Cause(ctx)
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
