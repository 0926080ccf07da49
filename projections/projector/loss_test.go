package projector_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// once returns an observer that does something before the first call of an operation.
func once(op memstore.Op, do func(memstore.Call)) func(memstore.Call) {
	var first sync.Once
	return func(c memstore.Call) {
		if c.Op == op {
			first.Do(func() { do(c) })
		}
	}
}

func TestAFlushedStoreIsNoticedWithoutAnEvent(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		w.store.Flush()
		w.settle()
		if n := w.logs.count("is gone"); n != 1 {
			t.Errorf("that is logged %d times", n)
		}
	})
}

func TestAFlushAtAnyMomentOfABatchIsMadeUpFor(t *testing.T) {
	for _, op := range []memstore.Op{memstore.OpClaim, memstore.OpCreate, memstore.OpLoad, memstore.OpApply, memstore.OpCommit} {
		t.Run(string(op), func(t *testing.T) {
			everyKind(t, func(w *world) {
				w.options.Batch, w.options.CacheDocuments = 4, 1
				w.start()
				w.add(20)
				w.settle()
				w.store.Observe(once(op, func(memstore.Call) { w.store.Flush() }))
				w.add(9)
				w.store.Flush() // for the operations of a beginning
				w.settle()
			})
		})
	}
}

func TestOnePartitionThatLostItsHeaderIsBuiltAgainAlone(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(30)
		w.settle()
		commits := map[int]int{}
		var mu sync.Mutex
		w.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpCommit {
				mu.Lock()
				defer mu.Unlock()
				commits[c.Partition]++
			}
		})
		w.store.LoseHeader(w.live(), 1)
		w.settle()
		mu.Lock()
		defer mu.Unlock()
		if commits[1] == 0 || commits[0]+commits[2] != 0 {
			t.Errorf("commits by partition: %v, expected some of partition 1 alone", commits)
		}
	})
}

func TestAStoreThatWentBackInTimeIsBroughtForwardAgain(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.CacheDocuments = 100
		w.start()
		w.add(10)
		w.settle()
		older := w.store.Snapshot()
		w.add(10)
		w.settle()
		for range 3 { // between batches: with an event, without, with a cache full of newer documents
			w.store.Restore(older)
			w.add(1)
			w.settle()
			w.store.Restore(older)
			w.settle()
		}
	})
}

func TestAStoreOfAnOlderOwnerIsTakenOverWithoutANewLease(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(10)
		w.settle()
		older := w.store.Snapshot()
		w.kill(r)
		w.start()
		w.add(10)
		w.settle()
		leases := w.leases.Calls(memstore.OpAcquire)
		w.store.Restore(older)
		w.add(1)
		w.settle()
		if got := w.leases.Calls(memstore.OpAcquire); got != leases {
			t.Errorf("the lease was taken %d times more", got-leases)
		}
	})
}

func TestAnEditedDocumentIsFoldedAgain(t *testing.T) {
	edits := map[string]func(map[string]string){
		"a value":          func(f map[string]string) { f["sum"] = "999" },
		"a value's kind":   func(f map[string]string) { f["sum"] = "many" },
		"a field less":     func(f map[string]string) { delete(f, "note") },
		"a field more":     func(f map[string]string) { f["extra"] = "1" },
		"its position":     func(f map[string]string) { f["_at"] = "us.7f3a11d2@1:2" },
		"no position":      func(f map[string]string) { f["_at"] = "nowhere" },
		"its digest":       func(f map[string]string) { f["_digest"] = strings.Repeat("ab", 16) },
		"parked by hand":   func(f map[string]string) { f["_parked"] = "us.7f3a11d2@1:2 because I say so" },
		"nothing is there": func(f map[string]string) { clear(f); f["x"] = "y" },
	}
	for name, change := range edits {
		t.Run(name, func(t *testing.T) {
			everyKind(t, func(w *world) {
				r := w.start()
				w.add(15)
				w.append(w.event(added, "acct/parked", `{"n":"x"}`), w.event(added, "acct/gone", `{"n":1,"tag":"gone"}`))
				w.append(w.event(closed, "acct/gone", `{}`), w.event(cleared, "misc/x", `{"tag":"gone"}`))
				w.fragment(4, 3)
				w.log.Promote()
				w.settle()
				w.kill(r) // and with it its cache
				gen := w.live()
				for key := range w.oracle(1).docs {
					w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}, change)
				}
				w.start()
				w.add(15)
				w.append(w.event(added, "acct/parked", `{"n":1,"tag":"gone"}`))
				w.settle()
			})
		})
	}
}

func TestDocumentsOfPartitionsAtDifferentCheckpointsAreFoldedAgainEachUpToItsOwn(t *testing.T) {
	everyKind(t, func(w *world) {
		r := w.start()
		w.add(15)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Partition == 1 }})
		w.add(15)
		w.until("the others are ahead", func() bool {
			h := w.headers(w.live())
			return sequence(h[0].Checkpoint) > sequence(h[1].Checkpoint)
		})
		w.kill(r)
		w.store.Disarm()
		gen := w.live()
		for key := range w.oracle(1).docs {
			w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}, func(f map[string]string) { f["sum"] = "5" })
		}
		w.add(15)
		w.start()
		w.settle()
	})
}

func TestADocumentPutWhereThereIsNoneIsNotBelieved(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(3)
		w.settle()
		gen := w.live()
		for _, key := range []string{"a9", "t9", "a8", "t8"} {
			w.store.PutDocument(gen, projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}, map[string]string{"sum": "1"})
		}
		w.append(w.event(added, "acct/a9", `{"n":1,"tag":"t9"}`), w.event(closed, "acct/a9", `{}`), w.event(cleared, "acct/a9", `{"tag":"t9"}`))
		w.append(w.event(added, "acct/a8", `{"n":1,"tag":"t8"}`))
		w.settle()
	})
}

func TestManyEditedDocumentsNeedOnePassOverTheLog(t *testing.T) {
	region(t, "tags", func(w *world) {
		for i := range 40 {
			w.append(w.event(added, "misc/m", fmt.Sprintf(`{"n":1,"tag":"tag %d"}`, i)))
		}
		r := w.start()
		w.settle()
		w.kill(r)
		gen := w.live()
		list := make([]string, 0, 40)
		for key := range w.oracle(1).docs {
			list = append(list, key)
			w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}, func(f map[string]string) { f["sum"] = "7" })
		}
		reads := 0
		inLog(func(b *bentLog) {
			b.reading = func() { reads++ }
		})(w)
		for i := range list {
			w.append(w.event(added, "misc/m", fmt.Sprintf(`{"n":1,"tag":%q}`, list[i])))
		}
		w.start()
		w.settle()
		if reads != 2 {
			t.Errorf("the log was read %d times, expected once to follow it and once for all documents together", reads)
		}
	})
}

// What is not promised: a document that was deleted by hand looks like one that never was. The digest is what shows it.
func TestADocumentDeletedByHandShowsInTheDigestAndInAReplay(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(20)
		w.settle()
		w.kill(r)
		gen := w.live()
		w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf("a1", gen.Partitions), Key: "a1"}, func(f map[string]string) { clear(f) })
		w.start()
		w.add(10)
		synctest.Wait()
		pass(time.Second)
		err := w.caughtUp(1, nil)
		if err == nil {
			t.Fatal("nothing is wrong, so this test tests nothing")
		}
		w.rebuild()
		if r := w.replay(); !r.Compared || r.Equal {
			t.Errorf("the replay was compared: %t, and found them equal: %t", r.Compared, r.Equal)
		}
		w.settle()
	})
}
