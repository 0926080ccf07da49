package projector_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

// keyOf returns a key that every kind of projection has after add(5).
func keyOf(kind string) string {
	if kind == "tags" {
		return "t1"
	}
	return "a1"
}

func TestAReplayOfAHealthyReadModelIsEqual(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.hopeless()
		w.settle()
		for range 3 {
			w.rebuild()
			r := w.replay()
			if !r.Compared || !r.Equal || r.Position == "" || r.Digest == "" || r.Finished == nil || r.Documents == 0 {
				t.Errorf("the replay is %+v", r)
			}
			w.settle()
		}
		w.until("the old generations are dropped", func() bool { return len(w.pointer().Retired) == 0 })
		if p := w.pointer(); p.Generation != 4 || p.Highest != 4 {
			t.Errorf("the pointer is %+v", p)
		}
	})
}

func TestAReplayOfADamagedReadModelIsNotEqualAndMendsIt(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(10)
		w.settle()
		gen := w.live()
		w.store.EditHeader(gen, 1, func(h *projections.Header) { h.Digest = projections.Digest{}; h.Documents++ })
		w.leases.Expire("projector-" + w.kind) // so that it is read again
		w.add(1)
		pass(time.Second)
		w.rebuild()
		if r := w.replay(); !r.Compared || r.Equal {
			t.Errorf("compared: %t, equal: %t", r.Compared, r.Equal)
		}
		w.settle()
	})
}

func TestLiveWritesGoOnDuringAReplayAndQueriesNeverGoBack(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Batch = 2
		w.options.RetireDelay = 5 * time.Second
		w.start()
		w.add(40)
		w.settle()
		ctx := context.Background()
		var last uint64
		var generations []uint32
		id := ""
		for range 3_000 {
			running := w.replay()
			if n := len(generations); n > 0 && n < 5 && !running.Running() {
				id = w.request()
			}
			receipt := w.append(w.event(added, "acct/a1", `{"n":2,"tag":"t1"}`))
			pass(500 * time.Microsecond)
			o := query.Options{}
			if receipt.Last%7 == 0 {
				o.AtLeast = receipt.Position
			}
			a, err := w.reader.Get(ctx, w.kind, keyOf(w.kind), o)
			if err != nil {
				t.Fatalf("during the replay: %v", err)
			}
			oracle := w.oracle(1)
			seq, _ := oracle.seqOf(a.Position)
			if want, _ := oracle.get(a.Key, seq); want.differs(a.Changed, a.Parked, a.Document.Values) != "" {
				t.Fatalf("generation %d at %d: %s", a.Generation, seq, want.differs(a.Changed, a.Parked, a.Document.Values))
			}
			if seq < last {
				t.Fatalf("generation %d answers from %d after %d", a.Generation, seq, last)
			}
			if last = seq; len(generations) == 0 || generations[len(generations)-1] != a.Generation {
				generations = append(generations, a.Generation)
			}
			if len(generations) == 5 && !running.Running() {
				break
			}
		}
		if !slices.IsSorted(generations) || generations[0] != 1 || len(generations) < 5 {
			t.Errorf("the generations that answered are %v", generations)
		}
		w.until("the replay is done", func() bool { r := w.replay(); return r.ID == id && r.State == projections.ReplayDone })
		if r := w.replay(); !r.Compared || !r.Equal {
			t.Errorf("compared: %t, equal: %t", r.Compared, r.Equal)
		}
		w.settle()
	})
}

func TestAnswersNeverMixGenerationsWhenTheyHaveDifferentPartitions(t *testing.T) {
	everyKind(t, func(w *world) {
		r := w.start()
		w.add(40)
		w.settle()
		for _, partitions := range []int{1, 16, 2} {
			w.kill(r)
			w.options.Partitions = partitions
			r = w.start()
			w.request()
			for range 40 {
				w.add(1)
				page, err := w.reader.List(context.Background(), w.kind, query.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				oracle, seen := w.oracle(1), map[string]bool{}
				seq, _ := oracle.seqOf(page.Position)
				for _, item := range page.Items {
					if seen[item.Key] || !oracle.had(item.Key, seq, item.Document.Values) {
						t.Fatalf("%s is there twice, or as it never was since %d", item.Key, seq)
					}
					seen[item.Key] = true
				}
				for key := range oracle.docs {
					if oracle.constant(key, seq) && !seen[key] {
						t.Fatalf("%s is missing", key)
					}
				}
				pass(time.Millisecond)
			}
			w.settle()
			if got := w.pointer().Partitions; got != partitions {
				t.Errorf("the live generation has %d partitions, expected %d", got, partitions)
			}
		}
	})
}

func TestASecondReplayIsRefusedWhileOneRuns(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(10)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }})
		id := w.request()
		pass(time.Second)
		if _, err := projections.RequestReplay(context.Background(), w.kv, w.kind, "second", time.Now()); !errors.Is(err, projections.ErrReplayRunning) {
			t.Errorf("got %v", err)
		}
		w.add(3) // the live one goes on meanwhile
		w.until("the live one is at the head", func() bool {
			return sequence(w.headers(projections.Generation{Projection: w.kind, Number: 1, Partitions: 3})[0].Checkpoint) == w.oracle(1).head()
		})
		w.store.Disarm()
		w.until("done", func() bool { r := w.replay(); return r.ID == id && r.State == projections.ReplayDone })
		w.rebuild()
		w.settle()
	})
}

