package projector_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// Somebody gives a replay up just after it switched: it is too late, and what is in use stays.
func TestAReplayThatHasSwitchedCannotBeGivenUp(t *testing.T) {
	for _, crash := range []bool{false, true} {
		for what, asked := range map[string]projections.ReplayRequest{
			"a read model": {}, "a copy": {Kind: projections.ReplayCopy, As: "then"}, "going back": {Kind: projections.ReplayRollback},
		} {
			t.Run(fmt.Sprintf("%s, crash %t", what, crash), func(t *testing.T) {
				region(t, "accounts", func(w *world) {
					w.options.Keep = time.Hour
					r := w.start()
					w.add(40)
					w.settle()
					w.done(projections.ReplayRequest{})
					if asked.Kind == projections.ReplayCopy {
						asked.To = w.oracle(1).position(w.oracle(1).head()).String()
					}
					before := w.pointer()
					var once atomic.Bool
					w.kv.Observe(func(c memstore.Call) {
						if c.Op != memstore.OpKVPut || c.Key != projections.ReplayKey(w.kind) {
							return
						}
						now := w.pointer()
						if (now.Generation == before.Generation && len(now.Copies) == 0) || !once.CompareAndSwap(false, true) {
							return
						}
						if crash {
							r.cancel()
						}
						if _, err := projections.CancelReplay(context.Background(), w.kv, w.kind, w.replay().ID); err != nil {
							t.Error(err)
						}
					})
					id := w.ask(asked)
					pass(10 * time.Second)
					w.kv.Observe(nil)
					if crash {
						w.kill(r)
						w.start()
					}
					if got := w.ended(id); got.State != projections.ReplayDone || !once.Load() {
						t.Errorf("the replay is %+v", got)
					}
					pass(time.Minute)
					w.add(3)
					w.settle()
					now := w.pointer()
					gens := []projections.Generation{now.Live(w.kind), now.Previous.Of(w.kind)}
					for i := range now.Copies {
						gens = append(gens, now.Copies[i].Of(w.kind))
					}
					for _, gen := range gens {
						if h := w.headers(gen)[0]; h.State == projections.Absent {
							t.Errorf("generation %d is gone; the pointer is %+v", gen.Number, now)
						}
					}
				})
			})
		}
	}
}

func TestAReplayThatStoodStillGoesOnAfterACrash(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Keep = time.Hour
		r := w.start()
		w.add(300)
		w.settle()
		w.done(projections.ReplayRequest{})
		w.store.SetMemory(projections.Memory{Used: 10 << 20, Max: 100 << 20})
		id := w.ask(projections.ReplayRequest{Rate: 50})
		pass(2 * time.Second)
		w.store.SetMemory(projections.Memory{Used: 91 << 20, Max: 100 << 20})
		pass(2 * time.Second)
		if w.replay().Yields == "" {
			t.Fatal("it does not stand still, so this tests nothing")
		}
		w.kill(r)
		w.store.SetMemory(projections.Memory{Used: 20 << 20, Max: 100 << 20})
		w.start()
		if got := w.ended(id); got.State != projections.ReplayDone || got.Yields != "" || w.pointer().Previous.Generation != 2 {
			t.Errorf("the replay is %+v, the pointer %+v", got, w.pointer())
		}
		w.settle()
	})
}

// More is written than a replay may read. It reads the rest without a rate, while the live generation goes on.
func TestARateDoesNotHoldUpWhatIsLive(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(100)
		w.settle()
		id := w.ask(projections.ReplayRequest{Rate: 10})
		for i := 0; ; i++ {
			w.add(20)
			pass(time.Second)
			if low, head := sequence(w.headers(w.live())[0].Checkpoint), w.oracle(1).head(); head-low > 40 {
				t.Fatalf("after %d s the live one is at %d of %d", i, low, head)
			}
			if !w.replayRuns() {
				break
			}
			if i > 2000 {
				t.Fatalf("it never ends: %+v", w.replay())
			}
		}
		if r := w.ended(id); r.State != projections.ReplayDone {
			t.Errorf("the replay is %+v", r)
		}
		w.settle()
	})
}

// The log begins later here, and the one snapshot is damaged: what is built begins with the first record, through the leader, and needs no proof.
func TestAReplayWithoutAUsableSnapshotIsFoldedOnce(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		r := w.start()
		w.add(20)
		w.settle()
		s := w.snapshot()
		w.add(10)
		w.settle()
		w.kill(r)
		w.seenLog = &later{Reader: w.log, begins: s.Sequence}
		w.start()
		pass(time.Minute)
		kept.Tamper(w.kind, s.ID, func(b []byte) []byte { return b[:len(b)/2] })
		w.store.EditHeader(w.live(), 1, func(h *projections.Header) { h.Digest = projections.Digest{} })
		w.leases.Expire("projector-" + w.kind)
		w.add(1)
		pass(time.Minute)
		if got := w.done(projections.ReplayRequest{}); len(got.Back) != 0 || got.Generation != 2 {
			t.Errorf("the replay is %+v", got)
		}
		w.settle()
	})
}

