package projector_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

// ask asks for a replay and returns its id.
func (w *world) ask(asked projections.ReplayRequest) string {
	w.t.Helper()
	if asked.Reason == "" {
		asked.Reason = "test"
	}
	r, err := projections.AskReplay(context.Background(), w.kv, w.kind, asked, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

// ended waits until a replay has ended, and returns it.
func (w *world) ended(id string) projections.Replay {
	w.t.Helper()
	w.until("the replay has ended", func() bool { r := w.replay(); return r.ID == id && !r.Running() })
	return w.replay()
}

// done has a replay executed that is to succeed.
func (w *world) done(asked projections.ReplayRequest) projections.Replay {
	w.t.Helper()
	r := w.ended(w.ask(asked))
	if r.State != projections.ReplayDone {
		w.t.Fatalf("the replay is %s: %s %s", r.State, r.Code, r.Message)
	}
	return r
}

// atHead waits until a generation of a version is at the head and right.
func (w *world) atHead(gen projections.Generation, version int) {
	w.t.Helper()
	w.until("the generation is at the head", func() bool {
		return !slices.ContainsFunc(w.headers(gen), func(h projections.Header) bool { return sequence(h.Checkpoint) != w.oracle(version).head() })
	})
	if err := checkGeneration(w.t, w.store, gen, w.oracle(version), nil); err != nil {
		w.t.Error(err)
	}
}

func TestTheGenerationBeforeIsFollowedAndTakesOverAgain(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Keep = time.Hour
		w.start()
		w.add(20)
		w.settle()
		w.done(projections.ReplayRequest{})
		w.add(10)
		w.settle()
		before := w.pointer().Previous
		if before == nil || before.Generation != 1 || before.Until == nil || len(w.pointer().Retired) != 0 {
			t.Fatalf("the pointer is %+v", w.pointer())
		}
		w.atHead(before.Of(w.kind), 1)
		for i, want := range []uint32{1, 2, 1} { // there and back
			r := w.done(projections.ReplayRequest{Kind: projections.ReplayRollback})
			if p := w.pointer(); p.Generation != want || p.Previous == nil || p.Previous.Generation != 3-want || r.Generation != want || !r.Compared || !r.Equal {
				t.Fatalf("%d: the pointer is %+v, the replay %+v", i, p, r)
			}
			w.add(5)
			w.settle()
			w.atHead(w.pointer().Previous.Of(w.kind), 1)
		}
		w.done(projections.ReplayRequest{}) // a third generation: the one before the one before goes
		w.until("the oldest is dropped", func() bool {
			p := w.pointer()
			return p.Generation == 3 && p.Previous.Generation == 1 && len(p.Retired) == 0 && w.headers(projections.Generation{Projection: w.kind, Number: 2, Partitions: 3})[0].State == projections.Absent
		})
		w.settle()
		pass(2 * time.Hour)
		if p := w.pointer(); p.Previous != nil || len(p.Retired) != 0 {
			t.Errorf("after its time the pointer is %+v", p)
		}
		for _, h := range w.headers(projections.Generation{Projection: w.kind, Number: 1, Partitions: 3}) {
			if h.State != projections.Absent {
				t.Errorf("generation 1 is still there: %+v", h)
			}
		}
		if r := w.ended(w.ask(projections.ReplayRequest{Kind: projections.ReplayRollback})); r.State != projections.ReplayFailed || r.Code != string(projections.ErrNothingKept) {
			t.Errorf("a rollback to nothing is %s %s", r.State, r.Code)
		}
		w.add(1)
		w.settle()
	})
}

// The version that is rolled back is not built again by itself, also by a projector that starts later; a replay that is asked for builds it.
func TestAVersionThatWasRolledBackStaysSo(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Keep = time.Hour
		r := w.start()
		w.add(20)
		w.settle()
		w.kill(r)
		w.version, w.earlier = 2, true
		r = w.start()
		w.settle()
		if d := w.replay().Difference; d == nil || d.Changed == 0 || d.Added != 0 || d.Removed != 0 || len(d.Samples) == 0 || d.Samples[0].Before["sum"] == d.Samples[0].After["sum"] {
			t.Errorf("the versions differ by %+v", d)
		}
		w.atHead(w.pointer().Previous.Of(w.kind), 1)
		w.done(projections.ReplayRequest{Kind: projections.ReplayRollback})
		back := func() {
			t.Helper()
			w.add(5)
			w.until("version 1 goes on", func() bool { return w.caughtUp(1, nil) == nil })
		}
		back()
		pass(10 * time.Minute)
		back()
		w.kill(r)
		r = w.start()
		pass(10 * time.Minute)
		back()
		w.done(projections.ReplayRequest{})
		w.settle()
		w.kill(r)
		w.start()
		w.settle()
		if p := w.pointer(); p.Declined != "" || p.Version != 2 {
			t.Errorf("the pointer is %+v", p)
		}
	})
}

