package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func changeTests() []subtest {
	return []subtest{
		{"changes name the keys of each commit under its sequence", testChanges},
		{"a commit without writes is no change", testChangesOfNothing},
		{"a partition that is not live logs nothing", testChangesBuilding},
		{"a change log begins where its partition becomes live by a commit", testChangesLiveByCommit},
		{"a change log begins where its partition is made live", testChangesMadeLive},
		{"a change log begins with a partition that is created live", testChangesCreatedLive},
		{"a partition that becomes live again begins its change log anew", testChangesLiveAgain},
		{"a refused commit is no change", testChangesRefused},
		{"changes come in whole commits", testChangesLimit},
		{"every key comes back from a change log", testChangesRoundTrip},
		{"sequences of a change log are 64-bit numbers", testChangesSequences},
	}
}

// changed are the changes of one commit.
func changed(seq uint64, keys ...string) (list []projections.Change) {
	for _, k := range keys {
		list = append(list, projections.Change{Sequence: seq, Key: k})
	}
	return list
}

// wantChanges checks a whole change log: the floor, and what came after it. The keys of one commit may come in any order.
func (b *bench) wantChanges(partition int, floor uint64, want ...projections.Change) {
	b.t.Helper()
	_, list, got, err := b.Store.Changes(b.ctx, b.g, partition, floor, math.MaxInt32)
	b.must(err)
	if got != floor {
		b.t.Fatalf("the change log begins at %d, want %d", got, floor)
	}
	sameChanges(b.t, list, want)
}

func sameChanges(t testing.TB, got, want []projections.Change) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	byChange := func(x, y projections.Change) int {
		if x.Sequence != y.Sequence {
			return 0 // commits stay where they are
		}
		return strings.Compare(x.Key, y.Key)
	}
	slices.SortStableFunc(got, byChange)
	slices.SortStableFunc(want, byChange)
	if !slices.Equal(got, want) {
		t.Fatalf("the changes are\n%.2000v, want\n%.2000v", got, want)
	}
}

func testChanges(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	b.wantChanges(0, 1)
	b.must(b.apply(0, 1, 5, writes(document("a", 1, 2), document("b", 1, 5))...))
	gone := projections.Write{Document: projections.Document{Key: "a"}, Remove: true}
	b.must(b.apply(0, 5, 9, projections.Write{Document: document("b", 2, 7)}, gone))
	b.wantChanges(0, 1, append(changed(5, "a", "b"), changed(9, "a", "b")...)...)
	b.wantChanges(1, 1)
	for after, want := range map[uint64][]projections.Change{
		4: append(changed(5, "a", "b"), changed(9, "a", "b")...), 5: changed(9, "a", "b"), 8: changed(9, "a", "b"), 9: nil, 10: nil, math.MaxUint64: nil,
	} {
		h, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, 100)
		b.must(err)
		sameHeader(t, h, header(0, 9, 2))
		if floor != 1 {
			t.Errorf("after %d the floor is %d, want 1", after, floor)
		}
		sameChanges(t, list, want)
	}
}

func testChangesOfNothing(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 5, writes(document("a", 1, 2))...))
	b.must(b.apply(0, 5, 8))
	b.must(b.apply(0, 8, 9))
	b.must(b.apply(0, 9, 10, projections.Write{Document: document("a", 1, 10)}))
	b.wantChanges(0, 1, append(changed(5, "a"), changed(10, "a")...)...)
}

// testChangesBuilding: nothing is logged before, and the floor says that nothing is known.
func testChangesBuilding(t *testing.T, open func(t *testing.T) Subject) {
	for _, state := range []projections.PartitionState{projections.Building, projections.Retired} {
		b := newBench(t, open, 1)
		h := header(0, 1, 0)
		h.State = state
		b.must(b.Store.Create(b.ctx, b.g, h))
		for _, seq := range [][2]uint64{{1, 5}, {5, 8}} {
			c := b.commit(0, seq[0], seq[1], writes(document("a", 1, seq[1]))...)
			c.Next.State = state
			b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0])
		}
		for _, after := range []uint64{0, 5, 8} {
			h, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, 10)
			b.must(err)
			if h.State != state || len(list) != 0 || floor != 8 {
				t.Errorf("a partition that is %s has the changes %v after %d and the floor %d, want none and 8", h.State, list, after, floor)
			}
		}
	}
}

