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
