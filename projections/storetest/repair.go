package storetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func repairTests() []subtest {
	return []subtest{
		{"a commit that does not move the checkpoint writes", testRepair},
		{"a commit that does not move the checkpoint is refused as any other", testRepairRefused},
		{"what is put right at a checkpoint is a change behind it", testRepairChanges},
		{"what is put right at a checkpoint comes in whole commits", testRepairLimit},
		{"what is put right while a partition is not live is not logged", testRepairBuilding},
		{"what is put right after the change log was lost is not taken for all that changed", testRepairLost},
		{"a reader of changes misses nothing that is put right", testRepairFollowed},
	}
}

func testRepair(t *testing.T, open func(t *testing.T) Subject) {
	for _, state := range []projections.PartitionState{projections.Live, projections.Building, projections.Retired} {
		b := newBench(t, open, 2)
		b.indexed(byCount())
		b.create(1)
		docs := []projections.Document{document("a", 1, 2), document("b", 2, 2), document("c", 3, 2)}
		b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
		b.must(b.Store.SetState(b.ctx, b.g, owner, state))
		b.Tamper.SetField(t, b.g, projections.Ref{Key: "a"}, "count", "9000")
		b.Tamper.DropField(t, b.g, projections.Ref{Key: "b"}, "name")
		b.Tamper.DropEntry(t, b.g, 0, "by_count", b.entries(&docs[1])[0].Value+"b")
		b.Tamper.PutDocument(t, b.g, projections.Ref{Key: "stray"}, map[string]string{"x": "y"})
		b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "c"})
		repair := b.commit(0, 2, 2, b.newDocuments(docs...)...)
		repair.Writes = append(repair.Writes, projections.Write{Document: projections.Document{Key: "stray"}, Remove: true})
		repair.Next.State, repair.Next.Documents, repair.Next.Digest = state, 3, docs[0].Digest
		for range 2 {
			b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{repair})[0])
			b.wantHeader(repair.Next)
			b.wantStored(0, docs...)
			b.wantIndexed(0, "by_count", docs...)
			if d := b.load(0, "stray")[0]; d != nil {
				t.Fatalf("the stray is still there: %v", d)
			}
		}
	}
}

func testRepairRefused(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(2)
	for _, seq := range []uint64{1, 3} {
		b.wantCode(b.apply(0, seq, seq, writes(document("a", 1, seq))...), projections.ErrMoved)
	}
	c := b.commit(0, 2, 2, writes(document("a", 1, 2))...)
	c.Next.Owner++
	b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], projections.ErrFenced)
	b.wantHeader(header(0, 2, 0))
	b.wantStored(0)
	b.wantChanges(0, 2)
}

// wantAfter checks what changed after a sequence.
func (b *bench) wantAfter(after uint64, want ...projections.Change) {
	b.t.Helper()
	_, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, math.MaxInt32)
	b.must(err)
	if floor > after {
		b.t.Fatalf("the change log begins at %d, want at %d or before", floor, after)
	}
	sameChanges(b.t, list, want)
}

func testRepairChanges(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	gone := projections.Write{Document: projections.Document{Key: "a"}, Remove: true}
	b.must(b.apply(0, 1, 5, writes(document("a", 1, 5), document("b", 1, 5))...))
	b.must(b.apply(0, 5, 5, append(writes(document("c", 1, 5)), gone)...))
	b.must(b.apply(0, 5, 5, writes(document("d", 1, 5))...))
	b.must(b.apply(0, 5, 5)) // nothing was put right
	b.wantAfter(5)           // it is not the time
	b.wantAfter(1, changed(5, "a", "b")...)
	b.must(b.apply(0, 5, 6, writes(document("e", 1, 6))...)) // right behind
	b.wantAfter(5, changed(6, "a", "c", "d", "e")...)
	b.wantAfter(1, append(changed(5, "a", "b"), changed(6, "a", "c", "d", "e")...)...)
	b.wantAfter(6)
	b.must(b.apply(0, 6, 6, writes(document("b", 2, 5))...))
	b.must(b.apply(0, 6, 9, writes(document("e", 1, 9))...)) // further on
	b.wantAfter(6, append(changed(7, "b"), changed(9, "e")...)...)
	b.wantAfter(9)
	b.must(b.apply(0, 9, 9, writes(document("b", 3, 5))...))
	b.must(b.apply(0, 9, 10)) // nothing changed but the checkpoint
	b.wantAfter(9, changed(10, "b")...)
	b.wantAfter(10)
	b.wantChanges(0, 1, append(append(append(changed(5, "a", "b"), changed(6, "a", "c", "d", "e")...), changed(7, "b")...), append(changed(9, "e"), changed(10, "b")...)...)...)

	last := b.header(0)
	last.Checkpoint = position(math.MaxUint64) // there is nothing behind it
	b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Expect: position(10), Next: last}})[0])
	b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Expect: last.Checkpoint, Next: last, Writes: writes(document("b", 4, 5))}})[0])
	b.wantAfter(10, changed(math.MaxUint64, "b")...)

	two := newBench(t, open, 1) // of two origins
	at := func(us, eu uint64) events.Position {
		return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: us}, events.Point{Origin: "eu", Lineage: "09c1", Term: 3, Sequence: eu})
	}
	h := header(0, 1, 0)
	h.Checkpoint = at(5, 6)
	two.must(two.Store.Create(two.ctx, two.g, h))
	two.must(two.Store.Apply(two.ctx, two.g, two.def, []projections.Commit{{Expect: at(5, 6), Next: h, Writes: writes(document("a", 1, 5))}})[0])
	two.wantAfter(11)
	next := h
	next.Checkpoint = at(5, 7)
	two.must(two.Store.Apply(two.ctx, two.g, two.def, []projections.Commit{{Expect: at(5, 6), Next: next}})[0])
	two.wantAfter(11, changed(12, "a")...)
}