func (b *bench) build(partition int, seq uint64) {
	b.t.Helper()
	h := header(partition, seq, 0)
	h.State = projections.Building
	b.must(b.Store.Create(b.ctx, b.g, h))
}

func testChangesLiveByCommit(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.build(0, 1)
	b.must(b.apply(0, 1, 5, writes(document("a", 1, 2))...))
	b.wantChanges(0, 5)
	b.must(b.apply(0, 5, 6, projections.Write{Document: document("a", 2, 6)}))
	b.wantChanges(0, 5, changed(6, "a")...)

	b.build(1, 3) // it has reached its target already
	b.must(b.apply(1, 3, 3))
	b.wantChanges(1, 3)
	b.must(b.apply(1, 3, 4, writes(document("b", 2, 4))...))
	b.wantChanges(1, 3, changed(4, "b")...)
}

func testChangesMadeLive(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 4)
	b.build(0, 7)
	b.must(b.Store.Create(b.ctx, b.g, header(1, 5, 0)))
	b.must(b.apply(1, 5, 9, writes(document("a", 1, 9))...))
	b.build(3, 0)
	b.wantCode(b.Store.SetState(b.ctx, b.g, owner+1, projections.Live), projections.ErrFenced)
	if h := b.header(0); h.State != projections.Building {
		t.Fatalf("the partition is %s, made live by another owner", h.State)
	}
	for range 2 { // the second time changes nothing
		b.must(b.Store.SetState(b.ctx, b.g, owner, projections.Live))
		b.wantHeader(header(0, 7, 0))
		b.wantHeader(header(1, 9, 1))
		b.wantHeader(projections.Header{Partition: 2})
		b.wantChanges(0, 7)
		b.wantChanges(1, 5, changed(9, "a")...) // it was live before
		b.wantChanges(3, 0)
	}
	b.must(b.apply(0, 7, 8, writes(document("b", 1, 8))...))
	b.wantChanges(0, 7, changed(8, "b")...)
	b.must(b.apply(3, 0, 1, writes(document("c", 1, 1))...))
	b.wantChanges(3, 0, changed(1, "c")...)
}

func testChangesCreatedLive(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 5, 0)))
	b.must(b.Store.Create(b.ctx, b.g, header(1, 0, 0)))
	b.must(b.apply(0, 5, 6, writes(document("a", 1, 6))...))
	b.must(b.apply(1, 0, 6, writes(document("a", 1, 6))...))
	b.wantChanges(0, 5, changed(6, "a")...)
	b.wantChanges(1, 0, changed(6, "a")...)
}

// testChangesLiveAgain: whatever a partition did while it was retired is not in its log, so what is from before is of no use.
func testChangesLiveAgain(t *testing.T, open func(t *testing.T) Subject) {
	for name, live := range map[string]func(b *bench){
		"by set state": func(b *bench) { b.must(b.Store.SetState(b.ctx, b.g, owner, projections.Live)) },
		"by a commit":  func(b *bench) { b.must(b.apply(0, 3, 3)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, open, 1)
			b.create(1)
			b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
			b.must(b.Store.SetState(b.ctx, b.g, owner, projections.Retired))
			c := b.commit(0, 2, 3, projections.Write{Document: document("a", 2, 3)})
			c.Next.State = projections.Retired
			b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0])
			live(b)
			b.wantChanges(0, 3)
		})
	}
}

