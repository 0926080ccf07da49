package projector_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func TestTransactionsThatAreSplitOverBatchesAreAppliedWhole(t *testing.T) {
	for _, batch := range []int{1, 2, 3, 7, 5_000} {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			everyKind(t, func(w *world) {
				w.options.Batch, w.options.CacheDocuments = batch, 1
				w.start()
				for n := 1; n <= 12; n++ {
					list := make([]events.Event, n)
					for i := range list {
						list[i] = w.event(added, fmt.Sprintf("acct/a%d", i%3), fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, i, i%2))
					}
					w.append(list...)
					synctest.Wait()
					if err := w.caughtUpOrBehind(); err != nil {
						t.Fatal(err)
					}
				}
				w.settle()
			})
		})
	}
}

// caughtUpOrBehind returns nil when every partition is right at its own checkpoint.
func (w *world) caughtUpOrBehind() error {
	if w.pointer().Generation == 0 {
		return nil
	}
	return checkGeneration(w.t, w.store, w.live(), w.oracle(w.version), nil)
}

func TestAFragmentIsVoidWhereverItStands(t *testing.T) {
	for _, batch := range []int{1, 2, 3, 7} {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			everyKind(t, func(w *world) {
				w.options.Batch = batch
				w.start()
				for count := 2; count < 6; count++ {
					for keep := 1; keep < count; keep++ {
						w.fragment(count, keep)
						if keep%2 == 0 {
							w.log.Promote()
						}
						w.append(w.event(added, "acct/a1", `{"n":1,"tag":"t"}`), w.event(added, "acct/a2", `{"n":1,"tag":"t"}`))
					}
				}
				w.fragment(3, 1)
				w.fragment(3, 2)
				w.part(3, 2, 3) // without its beginning, as nothing of ours would write it
				w.part(2, 2, 2)
				w.part(4, 2, 3)
				w.fragment(3, 1)
				w.part(3, 3, 3)
				w.add(1)
				w.settle()
			})
		})
	}
}

func TestAnOpenTransactionAtTheHeadIsWaitedForAndNotApplied(t *testing.T) {
	everyKind(t, func(w *world) {
		w.add(3)
		w.fragment(3, 2)
		r := w.start()
		w.settle() // at the record before it
		if got := sequence(w.headers(w.live())[0].Checkpoint); got != 4 {
			t.Errorf("the checkpoint is at %d, expected 4", got)
		}
		w.kill(r)
		w.start()
		w.rebuild()
		w.log.Promote()
		w.settle()
	})
}

func TestATornTransactionIsVoid(t *testing.T) {
	everyKind(t, func(w *world) {
		list := make([]events.Event, 6)
		for i := range list {
			list[i] = w.event(added, fmt.Sprintf("acct/a%d", i), `{"n":1,"tag":"t"}`)
		}
		w.append(list...)
		if !w.log.Tear(4) {
			t.Fatal("nothing was torn")
		}
		w.add(3)
		w.start()
		w.settle()
	})
}

func TestDocumentsAreRemovedAndMadeAgain(t *testing.T) {
	for _, cache := range []int{1, 2, 3, 1_000} {
		for _, batch := range []int{1, 3, 5_000} {
			t.Run(fmt.Sprintf("cache %d batch %d", cache, batch), func(t *testing.T) {
				everyKind(t, func(w *world) {
					w.options.CacheDocuments, w.options.Batch = cache, batch
					w.start()
					for n := range 12 {
						key := fmt.Sprintf("a%d", n%4)
						w.append(
							w.event(added, "acct/"+key, fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, n, n%3)),
							w.event(closed, "acct/"+key, `{}`), w.event(cleared, "misc/m", fmt.Sprintf(`{"tag":"t%d"}`, n%3)),
							w.event(closed, "acct/never", `{}`), w.event(cleared, "misc/m", `{"tag":"never"}`),
						)
						w.append(w.event(added, "acct/"+key, fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, n, n%3)))
						if n%3 == 0 {
							synctest.Wait()
						}
					}
					w.settle()
				})
			})
		}
	}
}

// hopeless appends every kind of event that cannot be applied, between others.
func (w *world) hopeless() {
	w.add(4)
	w.append(w.event(added, "acct/a1", `{"n":"x"}`), w.event(added, "acct/a2", `{"n":1}`), w.event(withdrawn, "acct/a3", `{"n":1000}`))
	for _, subject := range []string{"evt.us.acct.a1", "evt.us.weird", "evt.us.acct.%2", "ctl.us.a..b"} {
		w.log.StoreRaw(subject, nil, []byte("not an event"))
	}
	w.log.StoreRaw("evt.us.acct.a1", events.Header{"ce-id": {"1"}, "ce-source": {"x"}, "ce-specversion": {"1.0"}, "ce-type": {added}}, []byte(`{"n":3,"tag":"t"}`))
	w.append(w.event(added, "acct/new", `{"tag":7}`), w.event(closed, "acct/a1", `{}`))
	w.add(7)
}

// What cannot be applied must have the same result in every region and every replay, whatever the batches were.
func TestEventsThatCannotBeAppliedHaveTheSameResultHoweverTheyAreRead(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			var want string
			for _, batch := range []int{5_000, 1, 2, 3, 7} {
				region(t, kind, func(w *world) {
					w.options.Batch, w.options.CacheDocuments = batch, batch
					w.hopeless()
					w.start()
					w.settle()
					var got string
					for _, h := range w.headers(w.live()) {
						got += fmt.Sprintf("%s %d %d %d %s\n", h.Digest, h.Documents, h.Parked, h.Unrouted, h.UnroutedLast)
					}
					// The content of a message without our hash is all that its time decides, and that is the same in this bubble.
					if want == "" {
						want = got
					}
					if got != want {
						t.Errorf("with batches of %d:\n%swith batches of 5000:\n%s", batch, got, want)
					}
				})
			}
		})
	}
}

func TestAParkedDocumentStaysParkedThroughRestartsAndReplays(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.CacheDocuments = 1
		r := w.start()
		w.hopeless()
		w.settle()
		w.kill(r)
		w.start()
		w.hopeless()
		w.settle()
		w.rebuild()
		if r := w.replay(); !r.Compared || !r.Equal {
			t.Errorf("the replay was compared: %t, equal: %t", r.Compared, r.Equal)
		}
		w.settle()
	})
}

func TestIdlePartitionsFollowTheOthersSoon(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Partitions = 16
		w.start()
		w.add(3)
		w.settle()
		w.append(w.event(added, "acct/a1", `{"n":1,"tag":"t"}`))
		pass(205 * time.Millisecond)
		synctest.Wait()
		if err := w.caughtUp(1, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestALogWithNothingButItsGenesisMakesALiveEmptyReadModel(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.settle()
		for _, h := range w.headers(w.live()) {
			if h.Documents != 0 || h.State != projections.Live || h.Digest != (projections.Digest{}) {
				t.Errorf("partition %d is %+v", h.Partition, h)
			}
		}
	})
}
