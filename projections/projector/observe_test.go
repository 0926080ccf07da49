package projector_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// witness keeps what an observer is told.
type witness struct {
	mu        sync.Mutex
	states    []projections.ProjectorState
	records   map[projector.Role]int
	marks     map[projector.Role]int
	written   int
	stood     map[projector.Role]projector.Standing
	parked    []projector.Parked
	skipped   []projector.Skipped
	refolded  int
	resynced  int
	fenced    int
	replays   []projections.Replay
	snapshots []projections.Snapshot
	backwards bool // a commit ended before it began
}

func newWitness() *witness {
	return &witness{records: map[projector.Role]int{}, marks: map[projector.Role]int{}, stood: map[projector.Role]projector.Standing{}}
}

// tell runs f alone.
func (w *witness) tell(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *witness) Changed(s projections.Status) {
	w.tell(func() { w.states = append(w.states, s.State) })
}

func (w *witness) Committed(c *projector.Committed) {
	w.tell(func() {
		w.records[c.Role] += len(c.Records)
		w.marks[c.Role] += c.Marks
		w.written += c.Written
		w.stood[c.Role] = c.Standing
		w.backwards = w.backwards || c.Ended.Before(c.Began)
	})
}
func (w *witness) Stood(s projector.Standing)                { w.tell(func() { w.stood[s.Role] = s }) }
func (w *witness) Parked(p projector.Parked)                 { w.tell(func() { w.parked = append(w.parked, p) }) }
func (w *witness) Skipped(s projector.Skipped)               { w.tell(func() { w.skipped = append(w.skipped, s) }) }
func (w *witness) Refolded(_ string, n int, _ time.Duration) { w.tell(func() { w.refolded += n }) }
func (w *witness) Resynced(string)                           { w.tell(func() { w.resynced++ }) }
func (w *witness) Fenced(string)                             { w.tell(func() { w.fenced++ }) }
func (w *witness) Snapshotted(_ string, s projections.Snapshot, err error) {
	w.tell(func() {
		if err == nil {
			w.snapshots = append(w.snapshots, s)
		}
	})
}

func (w *witness) Replayed(r projections.Replay) { w.tell(func() { w.replays = append(w.replays, r) }) }

// live returns where the live generation stood last.
func (w *witness) live() (s projector.Standing) {
	w.tell(func() { s = w.stood[projector.Following] })
	return s
}

// watched runs a test with an observer.
func watched(t *testing.T, kind string, test func(w *world, seen *witness)) {
	t.Helper()
	region(t, kind, func(w *world) {
		seen := newWitness()
		w.options.Observer = seen
		test(w, seen)
	})
}

func TestAnObserverIsToldOfEveryCommitAndWhereTheReadModelStands(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.add(7)
		w.settle()
		pass(3 * time.Second)
		s := seen.live()
		if s.Sequence != 8 || s.Head != 8 || s.Asked.IsZero() || s.Documents != 5 || s.Origin != "us" || s.Projection != "accounts" ||
			s.Generation != 1 || s.Next != time.Second || s.Applied.IsZero() {
			t.Errorf("it stands at %+v", s)
		}
		seen.tell(func() {
			if seen.records[projector.Following] != 8 || seen.written < 5 || seen.written > 7 || seen.backwards {
				t.Errorf("told of %v records and %d writes", seen.records, seen.written)
			}
			if fmt.Sprint(seen.states) != "[following]" {
				t.Errorf("told of the states %v", seen.states)
			}
		})
	})
}

func TestAnObserverIsToldOfMarks(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		first := w.start()
		w.add(3)
		w.settle()
		if s := seen.live(); s.Mark != 0 || !s.Marked.IsZero() {
			t.Errorf("before the first mark it stands at %+v", s)
		}
		m := marks.New(w.log, marks.Options{})
		for range 2 {
			if _, err := m.Now(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		w.add(2)
		w.settle()
		passed := seen.live()
		if passed.Mark != 2 || passed.Marked.IsZero() {
			t.Errorf("it stands at %+v", passed)
		}
		seen.tell(func() {
			if seen.marks[projector.Following] != 2 {
				t.Errorf("told of %v marks", seen.marks)
			}
		})
		w.kill(first)
		w.start()
		w.add(1)
		w.settle()
		if s := seen.live(); s.Mark != 2 || !s.Marked.Equal(passed.Marked) {
			t.Errorf("after a restart it stands at %+v, and did at %+v", s, passed)
		}
	})
}

