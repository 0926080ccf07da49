package storetest

import (
	"fmt"
	"sync"
	"testing"

	"tidemark.dev/projections"
)

func changeLogTests() []subtest {
	return []subtest{
		{"a change log keeps its newest entries and says from where on", testChangesBounded},
		{"a change log that was cut off by hand says so", testChangesTrimmed},
		{"a change log that was removed by hand says so", testChangesLost},
		{"a change log that is ahead of its partition begins anew", testChangesAhead},
		{"a change log of another type refuses the whole commit", testChangesWrongType},
		{"changes and their header are of one step", testChangesAreAtomic},
		{"a reader of changes misses none while the log is cut off", testChangesWhileCutOff},
	}
}

// commits applies commits of one document each, up to a sequence, in one call.
func (b *bench) commits(from, to uint64) {
	b.t.Helper()
	list := make([]projections.Commit, 0, to-from)
	for seq := from + 1; seq <= to; seq++ {
		list = append(list, b.commit(0, seq-1, seq, projections.Write{Document: document(fmt.Sprint("k", seq%10), int(seq), seq)})) //nolint:gosec // small
	}
	for _, err := range b.Store.Apply(b.ctx, b.g, b.def, list) {
		b.must(err)
	}
}

func testChangesBounded(t *testing.T, open func(t *testing.T) Subject) {
	const filled, more = 10_000, 400
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, filled))
	for seq := uint64(filled - projections.ChangeEntries + 100); seq < filled; seq++ { // by hand, because it is quicker
		b.Tamper.PutChange(t, b.g, 0, projections.Change{Sequence: seq, Key: fmt.Sprint("k", seq%10)})
	}
	b.commits(filled, filled+more)
	_, none, floor, err := b.Store.Changes(b.ctx, b.g, 0, 0, 2*filled)
	b.must(err)
	if len(none) > 0 {
		t.Fatalf("what the change log does not reach back to is answered with %d changes", len(none))
	}
	_, list, again, err := b.Store.Changes(b.ctx, b.g, 0, floor, 2*filled)
	b.must(err)
	if kept := len(list) + 1; kept < projections.ChangeEntries || kept > projections.ChangeEntries+200 || again != floor {
		t.Fatalf("the change log has %d entries from %d on, %d before; want %d or a few more", kept, again, floor, projections.ChangeEntries)
	}
	for i := 1; i < len(list); i++ {
		if c := list[i]; c.Sequence <= list[i-1].Sequence || c.Key != fmt.Sprint("k", c.Sequence%10) {
			t.Fatalf("change %d is %v after %v", i, c, list[i-1])
		}
	}
	if last := list[len(list)-1]; last.Sequence != filled+more {
		t.Fatalf("the last change is of %d, want %d", last.Sequence, filled+more)
	}
	for _, i := range []int{0, 1, 100, len(list) - 300, len(list) - 64, len(list) - 2, len(list) - 1} { // from anywhere
		_, after, _, err := b.Store.Changes(b.ctx, b.g, 0, list[i].Sequence, 2*filled)
		b.must(err)
		sameChanges(t, after, list[i+1:])
		_, after, _, err = b.Store.Changes(b.ctx, b.g, 0, list[i].Sequence, 100)
		b.must(err)
		sameChanges(t, after, list[i+1:min(i+101, len(list))])
	}
}

func testChangesTrimmed(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.commits(1, 10)
	b.Tamper.TrimChanges(t, b.g, 0, 3)
	b.wantChanges(0, 8, append(changed(9, "k9"), changed(10, "k0")...)...)
	b.commits(10, 11)
	b.wantChanges(0, 8, append(changed(9, "k9"), append(changed(10, "k0"), changed(11, "k1")...)...)...)
}

func testChangesLost(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.commits(1, 10)
	b.Tamper.TrimChanges(t, b.g, 0, 0)
	b.wantChanges(0, 10)
	b.must(b.apply(0, 10, 12)) // nothing changed between
	b.wantChanges(0, 12)
	b.commits(12, 13)
	_, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, 10, 10)
	b.must(err)
	if floor != 13 || len(list) > 0 {
		t.Errorf("after the log was lost at 10 it has %v and the floor %d, want none and 13: what was between is not known", list, floor)
	}
}

