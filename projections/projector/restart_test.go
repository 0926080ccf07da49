package projector_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// region runs a test in a bubble with a world of its own.
func region(t *testing.T, kind string, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, kind)
		defer w.close()
		test(w)
	})
}

// everyKind runs a test for each kind of projection.
func everyKind(t *testing.T, test func(w *world)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { region(t, kind, test) })
	}
}

// sequence returns the sequence of a position of the one origin.
func sequence(p events.Position) uint64 {
	point, _ := p.Point("us")
	return point.Sequence
}

func TestPartitionsAtDifferentCheckpointsEachGetWhatTheyLack(t *testing.T) {
	for _, batch := range []int{1, 2, 5_000} {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			region(t, "both", func(w *world) {
				r := w.start() // with large batches, so that the others get far ahead
				w.add(6)
				w.settle()
				w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Partition == 1 }})
				w.add(20)
				w.until("the others are ahead", func() bool {
					h := w.headers(w.live())
					return sequence(h[0].Checkpoint) > sequence(h[1].Checkpoint)
				})
				w.kill(r)
				w.store.Disarm()
				w.options.Batch = batch
				w.start()
				w.settle()
			})
		})
	}
}

func TestACommitWhoseAnswerWasLostCountsOnce(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Batch = 3
		w.start()
		for partition := range w.options.Partitions {
			w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Nth: 2, After: true, Match: func(c memstore.Call) bool { return c.Partition == partition }})
			w.add(12)
			w.settle()
		}
	})
}

func TestACommitThatFailsInSomePartitionsIsMadeUpForThere(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(5)
		w.settle()
		for n := range 5 {
			w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Nth: 1 + n})
			w.add(9)
			w.settle()
		}
	})
}

// TestAKillAtAnyCallLosesNothing ends the projector at its first call to the store, at its second, and so on, with and without a replay.
func TestAKillAtAnyCallLosesNothing(t *testing.T) {
	for _, replaying := range []bool{false, true} {
		t.Run(fmt.Sprint("replay ", replaying), func(t *testing.T) {
			for reached, n := true, int64(1); reached; n++ {
				region(t, "both", func(w *world) { reached = killAt(w, n, replaying) })
			}
		})
	}
}

// killAt ends a projector at its nth call and reports whether there were so many.
func killAt(w *world, n int64, replaying bool) bool {
	w.options.Batch, w.options.CacheDocuments = 3, 2
	w.add(7)
	w.append(w.event(added, "acct/a1", `{"n":5,"tag":"x"}`), w.event(closed, "acct/a2", `{}`), w.event(added, "misc/m", `{"n":5,"tag":"x"}`))
	var left atomic.Int64
	left.Store(n)
	victim := make(chan *running, 1)
	count := func(memstore.Call) {
		if w.peeking.Load() == 0 && left.Add(-1) == 0 {
			(<-victim).cancel()
		}
	}
	begin := func() {
		w.store.Observe(count)
		w.kv.Observe(count)
	}
	if !replaying {
		begin()
		victim <- w.start()
	} else {
		r := w.start()
		w.settle()
		victim <- r
		if _, err := projections.RequestReplay(context.Background(), w.kv, w.kind, "test", time.Now()); err != nil {
			w.t.Fatal(err)
		}
		begin()
	}
	w.add(4)
	pass(100 * time.Millisecond) // no periodic check comes so soon
	w.store.Observe(nil)
	w.kv.Observe(nil)
	reached := left.Load() <= 0
	w.start()
	w.settle()
	if r := w.replay(); replaying && (r.State != projections.ReplayDone || w.pointer().Generation == 1 || !r.Compared || !r.Equal) {
		// Between the switch and its report, the next owner finds the comparison already written down.
		w.t.Errorf("killed at call %d, the replay is %+v", n, r)
	}
	w.until("retired generations are dropped", func() bool { return len(w.pointer().Retired) == 0 })
	for number := uint32(1); number <= w.pointer().Highest; number++ {
		for _, h := range w.headers(projections.Generation{Projection: w.kind, Number: number, Partitions: 3}) {
			if number != w.pointer().Generation && h.State != projections.Absent {
				w.t.Errorf("killed at call %d, generation %d is left behind", n, number)
			}
		}
	}
	return reached
}

func TestTwoProjectorsThatTakeTurnsApplyEverythingOnce(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Batch = 2
		w.start()
		w.start()
		for range 20 {
			w.add(3)
			w.leases.Expire("projector-" + w.kind)
			pass(time.Millisecond)
		}
		w.settle()
	})
}

func TestEverythingEndsWithTheContextWhateverIsGoingOn(t *testing.T) {
	for _, op := range []memstore.Op{
		memstore.OpClaim, memstore.OpCreate, memstore.OpLoad, memstore.OpApply, memstore.OpCommit, memstore.OpHeaders, memstore.OpSetState, memstore.OpDrop,
	} {
		t.Run(string(op), func(t *testing.T) {
			region(t, "both", func(w *world) {
				w.store.Fail(memstore.Fault{Op: op})
				r := w.start()
				w.add(3)
				_, _ = projections.RequestReplay(context.Background(), w.kv, w.kind, "test", time.Now())
				pass(3 * time.Second)
				w.kill(r) // the bubble fails when a goroutine is left
			})
		})
	}
}

func TestOptionsOutOfBoundsAreRefused(t *testing.T) {
	w := newWorld(t, "tags")
	for name, change := range map[string]func(*projector.Options){
		"partitions": func(o *projector.Options) { o.Partitions = -1 }, "too many partitions": func(o *projector.Options) { o.Partitions = 257 },
		"batch": func(o *projector.Options) { o.Batch = -1 }, "cache": func(o *projector.Options) { o.CacheDocuments = -1 },
		"even": func(o *projector.Options) { o.EvenInterval = -1 }, "check": func(o *projector.Options) { o.CheckInterval = -1 },
		"retire": func(o *projector.Options) { o.RetireDelay = -1 }, "endless batch": func(o *projector.Options) { o.Batch = 1 << 40 },
	} {
		var o projector.Options
		change(&o)
		if _, err := projector.New(mustProjection(t, "tags", 1), w.log, w.store, w.kv, w.leases, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
