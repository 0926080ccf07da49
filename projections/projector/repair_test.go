package projector_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

// requestRepair asks for a repair of the live generation.
func (w *world) requestRepair(documents []projections.RepairDocument, recount ...int) {
	w.t.Helper()
	w.repairs = true
	job := projections.Repair{Projection: w.kind, Generation: w.live().Number, Reason: "test", Documents: documents, Recount: recount}
	if _, err := projections.RequestRepair(context.Background(), w.kv, job, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// repaired waits until the repair is in a state, and returns it.
func (w *world) repaired(state projections.RepairState) (job projections.Repair) {
	w.t.Helper()
	w.until("the repair is "+string(state), func() bool {
		w.read(projections.RepairKey(w.kind), &job)
		return job.State == state
	})
	return job
}

// everything returns all documents of the live generation, as what a repair is to look at.
func (w *world) everything() (list []projections.RepairDocument) {
	w.t.Helper()
	gen, def := w.live(), w.definition()
	for i := range gen.Partitions {
		_, docs, err := w.store.Page(context.Background(), gen, def, i, "", math.MaxInt)
		if err != nil {
			w.t.Fatal(err)
		}
		for j := range docs {
			list = append(list, projections.RepairDocument{Partition: i, Key: docs[j].Key})
		}
	}
	return list
}

// fieldsOf returns what is stored of a document.
func (w *world) fieldsOf(d projections.RepairDocument) (copied map[string]string) {
	w.store.EditDocument(w.live(), projections.Ref{Partition: d.Partition, Key: d.Key}, func(fields map[string]string) { copied = maps.Clone(fields) })
	return copied
}

func (w *world) definition() *projections.Definition {
	w.t.Helper()
	p, err := w.newProjection(w.kind, w.version)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Definition()
}

// damages are ways to change what is stored behind the projector's back. Each returns which documents to repair, and which partitions to count again.
func damages() map[string]func(w *world, all []projections.RepairDocument) ([]projections.RepairDocument, []int) {
	ref := func(d projections.RepairDocument) projections.Ref {
		return projections.Ref{Partition: d.Partition, Key: d.Key}
	}
	edit := func(change func(w *world, fields map[string]string)) func(*world, []projections.RepairDocument) ([]projections.RepairDocument, []int) {
		return func(w *world, all []projections.RepairDocument) ([]projections.RepairDocument, []int) {
			w.store.EditDocument(w.live(), ref(all[0]), func(fields map[string]string) { change(w, fields) })
			return all[:1], nil
		}
	}
	// forge changes a field so that the document's digest is that of its content.
	forge := func(w *world, fields map[string]string) {
		def := w.definition()
		fields[def.Fields[0].Name] += "7"
	}
	return map[string]func(*world, []projections.RepairDocument) ([]projections.RepairDocument, []int){
		"a field edited":     edit(forge),
		"a field removed":    edit(func(w *world, fields map[string]string) { delete(fields, w.definition().Fields[0].Name) }),
		"a field more":       edit(func(_ *world, fields map[string]string) { fields["more"] = "1" }),
		"another version":    edit(func(_ *world, fields map[string]string) { fields["_at"] = "us.7f3a11d2@1:1" }),
		"a document deleted": edit(func(_ *world, fields map[string]string) { clear(fields) }),
		"a phantom": func(w *world, all []projections.RepairDocument) ([]projections.RepairDocument, []int) {
			d := projections.RepairDocument{Partition: projections.PartitionOf("phantom", w.live().Partitions), Key: "phantom"}
			w.store.PutDocument(w.live(), ref(d), w.fieldsOf(all[0]))
			return []projections.RepairDocument{d}, nil
		},
		"a document in the wrong partition": func(w *world, all []projections.RepairDocument) ([]projections.RepairDocument, []int) {
			d := projections.RepairDocument{Partition: (all[0].Partition + 1) % w.live().Partitions, Key: all[0].Key}
			w.store.PutDocument(w.live(), ref(d), w.fieldsOf(all[0]))
			return []projections.RepairDocument{d}, nil
		},
		"sums that are wrong": func(w *world, all []projections.RepairDocument) ([]projections.RepairDocument, []int) {
			w.store.EditHeader(w.live(), all[0].Partition, func(h *projections.Header) { h.Documents += 3; h.Digest = h.Digest.Add(h.Digest) })
			return nil, []int{all[0].Partition}
		},
	}
}

func TestARepairWritesWhatTheLogSaysAndNothingElse(t *testing.T) {
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			everyKind(t, func(w *world) {
				r := w.start()
				w.add(20)
				w.settle()
				all := w.everything()
				documents, recount := damage(w, all)
				if recount != nil { // what the engine remembers is right, and would be written with the next commit
					w.kill(r)
					w.start()
				}
				w.requestRepair(documents, recount...)
				job := w.repaired(projections.RepairDone)
				if job.Repaired != len(documents) || job.Recounted != len(recount) {
					t.Errorf("the repair came to %+v", job)
				}
				if err := w.caughtUp(w.version, nil); err != nil {
					t.Errorf("after the repair: %v", err)
				}
				w.add(3)
				w.settle()
				writes := 0
				w.store.Observe(func(c memstore.Call) {
					if c.Op == memstore.OpCommit {
						writes++
					}
				})
				w.requestRepair(documents, recount...)
				if again := w.repaired(projections.RepairDone); again.Repaired != 0 || again.Right != len(documents) || again.Recounted != 0 || writes != 0 {
					t.Errorf("a second repair came to %+v, with %d commits", again, writes)
				}
			})
		})
	}
}

