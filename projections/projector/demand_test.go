package projector_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// demanding runs a test in a region whose partitions follow by themselves after an hour only.
func demanding(t *testing.T, test func(w *world, s *memstore.Signals)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "accounts")
		defer w.close()
		s := memstore.NewSignals()
		w.options.Signals, w.options.Partitions, w.options.EvenInterval = s, 5, time.Hour
		w.start()
		w.append(w.event(ignored, "misc/first", `{}`)) // a read model is live before anything matters
		w.until("it is live", func() bool {
			return w.pointer().Generation == 1 && !slices.ContainsFunc(w.headers(w.live()), func(h projections.Header) bool { return h.State != projections.Live })
		})
		test(w, s)
	})
}

// behind appends an event of one account and returns its position, the account's partition, and another one, which stays behind.
func (w *world) behind() (at events.Position, touched, idle int) {
	w.t.Helper()
	at = w.append(w.event(added, accountType+"/a1", `{"n":1,"tag":"t"}`)).Position
	synctest.Wait()
	touched = projections.PartitionOf("a1", 5)
	idle = (touched + 1) % 5
	if got := w.headers(w.live()); !got[touched].Checkpoint.Equal(at) || got[idle].Checkpoint.Equal(at) {
		w.t.Fatalf("partition %d is at %s and %d at %s, and the event at %s", touched, got[touched].Checkpoint, idle, got[idle].Checkpoint, at)
	}
	return at, touched, idle
}

func only(partitions ...int) (s projections.PartitionSet) {
	for _, p := range partitions {
		s.Add(p)
	}
	return s
}

// moved returns which partitions are at a position.
func (w *world) moved(at events.Position) (s projections.PartitionSet) {
	for i, h := range w.headers(w.live()) {
		if h.Checkpoint.Equal(at) {
			s.Add(i)
		}
	}
	return s
}

func TestAPartitionThatSomebodyWaitsForMovesAtOnceAndNoOther(t *testing.T) {
	demanding(t, func(w *world, s *memstore.Signals) {
		at, touched, idle := w.behind()
		began := time.Now()
		s.Demand(projections.Demand{Projection: "accounts", Partitions: only(idle), Position: at})
		synctest.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
		if got := w.moved(at); got != only(touched, idle) {
			t.Errorf("the partitions %s moved", got)
		}
		s.Demand(projections.Demand{Projection: "accounts", Partitions: projections.AllPartitions(5), Position: at})
		synctest.Wait()
		if got := w.moved(at); got != projections.AllPartitions(5) {
			t.Errorf("the partitions %s moved", got)
		}
		w.settle()
	})
}

func TestADemandForWhatIsStillToComeIsMetWhenItComes(t *testing.T) {
	demanding(t, func(w *world, s *memstore.Signals) {
		at, _, idle := w.behind()
		point, _ := at.Point("us")
		point.Sequence++
		next := events.At(point)
		s.Demand(projections.Demand{Projection: "accounts", Partitions: only(idle), Position: next})
		synctest.Wait()
		if got := w.moved(at); got.Has(idle) {
			t.Error("it moved before its time")
		}
		if got, _, _ := w.behindAgain(); !got.Equal(next) {
			t.Fatalf("the event is at %s", got)
		}
		if got := w.moved(next); !got.Has(idle) || got.Len() != 2 {
			t.Errorf("the partitions %s moved", got)
		}
		writes := w.store.Calls(memstore.OpCommit)
		w.behindAgain()
		if n := w.store.Calls(memstore.OpCommit) - writes; n != 1 {
			t.Errorf("a demand that was met costs %d commits more", n-1)
		}
	})
}

// behindAgain appends one more event of the same account.
func (w *world) behindAgain() (at events.Position, touched, idle int) {
	w.t.Helper()
	at = w.append(w.event(added, accountType+"/a1", `{"n":1,"tag":"t"}`)).Position
	synctest.Wait()
	touched = projections.PartitionOf("a1", 5)
	return at, touched, (touched + 1) % 5
}

func TestDemandsThatAreMadeUpChangeNothingAndHideNone(t *testing.T) {
	demanding(t, func(w *world, s *memstore.Signals) {
		at, touched, idle := w.behind()
		point, _ := at.Point("us")
		all := projections.AllPartitions(projections.MaxPartitions)
		for i := range uint64(1_000) {
			s.Demand(projections.Demand{Projection: "accounts", Partitions: all, Position: events.At(events.Point{Origin: "us", Lineage: point.Lineage, Term: 1, Sequence: 1_000_000 + i})})
			s.Demand(projections.Demand{Projection: "accounts", Partitions: all, Position: events.At(events.Point{Origin: "us", Lineage: "ffff", Term: 1, Sequence: i})})
			s.Demand(projections.Demand{Projection: "accounts", Partitions: all, Position: events.At(events.Point{Origin: "eu", Lineage: point.Lineage, Term: 1, Sequence: i})})
			s.Demand(projections.Demand{Projection: "accounts", Partitions: all})
			s.Demand(projections.Demand{Projection: "accounts", Position: at})
			synctest.Wait()
		}
		if got := w.moved(at); got != only(touched) {
			t.Errorf("the partitions %s moved", got)
		}
		s.Demand(projections.Demand{Projection: "accounts", Partitions: only(idle), Position: at})
		synctest.Wait()
		if got := w.moved(at); got != only(touched, idle) {
			t.Errorf("the partitions %s moved", got)
		}
		w.options.EvenInterval = time.Millisecond
		w.kill(w.running[0])
		w.start()
		w.settle()
	})
}

func TestEveryCommitOfTheLiveGenerationIsNotedAndNoOther(t *testing.T) {
	demanding(t, func(w *world, s *memstore.Signals) {
		var mu sync.Mutex
		var list []projections.Notice
		take := func() []projections.Notice {
			mu.Lock()
			defer mu.Unlock()
			defer func() { list = nil }()
			return list
		}
		defer s.Notices("accounts", func(n projections.Notice) {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, n)
		})()
		at, touched, idle := w.behind()
		point, _ := at.Point("us")
		want := projections.Notice{Projection: "accounts", Generation: 1, Sequence: point.Sequence, Moved: only(touched), Written: only(touched)}
		if got := take(); len(got) != 1 || got[0] != want {
			t.Errorf("the notices are %+v, want %+v", got, want)
		}
		s.Demand(projections.Demand{Projection: "accounts", Partitions: only(idle), Position: at})
		synctest.Wait()
		want.Moved, want.Written = only(idle), projections.PartitionSet{}
		if got := take(); len(got) != 1 || got[0] != want {
			t.Errorf("the notices are %+v, want %+v", got, want)
		}
		w.rebuild()
		for _, n := range take() {
			if n.Generation != 1 {
				t.Errorf("a generation that was being built was noted: %+v", n)
			}
		}
		at, touched, _ = w.behindAgain()
		point, _ = at.Point("us")
		want = projections.Notice{Projection: "accounts", Generation: 2, Sequence: point.Sequence, Moved: only(touched), Written: only(touched)}
		if got := take(); len(got) != 1 || got[0] != want {
			t.Errorf("the notices are %+v, want %+v", got, want)
		}
	})
}
