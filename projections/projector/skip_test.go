package projector_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// skip adds skips to those that are recorded, and returns the sequence of the record.
func (w *world) skip(list ...skipped) uint64 {
	w.t.Helper()
	before := w.oracle(w.version).ignored
	seq := w.storeSkips("skip."+w.kind, append(slices.Clone(w.oracle(w.version).skips), list...))
	if w.oracle(w.version).ignored != before {
		w.t.Fatalf("the record %d means nothing", seq)
	}
	return seq
}

// one appends an event and returns its sequence.
func (w *world) one(typ, entity, data string) uint64 {
	w.t.Helper()
	return w.append(w.event(typ, entity, data)).Last
}

// parkedCount returns how many documents are parked.
func (w *world) parkedCount() (n uint64) {
	for _, h := range w.headers(w.live()) {
		n += h.Parked
	}
	return n
}

// settleAndRebuild waits until the read model is right, and requires that a replay is equal to it.
func (w *world) settleAndRebuild() {
	w.t.Helper()
	w.settle()
	w.rebuild()
	if r := w.replay(); !r.Compared || !r.Equal {
		w.t.Errorf("the replay was compared: %t, equal: %t", r.Compared, r.Equal)
	}
	w.settle()
}

// In all of these tests settle compares with the oracle, which folds from the start with what is recorded.

func TestASkipReleasesTheDocumentAtItsRecordAndNotBefore(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.add(5)
		bad := w.one(added, "acct/a1", `{"n":"x"}`)
		w.one(added, "acct/a1", `{"n":9,"tag":"after"}`)
		w.settle()
		before, err := w.reader.Get(context.Background(), w.kind, "a1", query.Options{})
		if err != nil || !strings.HasPrefix(before.Parked, fmt.Sprintf("us.7f3a11d2@1:%d ", bad)) || w.parkedCount() != 1 {
			t.Fatalf("%+v, %v", before, err)
		}
		record := w.skip(skipped{Key: "a1", Sequence: bad})
		w.settle()
		after, err := w.reader.Get(context.Background(), w.kind, "a1", query.Options{})
		if err != nil || after.Parked != "" || after.Document.Values[3] != "after" || after.Changed != fmt.Sprintf("us.7f3a11d2@1:%d", record) || w.parkedCount() != 0 {
			t.Fatalf("%+v, %v", after, err)
		}
		if want := (projector.Skipped{Projection: "accounts", Generation: 1, Sequence: record, Added: 1, Released: 1}); len(seen.skipped) != 1 || seen.skipped[0] != want {
			t.Errorf("told %+v", seen.skipped)
		}
		if n := w.logs.count("a skip record is obeyed"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		w.settleAndRebuild()
	})
}

