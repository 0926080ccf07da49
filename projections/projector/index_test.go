package projector_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// entriesWritten collects how many entries of indexes each document's writes take away and put.
type entriesWritten struct {
	mu         sync.Mutex
	gone, come map[string]int
}

func (x *entriesWritten) in(w *world) {
	x.reset()
	w.seenStore = &bentStore{Store: w.seenStore, commits: func(_ projections.Generation, list []projections.Commit) {
		x.mu.Lock()
		defer x.mu.Unlock()
		for i := range list {
			for _, write := range list[i].Writes {
				x.gone[write.Key] += len(write.Unindex)
				x.come[write.Key] += len(write.Index)
			}
		}
	}}
}

func (x *entriesWritten) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone, x.come = map[string]int{}, map[string]int{}
}

func (x *entriesWritten) of(key string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Sprintf("%d go, %d come", x.gone[key], x.come[key])
}

func TestAnIndexIsTouchedOnlyWhereAValueChanges(t *testing.T) {
	for _, cached := range []int{0, 1} { // as remembered, and as loaded
		region(t, "accounts", func(w *world) {
			var written entriesWritten
			written.in(w)
			w.options.CacheDocuments = cached
			w.start()
			w.append(w.event(added, "acct/a1", `{"n":5,"tag":"red"}`), w.event(added, "acct/a2", `{"n":7,"tag":"red"}`))
			w.settle()
			for _, step := range []struct{ typ, data, want string }{
				{added, `{"n":0,"tag":"red"}`, "1 go, 1 come"}, // odd turns, and by_sum stays
				{withdrawn, `{"n":0}`, "0 go, 0 come"},
				{withdrawn, `{"n":2}`, "1 go, 1 come"},
				{withdrawn, `{"n":99}`, "0 go, 1 come"}, // it is parked
				{added, `{"n":5,"tag":"red"}`, "0 go, 0 come"},
			} {
				w.append(w.event(added, "acct/a2", `{"n":1,"tag":"x"}`))
				w.settle()
				written.reset()
				w.append(w.event(step.typ, "acct/a1", step.data))
				w.settle()
				if got := written.of("a1"); got != step.want {
					t.Errorf("%s %s: %s, expected %s", step.typ, step.data, got, step.want)
				}
			}
			written.reset()
			w.append(w.event(closed, "acct/a2", `{}`))
			w.settle()
			if got := written.of("a2"); got != "2 go, 0 come" {
				t.Errorf("closed: %s", got)
			}
		})
	}
}

// Whatever somebody made of a document, it is in the indexes under what was written, and is put into all of them again.
func TestAnEditedDocumentIsIndexedAgain(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.CacheDocuments = 1
		w.start()
		w.add(20)
		w.settle()
		key := map[string]string{"accounts": "a1", "tags": "t1", "both": "a1"}[w.kind]
		ref := projections.Ref{Partition: projections.PartitionOf(key, 3), Key: key}
		w.store.EditDocument(w.live(), ref, func(fields map[string]string) { fields["sum"], fields["note"] = "12345", "by hand" })
		for _, index := range []string{"by_sum", "by_odd_and_note"} {
			for _, entry := range w.store.Entries(w.live(), ref.Partition, index) {
				w.store.DropEntry(w.live(), ref.Partition, index, entry)
			}
		}
		w.kill(w.running[0]) // whoever comes does not remember it
		w.start()
		for i := range 10 {
			w.append(w.event(added, fmt.Sprintf("acct/a%d", i%5), fmt.Sprintf(`{"n":1,"tag":"t%d"}`, i%3)))
		}
		w.until("the document is in the indexes again", func() bool {
			entries := w.store.Entries(w.live(), ref.Partition, "by_sum")
			return slices.ContainsFunc(entries, func(e string) bool { return e[20:] == key })
		})
	})
}

func TestAChangeLogBeginsWhereAReplayMakesTheNewGenerationLive(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(30)
		w.settle()
		w.add(5)
		w.settle()
		before := w.store.ChangeLog(w.live(), 1)
		w.rebuild()
		w.settle()
		head := w.oracle(1).head()
		for i := range 3 {
			if log := w.store.ChangeLog(w.live(), i); len(log) != 1 || log[0].Sequence != head || len(log[0].Keys) > 0 {
				t.Errorf("after the replay the change log of partition %d is %v, expected a beginning at %d", i, log, head)
			}
		}
		if len(before) < 2 {
			t.Errorf("before the replay the change log was %v", before)
		}
		w.add(5)
		w.settle()
		if log := w.store.ChangeLog(w.live(), 1); len(log) < 2 {
			t.Errorf("after the replay nothing is logged: %v", log)
		}
	})
}

// What came and went within one commit was there for whoever read in between, before the store went back.
func TestADocumentThatCameAndWentInOneCommitIsLogged(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(5)
		w.settle()
		w.append(w.event(added, "acct/new", `{"n":1}`), w.event(closed, "acct/new", `{}`), w.event(closed, "acct/never", `{}`))
		w.settle()
		logged := map[string]bool{}
		for i := range 3 {
			for _, e := range w.store.ChangeLog(w.live(), i) {
				for _, key := range e.Keys {
					logged[key] = true
				}
			}
		}
		if !logged["new"] || logged["never"] {
			t.Errorf("logged are %v, expected new and not never", logged)
		}
	})
}

// A log that somebody damaged does not hold the projector up for ever, and whoever follows it is sent back.
func TestAChangeLogThatIsDamagedIsBegunAnew(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		for i := range 3 {
			w.store.EditChanges(w.live(), i, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
				return append(list, memstore.ChangeEntry{Sequence: 1_000, Keys: []string{"by hand"}})
			})
		}
		w.add(20)
		w.until("the read model goes on", func() bool {
			return !slices.ContainsFunc(w.headers(w.live()), func(h projections.Header) bool { return projections.SequenceOf(h.Checkpoint) != w.oracle(1).head() })
		})
		for i := range 3 {
			if log := w.store.ChangeLog(w.live(), i); len(log) == 0 || log[0].Sequence <= 21 || log[len(log)-1].Sequence == 1_000 {
				t.Errorf("the change log of partition %d is %v", i, log)
			}
		}
	})
}
