package projector_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// asleep starts a projector, holds it at its next call of an operation that matches, takes its lease away without its noticing, and returns
// what wakes it up.
func (w *world) asleep(faults *memstore.Faults, match func(memstore.Call) bool, trigger func()) (wake func()) {
	w.t.Helper()
	sleepy := &drowsy{Leases: w.leases}
	sleepy.delay.Store(int64(time.Hour))
	before := w.seenLeases
	w.seenLeases = sleepy
	w.options.Holder = "sleeper"
	w.start()
	w.seenLeases = before
	w.settle()
	held, reached := make(chan struct{}), make(chan struct{})
	first := make(chan struct{}, 1)
	faults.Observe(func(c memstore.Call) {
		if !match(c) {
			return
		}
		select {
		case first <- struct{}{}:
			close(reached)
			<-held
		default:
		}
	})
	trigger()
	select {
	case <-reached:
	case <-time.After(time.Minute):
		w.t.Fatal("the projector never came to the call at which it should fall asleep")
	}
	w.leases.Expire("projector-" + w.kind)
	w.options.Holder = "successor"
	wake = sync.OnceFunc(func() {
		faults.Observe(w.onWake)
		close(held)
	})
	w.atEnd = append(w.atEnd, wake)
	return wake
}

func isOp(op memstore.Op) func(memstore.Call) bool {
	return func(c memstore.Call) bool { return c.Op == op }
}

func TestASleeperThatWakesUpAfterItsSuccessorTookOverChangesNothing(t *testing.T) {
	for _, op := range []memstore.Op{memstore.OpLoad, memstore.OpApply, memstore.OpCommit, memstore.OpHeaders} {
		for _, flushed := range []bool{false, true} {
			name := string(op)
			if flushed {
				name += ", and the store was flushed"
			}
			t.Run(name, func(t *testing.T) {
				region(t, "both", func(w *world) {
					w.options.CacheDocuments = 1
					w.add(10)
					wake := w.asleep(&w.store.Faults, isOp(op), func() { w.add(5) })
					if flushed {
						w.store.Flush()
					}
					w.start()
					w.settle()
					w.add(5)
					w.settle()
					wake()
					w.add(5)
					w.settle()
					pass(10 * time.Second)
					w.settle()
					if s := w.status(); s.Holder != "successor" || s.State != projections.ProjectorFollowing {
						t.Errorf("the status is of %s and says %s", s.Holder, s.State)
					}
				})
			})
		}
	}
}

// The sleeper loads what its successor wrote. Then the store goes back to when the sleeper owned it, so that its commit is accepted.
func TestASleeperDoesNotFoldOntoWhatItsSuccessorWrote(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.CacheDocuments = 1
		w.add(10)
		wake := w.asleep(&w.store.Faults, isOp(memstore.OpLoad), func() { w.append(w.event(added, "acct/a2", `{"n":1,"tag":"t1"}`)) })
		older := w.store.Snapshot()
		w.start()
		w.add(10)
		w.settle()
		w.onWake = once(memstore.OpApply, func(memstore.Call) { w.store.Restore(older) })
		wake()
		w.until("the sleeper has committed", func() bool { return w.store.Calls(memstore.OpLoad) > 0 && w.headers(w.live())[0].Owner == 1 })
		w.settle()
	})
}

func TestASleeperBetweenAFlushAndItsSuccessorDoesNoHarm(t *testing.T) {
	region(t, "both", func(w *world) {
		w.add(10)
		wake := w.asleep(&w.store.Faults, isOp(memstore.OpCreate), func() { w.store.Flush() })
		w.add(5)
		gate := make(chan struct{})
		w.store.Observe(once(memstore.OpCreate, func(memstore.Call) { // of the successor, which found every partition missing
			wake()
			<-gate
		}))
		w.start()
		pass(100 * time.Millisecond)
		leases := w.leases.Calls(memstore.OpAcquire)
		close(gate)
		pass(5 * time.Second)
		w.settle()
		if got := w.leases.Calls(memstore.OpAcquire); got > leases+1 { // the sleeper's, who finds out that it lost its own
			t.Errorf("the successor gave its lease back: there were %d calls", got-leases)
		}
	})
}