// testChangesAhead: what somebody wrote into the log by hand must not keep the partition from going on.
func testChangesAhead(t *testing.T, open func(t *testing.T) Subject) {
	for name, size := range map[string]int{"one entry": 1, "several entries": 3 * projections.ChangeKeys} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, open, 1)
			b.create(1)
			b.commits(1, 3)
			b.Tamper.PutChange(t, b.g, 0, projections.Change{Sequence: 100, Key: "by hand"})
			var keys []string
			var ws []projections.Write
			for i := range size {
				keys = append(keys, fmt.Sprintf("n%04d", i))
				ws = append(ws, projections.Write{Document: document(keys[i], i, 4), Create: true})
			}
			b.must(b.apply(0, 3, 4, ws...))
			b.wantHeader(header(0, 4, uint64(size))) //nolint:gosec // small
			_, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, 3, 1_000)
			b.must(err)
			if floor != 4 || len(list) > 0 {
				t.Errorf("after 3 it has %v and the floor %d, want none and 4", list, floor)
			}
			b.commits(4, 200)
			_, list, floor, err = b.Store.Changes(b.ctx, b.g, 0, 4, 1_000)
			b.must(err)
			if floor > 4 || len(list) != 196 || list[0].Sequence != 5 {
				t.Errorf("after 4 it has %v and the floor %d, want all that came since", list, floor)
			}
		})
	}
	b := newBench(t, open, 1)
	b.build(0, 3)
	b.Tamper.PutChange(t, b.g, 0, projections.Change{Sequence: 100, Key: "by hand"})
	b.must(b.apply(0, 3, 4, writes(document("a", 1, 4))...))
	b.wantChanges(0, 4)
}

func testChangesWrongType(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount())
	b.create(1)
	b.build2(1)
	a := document("a", 1, 2)
	b.must(b.apply(0, 1, 2, b.newDocuments(a)...))
	for p := range 2 {
		b.Tamper.SpoilChanges(t, b.g, p)
	}
	err := b.apply(0, 2, 3, b.change(a, document("a", 2, 3)))
	b.wantCode(err, projections.ErrWrongType)
	wantInText(t, err, "change")
	b.wantHeader(header(0, 2, 1))
	b.wantStored(0, a)
	b.wantIndexed(0, "by_count", a)
	_, _, _, err = b.Store.Changes(b.ctx, b.g, 0, 0, 10)
	b.wantCode(err, projections.ErrWrongType)

	b.wantCode(b.apply(1, 1, 2, writes(document("a", 1, 2))...), projections.ErrWrongType)
	b.wantCode(b.Store.SetState(b.ctx, b.g, owner, projections.Live), projections.ErrWrongType)
	if h := b.header(1); h.State != projections.Building {
		t.Errorf("the partition became %s", h.State)
	}
	b.wantStored(1)
}

// build2 makes the partition, which exists, one that is being built.
func (b *bench) build2(partition int) {
	b.t.Helper()
	h := header(partition, 1, 0)
	h.State = projections.Building
	b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Partition: partition, Expect: position(1), Next: h}})[0])
}

func testChangesAreAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	hammer(b, func() error {
		after := uint64(1)
		h, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, 10_000)
		if err != nil {
			return err
		}
		p, _ := h.Checkpoint.Point("us")
		if floor != 1 || uint64(len(list)) != 2*(p.Sequence-1) {
			return fmt.Errorf("at %s there are %d changes from %d on", h.Checkpoint, len(list), floor)
		}
		for i, c := range list {
			if c.Sequence != 2+uint64(i)/2 { //nolint:gosec // not negative
				return fmt.Errorf("change %d is of %d", i, c.Sequence)
			}
		}
		return nil
	})
}

// testChangesWhileCutOff: a reader goes on from where it was while the log loses its older end again and again. What it is told of is whole, or it is
// told that it is not.
func testChangesWhileCutOff(t *testing.T, open func(t *testing.T) Subject) {
	const head, step = 3_000, 100
	b := newBench(t, open, 1)
	b.create(1)
	more := func(seq uint64) {
		b.commits(seq, min(seq+step, head))
		b.Tamper.TrimChanges(t, b.g, 0, step/2)
	}
	more(1) // so that the reader begins behind the log
	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, 1)
	wg.Go(func() { failed <- follow(b, head) })
	for seq := uint64(1 + step); seq < head; seq += step {
		more(seq)
	}
	b.must(<-failed)
}

// follow reads changes until it is at a sequence, beginning anew at the floor when it has to, and checks that none is missing between.
func follow(b *bench, head uint64) error {
	for after := uint64(1); after < head; {
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		_, list, floor, err := b.Store.Changes(b.ctx, b.g, 0, after, 3_000)
		if err != nil {
			return err
		}
		if after < floor {
			after = floor
			continue
		}
		for i := range list {
			if list[i].Sequence != after+1+uint64(i) { //nolint:gosec // not negative
				return fmt.Errorf("after %d, with the floor at %d, change %d is %v", after, floor, i, list[i])
			}
		}
		if len(list) > 0 {
			after = list[len(list)-1].Sequence
		}
	}
	return nil
}