func TestAReplayThatFailsLeavesTheLiveGenerationAloneAndNothingBehind(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(10)
		w.settle()
		w.log.Skip(5) // behind the live generation, before the new one
		id := w.request()
		w.until("failed", func() bool { r := w.replay(); return r.ID == id && r.State == projections.ReplayFailed })
		if r := w.replay(); r.Code != string(events.ErrHole) || r.Finished == nil {
			t.Errorf("the replay is %+v", r)
		}
		w.add(5)
		w.until("the live one is at the head", func() bool {
			return w.pointer().Generation == 1 && sequence(w.headers(w.live())[0].Checkpoint) == w.oracle(1).head()
		})
		w.until("what was built is dropped", func() bool {
			for _, h := range w.headers(projections.Generation{Projection: w.kind, Number: 2, Partitions: 3}) {
				if h.State != projections.Absent {
					return false
				}
			}
			return len(w.pointer().Retired) == 0
		})
		w.log.Heal()
		w.rebuild() // under another number
		w.settle()
		if got := w.pointer().Generation; got != 3 {
			t.Errorf("generation %d is live, expected 3", got)
		}
	})
}

func TestAReplayThatFailsWhileTheLiveGenerationStandsStillLetsItGoOn(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(10)
		w.settle()
		leases := w.leases.Calls(memstore.OpAcquire)
		w.store.Fail(memstore.Fault{Op: memstore.OpSetState, Nth: 1, Err: events.Errorf(projections.ErrWrongType, "not a header")})
		w.request()
		w.until("failed", func() bool { return w.replay().State == projections.ReplayFailed })
		w.add(5)
		w.settle()
		if got := w.leases.Calls(memstore.OpAcquire); got != leases || w.pointer().Generation != 1 {
			t.Errorf("the lease was taken %d times more, generation %d is live", got-leases, w.pointer().Generation)
		}
	})
}

// The projector ends after it gave the new generation up and before it wrote that down. Its number must not be used again: it is being dropped.
func TestAReplayThatWasGivenUpAndNotWrittenDownBeginsUnderANewNumber(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.RetireDelay = 30 * time.Second
		r := w.start()
		w.add(10)
		w.settle()
		w.log.Skip(5)
		var given bool
		w.kv.Observe(func(c memstore.Call) {
			if c.Op != memstore.OpKVPut {
				return
			}
			if c.Key == projections.PointerKey(w.kind) && w.replay().Generation == 2 {
				given = true
			} else if given {
				r.cancel()
			}
		})
		w.request()
		select {
		case <-r.done:
		case <-time.After(time.Minute):
			t.Fatal("it never came so far")
		}
		w.kv.Observe(nil)
		w.kill(r)
		if r := w.replay(); !r.Running() || !isRetired(w.pointer(), 2) {
			t.Fatalf("the replay is %s and %v retired, so this tests nothing", r.State, w.pointer().Retired)
		}
		w.log.Heal()
		w.start()
		w.settle()
		pass(2 * time.Minute) // the two generations are dropped one after the other, each after its delay
		w.settle()
		if p := w.pointer(); p.Generation != 3 || len(p.Retired) != 0 {
			t.Errorf("the pointer is %+v", p)
		}
	})
}

func isRetired(p projections.Pointer, number uint32) bool {
	for _, r := range p.Retired {
		if r.Generation == number {
			return true
		}
	}
	return false
}

func TestAReplayGoesOnWhereItWasKilled(t *testing.T) {
	for name, partitions := range map[string]int{"with the same partitions": 3, "although new generations get others now": 7} {
		t.Run(name, func(t *testing.T) {
			everyKind(t, func(w *world) {
				w.options.Batch = 1
				r := w.start()
				w.add(40)
				w.settle()
				commits := 0
				w.store.Observe(func(c memstore.Call) {
					if c.Op == memstore.OpApply && c.Generation.Number == 2 {
						if commits++; commits == 20 {
							r.cancel()
						}
					}
				})
				w.request()
				select {
				case <-r.done:
				case <-time.After(time.Minute):
					t.Fatal("it never came so far")
				}
				w.kill(r)
				w.options.Partitions = partitions
				w.start()
				w.settle()
				w.until("done", func() bool { r := w.replay(); return r.State == projections.ReplayDone })
				if r := w.replay(); !r.Compared || !r.Equal || r.Generation != 2 {
					t.Errorf("the replay is %+v", r)
				}
				if commits > 50 {
					t.Errorf("%d batches were applied for 41 events: it did not go on", commits)
				}
			})
		})
	}
}