func TestWhatIsKeptIsDroppedWhenThatIsAsked(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Keep = time.Hour
		w.start()
		w.add(20)
		w.settle()
		if r := w.ended(w.ask(projections.ReplayRequest{Kind: projections.ReplayDrop})); r.Code != string(projections.ErrNothingKept) {
			t.Errorf("there was nothing to drop, and the replay is %+v", r)
		}
		w.done(projections.ReplayRequest{})
		w.done(projections.ReplayRequest{Kind: projections.ReplayDrop})
		w.until("it is dropped", func() bool { p := w.pointer(); return p.Previous == nil && len(p.Retired) == 0 })
		w.add(3)
		w.settle()
	})
}

// The generation before meets a store that fails, and is put right by itself; the live one does not notice.
func TestTroubleWithWhatIsKeptIsNotThatOfTheLiveOne(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Keep = time.Hour
		w.start()
		w.add(20)
		w.settle()
		w.done(projections.ReplayRequest{})
		leases := w.leases.Calls(memstore.OpAcquire)
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 1 }})
		w.add(20)
		w.settle()
		if s := w.status(); s.State != projections.ProjectorFollowing || s.Generation != 2 {
			t.Errorf("the status is %+v", s)
		}
		pass(time.Minute)
		w.store.Disarm()
		w.atHead(w.pointer().Previous.Of(w.kind), 1)
		if got := w.leases.Calls(memstore.OpAcquire); got != leases {
			t.Errorf("the lease was taken %d times more", got-leases)
		}
	})
}

func TestAReaderSeesOneGenerationOrTheOtherThroughARollback(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Keep = time.Hour
		w.start()
		w.add(20)
		w.settle()
		w.done(projections.ReplayRequest{})
		var last uint64
		generations := map[uint32]bool{}
		for i := range 600 {
			if !w.replayRuns() && i%50 == 0 {
				w.ask(projections.ReplayRequest{Kind: projections.ReplayRollback})
			}
			w.append(w.event(added, "acct/a1", `{"n":2,"tag":"t1"}`))
			pass(500 * time.Microsecond)
			a, err := w.reader.Get(context.Background(), w.kind, keyOf(w.kind), query.Options{})
			if err != nil {
				t.Fatal(err)
			}
			oracle := w.oracle(1)
			seq, _ := oracle.seqOf(a.Position)
			if want, _ := oracle.get(a.Key, seq); seq < last || want.differs(a.Changed, a.Parked, a.Document.Values) != "" {
				t.Fatalf("generation %d at %d after %d: %s", a.Generation, seq, last, want.differs(a.Changed, a.Parked, a.Document.Values))
			}
			last, generations[a.Generation] = seq, true
		}
		if len(generations) != 2 {
			t.Errorf("the generations that answered are %v", generations)
		}
	})
}

func (w *world) replayRuns() bool { r := w.replay(); return r.Running() }

// A rollback is executed by whoever has the lease, also when the one before ended at any call.
func TestARollbackGoesOnAfterACrashAtAnyCall(t *testing.T) {
	for _, op := range []memstore.Op{memstore.OpKVPut, memstore.OpSetState, memstore.OpClaim} {
		for nth := 1; nth < 12; nth++ {
			region(t, "accounts", func(w *world) {
				w.options.Keep = time.Hour
				r := w.start()
				w.add(20)
				w.settle()
				w.done(projections.ReplayRequest{})
				id := w.ask(projections.ReplayRequest{Kind: projections.ReplayRollback})
				var left atomic.Int64
				left.Store(int64(nth))
				kill := func(c memstore.Call) {
					if c.Op == op && left.Add(-1) == 0 {
						r.cancel()
					}
				}
				w.store.Observe(kill)
				w.kv.Observe(kill)
				pass(3 * time.Second)
				w.store.Observe(nil)
				w.kv.Observe(nil)
				w.add(3)
				if left.Load() <= 0 {
					w.kill(r)
					w.start()
				}
				if got := w.ended(id); got.State != projections.ReplayDone {
					t.Fatalf("%s %d: the replay is %+v", op, nth, got)
				}
				w.settle()
				if p := w.pointer(); p.Generation != 1 || p.Previous == nil || p.Previous.Generation != 2 {
					t.Errorf("%s %d: the pointer is %+v", op, nth, p)
				}
			})
		}
	}
}

func TestARunningReplayIsCancelled(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }})
		id := w.request()
		pass(time.Second)
		if _, err := projections.CancelReplay(context.Background(), w.kv, w.kind, "another"); !errors.Is(err, projections.ErrUnknownReplay) {
			t.Errorf("giving up what nobody knows: %v", err)
		}
		if r, err := projections.CancelReplay(context.Background(), w.kv, w.kind, id); err != nil || !r.Running() || !r.Cancel {
			t.Fatalf("%+v, %v", r, err)
		}
		w.store.Disarm()
		if r := w.ended(id); r.State != projections.ReplayCancelled || r.Code != string(projections.ErrReplayCancelled) || r.Finished == nil {
			t.Errorf("the replay is %+v", r)
		}
		w.until("what was built is dropped", func() bool {
			return len(w.pointer().Retired) == 0 && w.headers(projections.Generation{Projection: w.kind, Number: 2, Partitions: 3})[0].State == projections.Absent
		})
		if r, err := projections.CancelReplay(context.Background(), w.kv, w.kind, id); err != nil || r.State != projections.ReplayCancelled {
			t.Errorf("giving it up once more: %+v, %v", r, err)
		}
		w.add(3)
		w.settle()
		w.done(projections.ReplayRequest{})
		w.settle()
		list, err := projections.Replays(context.Background(), w.kv, w.kind)
		if err != nil || len(list) != 2 || list[0].State != projections.ReplayDone || list[1].ID != id {
			t.Errorf("the replays are %+v, %v", list, err)
		}
	})
}