// skipStories are what can become of skips. Each is told to a projector that follows, to one that comes later, and in batches of several sizes.
func skipStories() map[string]func(w *world) {
	return map[string]func(w *world){
		"events before and after the bad one": func(w *world) {
			w.add(6)
			bad := w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`)
			w.add(6)
			w.skip(skipped{Key: "a1", Sequence: bad}, skipped{Key: boom, Sequence: bad})
			w.add(6)
		},
		"the bad one is the document's first": func(w *world) {
			bad := w.one(added, "acct/new", `{"n":15,"tag":"red"}`) // too much for tags of both
			boomed := w.one(added, "acct/newer", `{"n":1,"tag":"boom"}`)
			w.skip(skipped{Key: "new", Sequence: bad}, skipped{Key: "red", Sequence: bad}, skipped{Key: "newer", Sequence: boomed}, skipped{Key: boom, Sequence: boomed})
			w.add(3)
		},
		"the document was deleted before the bad one, and is after it": func(w *world) {
			w.append(w.event(added, "acct/boom", `{"n":3,"tag":"t"}`), w.event(closed, "acct/boom", `{}`), w.event(cleared, "misc/m", `{"tag":"boom"}`))
			bad := w.one(added, "acct/boom", `{"n":1,"tag":"boom"}`)
			w.append(w.event(closed, "acct/boom", `{}`), w.event(cleared, "misc/m", `{"tag":"boom"}`))
			w.skip(skipped{Key: boom, Sequence: bad})
			w.add(2)
		},
		"one bad event after the other": func(w *world) {
			for range 4 {
				w.add(3)
				w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`)
			}
			for _, r := range w.oracle(w.version).records {
				if strings.Contains(string(r.Event.Data), boom) {
					w.skip(skipped{Key: "a1", Sequence: r.Sequence}, skipped{Key: boom, Sequence: r.Sequence})
					w.add(1)
				}
			}
		},
		"the last bad event first": func(w *world) {
			var bad []uint64
			for range 3 {
				w.add(3)
				bad = append(bad, w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`))
			}
			for _, seq := range slices.Backward(bad) {
				w.skip(skipped{Key: "a1", Sequence: seq}, skipped{Key: boom, Sequence: seq})
				w.add(2)
			}
		},
		"several records next to each other": func(w *world) {
			w.add(3)
			first, second := w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`), w.one(added, "acct/a2", `{"n":1,"tag":"boom"}`)
			w.skip(skipped{Key: "a1", Sequence: first})
			w.skip(skipped{Key: "a2", Sequence: second})
			w.skip(skipped{Key: boom, Sequence: second})
			w.skip(skipped{Key: boom, Sequence: first})
		},
		"events that can be applied, and documents that are not there": func(w *world) {
			w.add(5)
			for seq := uint64(2); seq < 7; seq++ {
				w.skip(skipped{Key: "a1", Sequence: seq}, skipped{Key: "t1", Sequence: seq}, skipped{Key: "never", Sequence: seq})
			}
			w.add(5)
		},
		"an event of a whole transaction": func(w *world) {
			w.add(2)
			last := w.append(
				w.event(added, "acct/a1", `{"n":1,"tag":"t1"}`), w.event(added, "acct/a1", `{"n":15,"tag":"boom"}`), w.event(added, "acct/a1", `{"n":2,"tag":"boom"}`),
				w.event(added, "acct/a2", `{"n":3,"tag":"boom"}`), w.event(added, "acct/a1", `{"n":15,"tag":"a1"}`),
			).Last
			w.add(2)
			for seq := last - 4; seq <= last; seq++ {
				w.skip(skipped{Key: "a1", Sequence: seq}, skipped{Key: "a2", Sequence: seq}, skipped{Key: boom, Sequence: seq})
			}
			w.add(2)
		},
		"one function applies the event and another one does not": func(w *world) {
			w.one(added, "acct/a1", `{"n":2,"tag":"a1"}`)
			bad := w.one(added, "acct/a1", `{"n":15,"tag":"a1"}`)
			w.one(added, "acct/a1", `{"n":3,"tag":"a1"}`)
			w.skip(skipped{Key: "a1", Sequence: bad})
			w.one(added, "acct/a1", `{"n":4,"tag":"a1"}`)
		},
		"junk between records": func(w *world) {
			w.add(2)
			bad, worse := w.one(added, "acct/a1", `{"n":"x"}`), w.one(added, "acct/a2", `{"n":1,"tag":"boom"}`)
			w.log.StoreRaw("ctl.us.skip."+w.kind, nil, []byte("junk"))
			w.skip(skipped{Key: "a1", Sequence: bad})
			w.storeSkips("skip."+w.kind, []skipped{{Key: "a2", Sequence: worse}}) // forgets the one before
			w.add(2)
			w.skip(skipped{Key: boom, Sequence: worse})
			w.skipBeside(skipped{Key: "a2", Sequence: worse})
			w.add(2)
		},
		"a fragment around a record": func(w *world) {
			w.add(2)
			bad := w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`)
			w.fragment(4, 2)
			w.skip(skipped{Key: "a1", Sequence: bad}, skipped{Key: boom, Sequence: bad}, skipped{Key: "a2", Sequence: bad + 2})
			w.part(4, 3, 4)
			w.log.Promote()
			w.add(2)
		},
	}
}

// skipBeside stores a record in one transaction with an event.
func (w *world) skipBeside(s skipped) {
	w.t.Helper()
	_, err := w.log.Append(context.Background(), events.Batch{
		Events:   []events.Event{w.event(added, "acct/a4", `{"n":1,"tag":"t1"}`)},
		Controls: []events.ControlWrite{{Control: events.Control{Name: "skip." + w.kind, Data: encodeSkips(append(slices.Clone(w.oracle(w.version).skips), s))}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestSkipsMeanTheSameHoweverTheyAreRead(t *testing.T) {
	for name, story := range skipStories() {
		for _, kind := range kinds {
			t.Run(name+" "+kind, func(t *testing.T) {
				for _, batch := range []int{1, 2, 3, 7, 5_000} {
					for _, live := range []bool{false, true} {
						region(t, kind, func(w *world) {
							w.options.Batch, w.options.CacheDocuments = batch, 1+batch%3
							if live {
								w.start()
							}
							story(w)
							if !live {
								w.start()
							}
							w.settleAndRebuild()
						})
					}
				}
			})
		}
	}
}

// TestAKillAtAnyCallChangesNothingAboutSkips ends the projector at its first call to the store, at its second, and so on, while it reads a story.
func TestAKillAtAnyCallChangesNothingAboutSkips(t *testing.T) {
	stories := skipStories()
	for _, name := range []string{"several records next to each other", "an event of a whole transaction", "the last bad event first"} {
		t.Run(name, func(t *testing.T) {
			for reached, n := true, int64(1); reached; n++ {
				region(t, "both", func(w *world) {
					w.options.Batch, w.options.CacheDocuments = 5, 2
					stories[name](w)
					var left atomic.Int64
					left.Store(n)
					victim := make(chan *running, 1)
					w.store.Observe(func(memstore.Call) {
						if left.Add(-1) == 0 {
							(<-victim).cancel()
						}
					})
					victim <- w.start()
					pass(100 * time.Millisecond)
					w.store.Observe(nil)
					reached = left.Load() <= 0
					w.start()
					w.settle()
				})
			}
		})
	}
}

func TestPartitionsAtDifferentCheckpointsObeyASkipEachInItsTurn(t *testing.T) {
	for _, batch := range []int{1, 2, 5_000} {
		region(t, "both", func(w *world) {
			w.start()
			w.add(6)
			w.settle()
			first := w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`)
			second := w.one(added, "acct/a2", `{"n":1,"tag":"boom"}`)
			w.settle()
			slow := projections.PartitionOf("a1", 3)
			w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Partition == slow }})
			w.skip(skipped{Key: "a1", Sequence: first}, skipped{Key: "a2", Sequence: second}, skipped{Key: boom, Sequence: first})
			w.add(6)
			w.until("the others are ahead", func() bool {
				h := w.headers(w.live())
				return slices.ContainsFunc(h, func(other projections.Header) bool { return sequence(other.Checkpoint) > sequence(h[slow].Checkpoint) })
			})
			w.kill(w.running[0])
			w.store.Disarm()
			w.options.Batch = batch
			w.start()
			w.settleAndRebuild()
		})
	}
}