func TestASleeperDoesNotBringBackAGenerationThatWasDropped(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.add(5)
		wake := w.asleep(&w.store.Faults, isOp(memstore.OpCommit), func() { w.add(1) })
		w.start()
		w.settle()
		w.rebuild()
		w.until("the old generation is dropped", func() bool { return len(w.pointer().Retired) == 0 })
		old := projections.Generation{Projection: w.kind, Number: 1, Partitions: 3}
		wake()
		pass(20 * time.Second)
		w.settle()
		for _, h := range w.headers(old) {
			if h.State != projections.Absent {
				t.Errorf("partition %d is %s again", h.Partition, h.State)
			}
		}
	})
}

// The sleeper has built generation 2 and is about to make it live. Its successor has another version, so it gives generation 2 up and drops it.
func TestASleeperDoesNotSwitchToAGenerationThatWasGivenUp(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.add(5)
		pointerWrite := func(c memstore.Call) bool {
			return c.Op == memstore.OpKVPut && c.Key == projections.PointerKey(w.kind) && w.replay().State == projections.ReplaySwitching
		}
		wake := w.asleep(&w.kv.Faults, pointerWrite, func() { w.request() })
		w.version = 2
		w.start()
		w.settle()
		wake()
		w.settle()
		pass(20 * time.Second)
		w.settle()
		if p := w.pointer(); p.Generation != 3 || len(p.Retired) != 0 {
			t.Errorf("generation %d is live and %v retired, expected 3 and none", p.Generation, p.Retired)
		}
	})
}

// The sleeper's build failed, and it is about to give the generation up. Its successor goes on with that generation.
func TestASleeperDoesNotGiveUpWhatItsSuccessorGoesOnWith(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.add(20)
		giveUp := func(c memstore.Call) bool {
			return c.Op == memstore.OpKVPut && c.Key == projections.PointerKey(w.kind) && w.replay().Generation == 2
		}
		wake := w.asleep(&w.kv.Faults, giveUp, func() {
			w.log.Skip(15)
			w.request()
		})
		w.log.Heal()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }})
		w.start()
		pass(time.Second)
		wake()
		pass(10 * time.Second)
		w.store.Disarm()
		w.settle()
		if p, r := w.pointer(), w.replay(); p.Generation != 2 || isRetired(p, 2) || r.State != projections.ReplayDone {
			t.Errorf("generation %d is live and %v retired, the replay is %s", p.Generation, p.Retired, r.State)
		}
	})
}

func TestALeaseThatIsLostInTheMiddleOfABatchEndsTheWork(t *testing.T) {
	for _, op := range []memstore.Op{memstore.OpLoad, memstore.OpApply, memstore.OpCommit} {
		t.Run(string(op), func(t *testing.T) {
			everyKind(t, func(w *world) {
				w.options.CacheDocuments = 1
				w.start()
				w.add(5)
				w.settle()
				w.store.Observe(once(op, func(memstore.Call) { w.leases.Expire("projector-" + w.kind) }))
				w.add(10)
				w.settle()
			})
		})
	}
}

func TestALostLeaseEndsTheWorkAndIsWaitedForAgain(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(5)
		w.settle()
		w.leases.Expire("projector-" + w.kind)
		w.add(5)
		w.settle()
		if n := w.logs.count("state=waiting"); n != 1 || w.logs.count("lease-lost") != 1 {
			t.Errorf("waiting is logged %d times", n)
		}
	})
}

func TestWhatAnOwnerAppliedJustBeforeItWasReplacedIsNoForeignHistory(t *testing.T) {
	region(t, "accounts", func(w *world) {
		sleepy := &drowsy{Leases: w.leases}
		sleepy.delay.Store(int64(5 * time.Second))
		w.seenLeases = sleepy
		w.add(5)
		w.start()
		w.settle()
		w.start()
		w.store.Observe(once(memstore.OpClaim, func(memstore.Call) { // the successor has the lease and asks for the partitions
			w.add(5) // which the one before still applies
			pass(100 * time.Millisecond)
		}))
		w.leases.Expire("projector-" + w.kind)
		w.until("the successor owns everything", func() bool {
			return !slices.ContainsFunc(w.headers(w.live()), func(h projections.Header) bool { return h.Owner != 2 })
		})
		w.settle()
		if n := w.logs.count("foreign-history"); n != 0 {
			t.Errorf("the successor refused %d times", n)
		}
	})
}