// Nobody runs when it is given up: whoever comes next writes that down.
func TestAReplayThatNobodyExecutesIsCancelledByTheNextProjector(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(20)
		w.settle()
		w.kill(r)
		id := w.request()
		if _, err := projections.CancelReplay(context.Background(), w.kv, w.kind, id); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if !w.replayRuns() {
			t.Error("somebody gave it up")
		}
		w.start()
		if r := w.ended(id); r.State != projections.ReplayCancelled || w.pointer().Generation != 1 {
			t.Errorf("the replay is %+v", r)
		}
		w.settle()
	})
}

func TestAReplayAtARateTakesItsTime(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(300)
		w.settle()
		began := time.Now()
		id := w.ask(projections.ReplayRequest{Rate: 20})
		pass(5 * time.Second)
		w.add(10)
		w.until("the live one is not held up", func() bool { return sequence(w.headers(w.live())[0].Checkpoint) >= 300 })
		if r := w.replay(); r.Sequence < 40 || r.Sequence > 160 || r.PerSecond < 15 || r.PerSecond > 25 || r.Remaining < 5 || r.Remaining > 15 {
			t.Errorf("after five seconds the replay is %+v", r)
		}
		if r := w.ended(id); r.State != projections.ReplayDone || time.Since(began) < 14*time.Second {
			t.Errorf("it took %s and is %s", time.Since(began), r.State)
		}
		w.settle()
	})
}

func TestAReplayYieldsWhenTheStoreIsNearlyFullAndIsGivenUpWhenItIsFull(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Keep = time.Hour
		w.start()
		w.add(300)
		w.settle()
		w.store.SetMemory(projections.Memory{Used: 10 << 20, Max: 100 << 20})
		id := w.ask(projections.ReplayRequest{Rate: 50})
		pass(2 * time.Second)
		w.store.SetMemory(projections.Memory{Used: 91 << 20, Max: 100 << 20})
		pass(2 * time.Second)
		held := w.replay()
		pass(30 * time.Second)
		w.add(20)
		w.until("the live one is at the head", func() bool { return sequence(w.headers(w.live())[0].Checkpoint) == w.oracle(1).head() })
		if r := w.replay(); held.Yields == "" || r.Yields == "" || r.Sequence > held.Sequence+10 || r.Sequence < 20 {
			t.Errorf("it is at %d after %d: %q", r.Sequence, held.Sequence, r.Yields)
		}
		w.store.SetMemory(projections.Memory{Used: 50 << 20, Max: 100 << 20})
		if r := w.ended(id); r.State != projections.ReplayDone || r.Yields != "" {
			t.Fatalf("the replay is %+v", r)
		}
		w.settle()

		// The generation before goes first, then what is built.
		id = w.ask(projections.ReplayRequest{Rate: 50})
		pass(2 * time.Second)
		w.store.SetMemory(projections.Memory{Used: 98 << 20, Max: 100 << 20})
		if r := w.ended(id); r.State != projections.ReplayFailed || r.Code != string(projections.ErrStoreFull) {
			t.Errorf("the replay is %+v", r)
		}
		w.until("both are dropped", func() bool { p := w.pointer(); return p.Previous == nil && len(p.Retired) == 0 && p.Generation == 2 })
		if r := w.ended(w.ask(projections.ReplayRequest{})); r.State != projections.ReplayFailed || r.Code != string(projections.ErrStoreFull) || r.Generation != 0 {
			t.Errorf("one that does not fit was begun: %+v", r)
		}
		w.add(3)
		w.settle()
	})
}

// The store is put back to when the generation was not the live one. It is the live one all the same.
func TestALiveGenerationThatTheStoreRemembersAsRetiredAnswersAgain(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Keep = time.Hour
		w.start()
		w.add(20)
		w.settle()
		w.done(projections.ReplayRequest{})
		w.add(5)
		w.settle()
		w.atHead(w.pointer().Previous.Of(w.kind), 1)
		then := w.store.Snapshot()
		w.done(projections.ReplayRequest{Kind: projections.ReplayRollback})
		w.store.Restore(then)
		pass(2 * time.Second)
		w.settle()
		if _, err := w.reader.Get(context.Background(), w.kind, keyOf(w.kind), query.Options{}); err != nil {
			t.Error(err)
		}
	})
}
