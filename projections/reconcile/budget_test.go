package reconcile

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
)

// slowLog takes a while for each of its batches.
type slowLog struct {
	events.Reader
	batches int
	each    time.Duration
}

func (s slowLog) Read(context.Context, events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for range s.batches {
			<-time.After(s.each)
			if !yield(make([]events.Record, 1), nil) {
				return
			}
		}
	}
}

// A pass over the log is spread like everything else: reading a batch and using it are both work, and a twentieth of the time is.
func TestAPassOverTheLogKeepsToTheBudget(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  time.Duration
	}{{0.05, 20 * 100 * 20 * time.Millisecond}, {0.5, 2 * 100 * 20 * time.Millisecond}, {1, 100 * 20 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			log := pacedLog{Reader: slowLog{batches: 100, each: 10 * time.Millisecond}, budget: &budget{share: c.share}}
			for _, err := range log.Read(t.Context(), events.Range{}) {
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(10 * time.Millisecond)
			}
			if took := time.Since(began); took < c.want-time.Second || took > c.want+time.Second {
				t.Errorf("with a share of %v it took %s, want %s", c.share, took, c.want)
			}
		})
	}
}

func TestAPassOverTheLogEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log := pacedLog{Reader: slowLog{batches: 100, each: time.Second}, budget: &budget{share: 0.5}}
		batches, last := 0, error(nil)
		for _, err := range log.Read(ctx, events.Range{}) {
			if last = err; err == nil {
				batches++
				cancel()
			}
		}
		if batches != 1 || last == nil {
			t.Errorf("after the end it yielded %d batches and %v", batches, last)
		}
	})
}

// A burst takes half of the time, and what it took beyond a twentieth is rested for afterwards; a long one ends by itself.
func TestABurstIsRestedForAfterwards(t *testing.T) {
	for _, c := range []struct {
		steps      int
		soon, late time.Duration // when the last step ends, and when all is paid
	}{
		{steps: 100, soon: 100 * 20 * time.Millisecond, late: 100 * 200 * time.Millisecond},
		{steps: 1_000, soon: 334*20*time.Millisecond + 666*200*time.Millisecond, late: 1_000 * 200 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &budget{share: 0.05, burst: 0.5}
			began := time.Now()
			for range c.steps {
				done := b.step()
				<-time.After(10 * time.Millisecond)
				if err := done(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			soon := time.Since(began)
			if err := b.pay(t.Context()); err != nil {
				t.Fatal(err)
			}
			if late := time.Since(began); (soon-c.soon).Abs() > 100*time.Millisecond || (late-c.late).Abs() > 100*time.Millisecond {
				t.Errorf("%d steps took %s, and %s with all rest; want %s and %s", c.steps, soon, late, c.soon, c.late)
			}
			if err := b.pay(t.Context()); err != nil || time.Since(began) > c.late+100*time.Millisecond {
				t.Errorf("it was paid twice: %v after %s", err, time.Since(began))
			}
		})
	}
}

// What rests by itself within a piece of work is not rested for once more.
func TestWorkWithinWorkIsRestedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{share: 0.5}
		began := time.Now()
		whole := b.step()
		for range 3 {
			some := b.step()
			<-time.After(time.Second)
			if err := some(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		if err := whole(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("four seconds of work took %s, want 8 s", took)
		}
	})
}