func TestAHeadThatIsNotKnownIsToldAsUnknown(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.add(3)
		w.settle()
		pass(2 * time.Second)
		w.log.Unreachable(-1)
		pass(2 * time.Second)
		if s := seen.live(); !s.Asked.IsZero() || s.Head != 0 || s.Sequence != 4 {
			t.Errorf("while the log does not answer it stands at %+v", s)
		}
		w.log.Unreachable(0)
		pass(10 * time.Second)
		if s := seen.live(); s.Asked.IsZero() || s.Head != 4 {
			t.Errorf("afterwards it stands at %+v", s)
		}
	})
}

func TestAnObserverIsToldOfAReplayWithItsOwnRole(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.add(7)
		w.settle()
		w.rebuild()
		pass(2 * time.Second)
		seen.tell(func() {
			if seen.records[projector.Replaying] != 8 || seen.records[projector.Following] != 8 {
				t.Errorf("told of %v records", seen.records)
			}
			if last := seen.replays[len(seen.replays)-1]; last.State != projections.ReplayDone || !last.Equal {
				t.Errorf("the last told of the replay is %+v", last)
			}
		})
		if s := seen.live(); s.Generation != 2 || s.Sequence != 8 {
			t.Errorf("the live generation stands at %+v", s)
		}
	})
}

func TestAnObserverIsToldOfResyncsRefoldsAndRefusals(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.options.CacheDocuments = 1
		w.start()
		w.add(5)
		w.settle()
		ref := projections.Ref{Partition: projections.PartitionOf("a0", 3), Key: "a0"}
		if !w.store.EditDocument(w.live(), ref, func(f map[string]string) { f["sum"] = "9" }) {
			t.Fatal("there is nothing to edit")
		}
		w.add(1)
		w.settle()
		w.store.Flush()
		pass(10 * time.Second)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Nth: 1, Err: projections.ErrFenced})
		w.add(1)
		w.settle()
		seen.tell(func() {
			if seen.refolded != 1 || seen.resynced < 2 || seen.fenced != 1 {
				t.Errorf("told of %d refolds, %d resyncs and %d refusals", seen.refolded, seen.resynced, seen.fenced)
			}
		})
	})
}

func TestAFoldThatPanicsParksItsDocumentAndNothingElse(t *testing.T) {
	reasons := map[string]bool{}
	for _, batch := range []int{1, 3, 5_000} {
		t.Run(fmt.Sprint("batch ", batch), func(t *testing.T) {
			watched(t, "both", func(w *world, seen *witness) {
				w.options.Batch = batch
				w.start()
				w.add(5)
				w.append(w.event(added, accountType+"/a1", `{"n":1,"tag":"boom"}`)) // parks a1 and boom
				w.append(w.event(added, accountType+"/a2", `{"n":1,"tag":"boom"}`)) // parks a2
				w.append(w.event(added, accountType+"/a3", `{"n":1,"tag":"no key"}`))
				w.add(5)
				w.settle()
				w.rebuild()
				if r := w.replay(); !r.Compared || !r.Equal {
					t.Errorf("the replay is %+v", r)
				}
				w.settle()
				if n := w.logs.count("state="); n != 2 { // the second is the replayed generation
					t.Errorf("the state changed %d times", n)
				}
				// Two generations, two texts: index 1 and index 0 out of range; and the key.
				if n := w.logs.count("panicked"); n != 2*3 {
					w.logs.dump(t)
					t.Errorf("stacks were logged %d times", n)
				}
				seen.tell(func() {
					if len(seen.parked) != 2*3 {
						t.Errorf("told of %d parked documents: %+v", len(seen.parked), seen.parked)
					}
					for _, p := range seen.parked {
						reasons[p.Key+" "+p.Reason] = true
					}
				})
				if s := seen.live(); s.Parked != 3 || s.Unrouted != 1 {
					t.Errorf("it stands at %+v", s)
				}
			})
		})
	}
	if len(reasons) != 3 {
		t.Errorf("three documents are parked in every run, for the reasons %v", reasons)
	}
	for reason := range reasons {
		if !strings.Contains(reason, " panic: runtime error: index out of range") {
			t.Errorf("parked: %s", reason)
		}
	}
}

func TestParkedDocumentsAreToldOnceAndOnlyWhenThatIsCommitted(t *testing.T) {
	watched(t, "accounts", func(w *world, seen *witness) {
		w.start()
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Nth: 1})
		w.append(w.event(added, accountType+"/a1", `{"n":"no number"}`))
		w.settle()
		w.append(w.event(added, accountType+"/a1", `{"n":1}`))
		w.settle()
		seen.tell(func() {
			if len(seen.parked) != 1 || seen.parked[0].Key != "a1" || !strings.HasPrefix(seen.parked[0].Reason, "us.7f3a11d2@1:2 ") {
				t.Errorf("told of %+v", seen.parked)
			}
		})
		if n := w.logs.count("documents were parked"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