func testRepairLimit(t *testing.T, open func(t *testing.T) Subject) {
	const many = 10*projections.ChangeKeys + 1
	b := newBench(t, open, 1)
	b.create(1)
	var docs []projections.Document
	var keys []string
	for i := range many {
		docs = append(docs, document(fmt.Sprintf("k%04d", i), i, 1))
		keys = append(keys, docs[i].Key)
	}
	b.must(b.apply(0, 1, 1, writes(docs...)...))
	b.must(b.apply(0, 1, 4, writes(document("other", 1, 4))...))
	for _, limit := range []int{1, projections.ChangeKeys, many} {
		_, list, _, err := b.Store.Changes(b.ctx, b.g, 0, 1, limit)
		b.must(err)
		sameChanges(t, list, changed(2, keys...))
	}
	b.wantAfter(1, append(changed(2, keys...), changed(4, "other")...)...)
	b.wantAfter(2, changed(4, "other")...)
}

func testRepairBuilding(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.build(0, 3)
	c := b.commit(0, 3, 3, writes(document("a", 1, 3))...)
	c.Next.State = projections.Building
	b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0])
	b.must(b.apply(0, 3, 3, writes(document("a", 2, 3))...)) // it becomes live with it
	b.wantChanges(0, 3)
	b.must(b.apply(0, 3, 5))
	b.wantChanges(0, 3)
}

func testRepairLost(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.commits(1, 10)
	b.Tamper.TrimChanges(t, b.g, 0, 0)
	b.must(b.apply(0, 10, 10, writes(document("a", 1, 10))...))
	b.wantChanges(0, 10)
	b.must(b.apply(0, 10, 12))
	_, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, 9, 10)
	b.must(err)
	if floor < 10 || floor > 11 || list != nil {
		t.Errorf("after the log was lost at 10 it has %v after 9 and the floor %d, want none and 10 or 11", list, floor)
	}
	b.wantAfter(floor, changed(11, "a")[floor-10:]...)
}

// testRepairFollowed: a reader that copies what it is told of has what the partition has, as soon as that has moved on.
func testRepairFollowed(t *testing.T, open func(t *testing.T) Subject) {
	for seed := range uint64(5) {
		b := newBench(t, open, 1)
		b.create(1)
		random := rand.New(rand.NewPCG(seed, 5)) //nolint:gosec // any course of events will do
		now, after := uint64(1), uint64(1)
		is, copied := map[string]string{}, map[string]string{}
		read := func() {
			for {
				h, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, 1+random.IntN(4))
				b.must(err)
				if floor != 1 || projections.SequenceOf(h.Checkpoint) != now {
					t.Fatalf("at %d the header is at %s and the floor %d", now, h.Checkpoint, floor)
				}
				for _, c := range list {
					copied[c.Key] = is[c.Key]
					if after = c.Sequence; after > now {
						t.Fatalf("at %d there is a change of %d", now, after)
					}
				}
				if len(list) == 0 {
					after = now
					return
				}
			}
		}
		for step := range 150 {
			next := now
			if random.IntN(3) == 0 {
				next += uint64(1 + random.IntN(3)) //nolint:gosec // small
			}
			var ws []projections.Write
			for range random.IntN(3) {
				key := fmt.Sprint("k", random.IntN(10))
				if slices.ContainsFunc(ws, func(w projections.Write) bool { return w.Key == key }) {
					continue
				}
				ws = append(ws, projections.Write{Document: document(key, step, next)})
				is[key] = fmt.Sprint(step)
			}
			b.must(b.apply(0, now, next, ws...))
			if now = next; random.IntN(3) == 0 {
				read()
			}
		}
		b.must(b.apply(0, now, now+1))
		now++
		read()
		if fmt.Sprint(copied) != fmt.Sprint(is) {
			t.Fatalf("the reader has\n%v, want\n%v", copied, is)
		}
	}
}