// Two snapshots were taken while the read model was wrong, by a region that is alone. Equality with what is live is no proof of what began with the same.
func TestASnapshotIsNotProvenByWhatItWasTakenOf(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.withSnapshots()
		r := w.start()
		w.add(40)
		w.settle()
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return &miscounting{p} }
		r = w.start()
		w.add(10)
		pass(time.Minute)
		w.snapshot()
		w.add(10)
		pass(time.Minute)
		bad := w.snapshot()
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return p }
		w.start()
		w.add(10)
		w.mark()
		pass(time.Minute)
		got := w.done(projections.ReplayRequest{From: bad.Sequence + 1})
		if got.Plan.Strategy != projections.StrategySnapshot || got.Proof.Result != projections.ProofConsistent {
			t.Errorf("the replay is %+v, %+v", got.Plan, got.Proof)
		}
		got = w.done(projections.ReplayRequest{From: bad.Sequence + 1, RequireEqual: true})
		if len(got.Back) != 2 || got.Plan.Strategy != projections.StrategyWhole || got.Proof.Result != projections.ProofEqual || got.Proof.With != "a second fold" {
			t.Errorf("the replay is %+v, %+v, %+v", got, got.Plan, got.Proof)
		}
		w.settle()
	})
}

func TestWhatCameOfASnapshotIsWrittenDownInSpiteOfTrouble(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.withSnapshots()
		w.start()
		w.add(40)
		w.settle()
		if _, err := projections.RequestSnapshot(context.Background(), w.kv, w.kind, time.Now()); err != nil {
			t.Fatal(err)
		}
		for nth := 1; nth < 4; nth++ {
			w.kv.Fail(memstore.Fault{Op: memstore.OpKVPut, Nth: nth, Match: func(c memstore.Call) bool { return c.Key == projections.SnapshotKey(w.kind) }})
		}
		pass(time.Second)
		w.mark()
		pass(time.Minute)
		w.snapshot() // another one can be asked for
	})
}

// Snapshots of a history that is over do not count, however far it had come.
func TestSnapshotsOfAnotherHistoryMakeRoom(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		r := w.start()
		for range 3 {
			w.add(30)
			w.settle()
			w.snapshot()
		}
		w.kill(r)
		w.log.Recreate()
		w.store.Flush()
		w.oracles, w.marks = map[int]*oracle{}, 0
		w.add(5)
		w.start()
		w.settle()
		s := w.snapshot()
		if list, err := kept.List(context.Background(), w.kind); err != nil || len(list) != 1 || list[0].ID != s.ID {
			t.Errorf("kept are %v, %v, expected %s", ids(list), err, s.ID)
		}
		w.settle()
	})
}

// What changed in the live generation after the other one was folded is no difference of the two.
func TestWhatChangedMeanwhileIsNoDifference(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		head := w.oracle(1).head()
		w.done(projections.ReplayRequest{Kind: projections.ReplayCopy, To: w.oracle(1).position(head).String(), As: "then"})
		p := w.pointer()
		then, _ := p.Copy("then")
		def := w.projection(1).Definition()
		compare := func() projections.Difference {
			t.Helper()
			d, err := projector.Compare(context.Background(), w.store, projector.Side{Generation: w.live(), Definition: def}, projector.Side{Generation: then.Of(w.kind), Definition: def}, head)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		if d := compare(); d.Same != 5 || !d.None() || d.Unsettled != 0 {
			t.Errorf("nothing changed, and it says %+v", d)
		}
		w.append(w.event(closed, "acct/a1", `{}`))
		w.append(w.event(added, "acct/a2", `{"n":1,"tag":"t1"}`))
		w.append(w.event(added, "acct/new", `{"n":1,"tag":"t1"}`))
		w.settle()
		if d := compare(); d.Same != 3 || !d.None() || d.Unsettled != 3 {
			t.Errorf("three documents changed since, and it says %+v", d)
		}
		gen := w.live()
		w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf("a3", gen.Partitions), Key: "a3"}, func(fields map[string]string) { fields["sum"] = "99" })
		if d := compare(); d.Changed != 1 || d.Samples[0].Key != "a3" || d.Samples[0].Before["sum"] != "99" || d.Samples[0].After["sum"] == "99" {
			t.Errorf("one document differs, and it says %+v", d)
		}
	})
}

// A store whose user may not ask for its memory takes a replay all the same, and what is live is not disturbed.
func TestAReplayDoesWithoutKnowingTheMemory(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		leases := w.leases.Calls(memstore.OpAcquire)
		w.store.Fail(memstore.Fault{Op: memstore.OpMemory, Err: events.Errorf(events.ErrUnauthorized, "a test says so")})
		w.done(projections.ReplayRequest{Rate: 5})
		w.settle()
		if got := w.leases.Calls(memstore.OpAcquire); got != leases {
			t.Errorf("the lease was taken %d times more", got-leases)
		}
	})
}