func testChangesRefused(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "zz"})
	b.wantCode(b.apply(0, 1, 2, writes(document("a", 1, 2), document("zz", 1, 2))...), projections.ErrWrongType)
	b.wantCode(b.apply(0, 2, 3, writes(document("a", 1, 3))...), projections.ErrMoved)
	c := b.commit(0, 1, 2, writes(document("a", 1, 2))...)
	c.Next.Owner++
	b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], projections.ErrFenced)
	b.wantChanges(0, 1)
	b.must(b.apply(0, 1, 5, writes(document("b", 1, 5))...)) // nor does it show when the partition has moved on
	b.wantChanges(0, 1, changed(5, "b")...)

	b.Tamper.LoseHeader(t, b.g, 0)
	b.build(0, 1)
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "zz"})
	b.wantCode(b.apply(0, 1, 2, writes(document("zz", 1, 2), document("a", 1, 2))...), projections.ErrWrongType)
	if h := b.header(0); h.State != projections.Building {
		t.Fatalf("a refused commit made the partition %s", h.State)
	}
}

func testChangesLimit(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	var want []projections.Change
	sizes := []int{1, 2, projections.ChangeKeys, projections.ChangeKeys + 1, 3, 20 * projections.ChangeKeys, 1, 1, 300 * projections.ChangeKeys, 2}
	for i, size := range sizes {
		seq := uint64(i) + 2 //nolint:gosec // small
		var ws []projections.Write
		for k := range size {
			ws = append(ws, projections.Write{Document: document(fmt.Sprintf("k%06d", k), i, seq)})
			want = append(want, projections.Change{Sequence: seq, Key: fmt.Sprintf("k%06d", k)})
		}
		b.must(b.apply(0, seq-1, seq, ws...))
	}
	b.wantChanges(0, 1, want...)
	for _, limit := range []int{1, 2, 3, 64, 65, 66, 1_000, 5_000, len(want), len(want) + 1} {
		var got []projections.Change
		for after := uint64(1); ; {
			_, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, limit)
			b.must(err)
			if floor != 1 {
				t.Fatalf("the floor is %d, want 1", floor)
			}
			if got = append(got, list...); len(list) < limit {
				break
			}
			after = list[len(list)-1].Sequence
			if over := len(list) - sizes[after-2]; over >= limit {
				t.Fatalf("with a limit of %d there are %d changes before the last commit", limit, over)
			}
		}
		sameChanges(t, got, want)
	}
	for _, limit := range []int{0, -1} {
		if _, list, _, err := b.Store.Changes(b.ctx, b.g, 0, 1, limit); err != nil || len(list) != 0 {
			t.Errorf("with a limit of %d there are %d changes, %v", limit, len(list), err)
		}
	}
}

func testChangesRoundTrip(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	keys := append(nastyKeys(), "k", "live", "\xff")
	var docs []projections.Document
	for i, k := range keys {
		docs = append(docs, document(k, i, 2))
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	b.wantChanges(0, 1, changed(2, keys...)...)
}

func testChangesSequences(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1<<53, 0)))
	sequences := []uint64{1<<53 + 1, 1<<53 + 2, 1<<63 - 1, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}
	before := uint64(1 << 53)
	var want []projections.Change
	for i, seq := range sequences {
		b.must(b.apply(0, before, seq, projections.Write{Document: document("a", i, seq)}))
		want, before = append(want, changed(seq, "a")...), seq
	}
	b.wantChanges(0, 1<<53, want...)
	_, list, _, err := b.Store.Changes(b.ctx, b.g, 0, 1<<63-1, 10)
	b.must(err)
	sameChanges(t, list, want[3:])
	if got := projections.SequenceOf(events.At(events.Point{Origin: "a", Lineage: "aaaa", Sequence: 3}, events.Point{Origin: "b", Lineage: "bbbb", Sequence: 4})); got != 7 {
		t.Errorf("the sequence of two origins is %d, want 7", got)
	}
}