func TestADamagedDocumentIsFoldedAgainWithTheSkips(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.CacheDocuments = 1
		w.start()
		w.add(6)
		bad := w.one(added, "acct/a1", `{"n":"x"}`)
		boomed := w.one(added, "acct/a1", `{"n":1,"tag":"boom"}`)
		w.one(added, "acct/a1", `{"n":5,"tag":"a1"}`)
		w.skip(skipped{Key: "a1", Sequence: bad}, skipped{Key: "a1", Sequence: boomed}, skipped{Key: boom, Sequence: boomed})
		w.add(3)
		w.settle()
		for _, key := range []string{"a1", boom} {
			ref := projections.Ref{Partition: projections.PartitionOf(key, 3), Key: key}
			w.store.EditDocument(w.live(), ref, func(fields map[string]string) { fields["sum"] = "12345" })
			w.one(added, "acct/other", `{"n":1,"tag":"other"}`) // out of the cache
			w.settleBut(key)
			w.append(w.event(added, "acct/"+key, `{"n":2,"tag":"t1"}`), w.event(added, "misc/m", fmt.Sprintf(`{"n":2,"tag":%q}`, key)))
			w.settle()
		}
		w.settleAndRebuild()
	})
}

// settleBut waits until everything but one document is right.
func (w *world) settleBut(key string) {
	w.t.Helper()
	number := w.pointer().Generation
	if err := w.eventually(func() error { return w.caughtUp(w.version, edits{edit{number, key}: true}) }); err != nil {
		w.t.Fatal(err)
	}
}