// killAfterSwitch has the read model replayed and ends the projector between the switch and its report.
func (w *world) killAfterSwitch(r *running) {
	w.t.Helper()
	w.kv.Observe(func(c memstore.Call) {
		if c.Op == memstore.OpKVPut && c.Key == projections.ReplayKey(w.kind) && w.pointer().Generation == 2 {
			r.cancel()
		}
	})
	w.request()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		w.t.Fatal("it never came so far")
	}
	w.kv.Observe(nil)
	w.kill(r)
	if now := w.replay(); !now.Running() || w.pointer().Generation != 2 {
		w.t.Fatalf("the replay is %s, so this tests nothing", now.State)
	}
}

func TestARetiredGenerationIsDroppedByTheNextProjectorWhenTheFirstCouldNot(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.RetireDelay = time.Minute
		r := w.start()
		w.add(5)
		w.settle()
		w.rebuild()
		w.kill(r)
		if len(w.pointer().Retired) != 1 {
			t.Fatalf("the pointer is %+v, so this tests nothing", w.pointer())
		}
		w.store.Fail(memstore.Fault{Op: memstore.OpDrop})
		w.start()
		pass(5 * time.Minute)
		w.store.Disarm()
		pass(5 * time.Minute)
		if p := w.pointer(); len(p.Retired) != 0 {
			t.Errorf("the pointer is %+v", p)
		}
		if h := w.headers(projections.Generation{Projection: w.kind, Number: 1, Partitions: 3}); h[0].State != projections.Absent {
			t.Error("the generation is still there")
		}
		if n := w.logs.count("could not be dropped"); n != 1 {
			t.Errorf("that is logged %d times", n)
		}
		w.settle()
	})
}

// The target of a new generation is the head when it is begun. When the live one stands still before that, nobody may find the new one
// building.
func TestTheNewGenerationAnswersFromTheMomentOfTheSwitch(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		grow := once(memstore.OpClaim, func(memstore.Call) { // of the new generation, which has been told how far to read
			w.store.Fail(memstore.Fault{Op: memstore.OpLoad, Match: func(c memstore.Call) bool { return c.Generation.Number == 1 }})
			w.append(w.event(added, "acct/unheard-of", `{"n":1}`)) // the live one cannot follow
		})
		looked := false
		w.store.Observe(func(c memstore.Call) {
			if c.Generation.Number == 2 {
				grow(c)
			}
			if c.Op != memstore.OpSetState || c.Generation.Number != 1 {
				return
			}
			looked = true // the switch has just been made
			for i, h := range w.headers(projections.Generation{Projection: w.kind, Number: 2, Partitions: 3}) {
				if h.State != projections.Live {
					t.Errorf("partition %d is %s", i, h.State)
				}
			}
		})
		w.request()
		pass(10 * time.Second)
		w.store.Disarm()
		w.until("the replay is done", func() bool { return w.replay().State == projections.ReplayDone })
		if !looked {
			t.Error("nobody was told of the switch")
		}
		w.settle()
	})
}

func TestAReadErrorAtTheStartOfAFinishedReplayDoesNotRetireTheLiveGeneration(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(5)
		w.settle()
		w.killAfterSwitch(r)
		for nth := range 6 {
			w.failKV(memstore.Fault{Op: memstore.OpKVGet, Nth: 1 + nth, Match: func(c memstore.Call) bool { return c.Key == projections.PointerKey(w.kind) }})
		}
		w.start()
		w.settle()
		w.until("done", func() bool { return w.replay().State == projections.ReplayDone })
		w.settle()
		if r := w.replay(); !r.Compared || !r.Equal || r.Generation != 2 {
			t.Errorf("the replay is %+v", r)
		}
	})
}

// A build can take an hour. The live generation must not stand still for so long because of an error that the next turn would not meet.
func TestALiveGenerationThatEndsDuringAReplayIsFollowedAgainBeforeThatIsDone(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(10)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }, Err: stall()})
		w.request()
		pass(3 * time.Second)
		w.store.Fail(memstore.Fault{Op: memstore.OpHeaders, Nth: 1, Match: func(c memstore.Call) bool { return c.Generation.Number == 1 }, Err: errors.New("odd")})
		pass(10 * time.Second)
		w.add(5)
		w.until("the live one is at the head", func() bool {
			r := w.replay()
			return r.Running() && w.pointer().Generation == 1 && sequence(w.headers(w.live())[0].Checkpoint) == w.oracle(1).head()
		})
		w.store.Disarm()
		w.until("done", func() bool { return w.replay().State == projections.ReplayDone })
		w.settle()
	})
}

// stall returns an error that makes an engine look again and again, as a long build would keep it busy.
func stall() error { return events.Errorf(projections.ErrMoved, "somewhere else") }

func TestALiveGenerationThatLosesItsServersDuringAReplayIsFollowedAgain(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Batch = 1
		w.start()
		w.add(30)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpHeaders, Match: func(c memstore.Call) bool { return c.Generation.Number == 1 }})
		w.store.Fail(memstore.Fault{Op: memstore.OpClaim, Match: func(c memstore.Call) bool { return c.Generation.Number == 1 }})
		w.request()
		pass(20 * time.Second)
		w.add(5)
		w.store.Disarm()
		w.settle()
		w.until("done", func() bool { return w.replay().State == projections.ReplayDone })
		w.settle()
	})
}