// A repair of everything under writes changes nothing that is right.
func TestARepairOfWhatIsRightChangesNothingUnderWrites(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(30)
		w.settle()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 40 {
				w.add(1)
				pass(time.Millisecond)
			}
		}()
		for range 5 {
			w.requestRepair(w.everything())
			if job := w.repaired(projections.RepairDone); job.Repaired != 0 {
				t.Errorf("it repaired %+v", job)
			}
		}
		<-done
		w.settle()
	})
}

// Who watches is told of a repaired document, though no record of the log changed it.
func TestAWatchIsToldOfARepairedDocument(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		all := w.everything()
		w.store.EditDocument(w.live(), projections.Ref{Partition: all[0].Partition, Key: all[0].Key}, func(fields map[string]string) {
			fields[w.definition().Fields[0].Name] += "7"
		})
		page, err := w.reader.List(context.Background(), w.kind, query.ListOptions{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		told := make(chan string, 100)
		go func() {
			defer close(told)
			for u, err := range w.reader.Watch(ctx, w.kind, query.WatchOptions{From: page.Watch}) {
				if err != nil {
					return
				}
				for i := range u.Changes {
					told <- u.Changes[i].Key
				}
			}
		}()
		w.requestRepair(all[:1])
		w.repaired(projections.RepairDone)
		w.append(w.event(ignored, "misc/1", `{}`))
		for {
			select {
			case key := <-told:
				if key == all[0].Key {
					return
				}
			case <-time.After(time.Minute):
				t.Fatal("it was not told")
			}
		}
	})
}

// A repair goes on after its projector was killed at any call.
func TestARepairGoesOnAfterAKillAtAnyCall(t *testing.T) {
	for n := range 12 {
		everyKind(t, func(w *world) {
			r := w.start()
			w.add(20)
			w.settle()
			all := w.everything()
			for _, d := range all {
				w.store.EditDocument(w.live(), projections.Ref{Partition: d.Partition, Key: d.Key}, func(fields map[string]string) { fields["more"] = "1" })
			}
			reached, calls := make(chan struct{}), 0
			w.store.Observe(func(c memstore.Call) {
				if c.Op == memstore.OpInspect || c.Op == memstore.OpApply || c.Op == memstore.OpCommit {
					if calls++; calls == n+1 {
						close(reached)
					}
				}
			})
			w.requestRepair(all)
			select {
			case <-reached:
			case <-time.After(5 * time.Second):
			}
			w.store.Observe(nil)
			w.kill(r)
			w.start()
			w.until("everything is right", func() bool { return w.caughtUp(w.version, nil) == nil })
			w.add(5)
			w.repaired(projections.RepairDone)
			w.settle()
		})
	}
}

// What is asked of another generation, or of what cannot be, is refused.
func TestARepairThatCannotBeIsRefused(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(5)
		w.settle()
		many := make([]projections.RepairDocument, projections.MaxRepair+1)
		for i := range many {
			many[i].Key = fmt.Sprint("k", i)
		}
		for _, c := range []struct {
			code events.Code
			job  projections.Repair
		}{
			{events.ErrConflict, projections.Repair{Projection: w.kind, Generation: 2}},
			{projections.ErrUnknownProjection, projections.Repair{Projection: "nothing", Generation: 1}},
			{events.ErrInvalidBatch, projections.Repair{Projection: w.kind, Generation: 1, Documents: []projections.RepairDocument{{Partition: 3, Key: "a"}}}},
			{events.ErrInvalidBatch, projections.Repair{Projection: w.kind, Generation: 1, Documents: []projections.RepairDocument{{Partition: 0}}}},
			{events.ErrTooLarge, projections.Repair{Projection: w.kind, Generation: 1, Documents: many}},
		} {
			if _, err := projections.RequestRepair(context.Background(), w.kv, c.job, time.Now()); !errors.Is(err, c.code) {
				t.Errorf("%s: %v", c.code, err)
			}
		}
	})
}