func TestADamagedDocumentIsReleasedAllTheSame(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.CacheDocuments = 1
		w.start()
		w.add(6)
		bad := w.one(added, "acct/boom", `{"n":1,"tag":"boom"}`)
		w.add(4)
		w.settle()
		ref := projections.Ref{Partition: projections.PartitionOf(boom, 3), Key: boom}
		w.store.EditDocument(w.live(), ref, func(fields map[string]string) { delete(fields, "_parked") })
		w.skip(skipped{Key: boom, Sequence: bad})
		w.settleAndRebuild()
	})
}

func TestANewVersionFoldsAgainAndSkipsOnlyWhatItCannotApply(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.one(added, "acct/a1", `{"n":10,"tag":"t"}`)
		taken := w.one(withdrawn, "acct/a1", `{"n":15}`) // version 2 counts twice as much, and can
		w.one(added, "acct/a2", `{"n":1,"tag":"t"}`)
		never := w.one(added, "acct/a2", `{"n":"x"}`) // no version can
		w.one(added, "acct/a2", `{"n":2,"tag":"t"}`)
		w.skip(skipped{Key: "a1", Sequence: taken}, skipped{Key: "a2", Sequence: never})
		w.settle()
		w.kill(r)
		w.version = 2
		w.start()
		w.settle()
		for key, want := range map[string]string{"a1": "5", "a2": "6"} {
			a, err := w.reader.Get(context.Background(), w.kind, key, query.Options{})
			if sum, _ := a.Document.Field("sum"); err != nil || sum != want || a.Parked != "" {
				t.Errorf("%s: %+v, %v", key, a, err)
			}
		}
	})
}

func TestARecordThatIsIgnoredIsSaid(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.add(2)
		bad := w.one(added, "acct/a1", `{"n":"x"}`)
		junk := w.log.StoreRaw("ctl.us.skip.accounts", nil, []byte(`{"skips":[{"key":"a1","sequence":99}]}`))
		w.settle()
		if len(seen.skipped) != 1 || seen.skipped[0].Sequence != junk || !strings.Contains(seen.skipped[0].Ignored, "sequence 99") || w.parkedCount() != 1 {
			t.Errorf("told %+v, and %d are parked at %d", seen.skipped, w.parkedCount(), bad)
		}
		if n := w.logs.count("a skip record is ignored"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		w.settleAndRebuild()
	})
}

func TestADocumentThatStopsAgainIsToldAsParkedAgain(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.add(2)
		first := w.one(added, "acct/a1", `{"n":"x"}`)
		second := w.one(added, "acct/a1", `{"n":"y"}`)
		w.settle()
		w.skip(skipped{Key: "a1", Sequence: first})
		w.settle()
		if n := len(seen.parked); n != 2 || !strings.HasPrefix(seen.parked[1].Reason, fmt.Sprintf("us.7f3a11d2@1:%d ", second)) || seen.skipped[0].Parked != 1 {
			t.Errorf("told %+v, %+v", seen.parked, seen.skipped)
		}
	})
}

// A log of a million events is not read for a document that was parked a moment ago.
func TestReleasingADocumentReadsTheLogFromItsEventOn(t *testing.T) {
	region(t, "both", func(w *world) {
		var from atomic.Uint64
		bent := &bentLog{Reader: w.log}
		bent.ranged = func(r events.Range, list []events.Record) []events.Record {
			if !r.Follow {
				from.Store(r.From)
			}
			return list
		}
		w.seenLog = bent
		w.start()
		w.add(6)
		tx := w.append(
			w.event(added, "misc/m", `{"n":1,"tag":"t2"}`), w.event(added, "misc/m", `{"n":15,"tag":"t1"}`), w.event(added, "misc/m", `{"n":3,"tag":"t1"}`),
			w.event(added, "misc/m", `{"n":15,"tag":"new"}`),
		)
		w.settle()
		w.skip(skipped{Key: "t1", Sequence: tx.First + 1})
		w.settle()
		if from.Load() != tx.First {
			t.Errorf("the document was folded from %d on, expected %d", from.Load(), tx.First)
		}
		w.skip(skipped{Key: "new", Sequence: tx.Last})
		w.settle()
		if from.Load() != 1 {
			t.Errorf("a document of which it is not known whether it was there before was folded from %d on", from.Load())
		}
	})
}
