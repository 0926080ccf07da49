package storetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func markTests() []subtest {
	return []subtest{
		{"marks come back as they were recorded, by rising sequence", testMarks},
		{"a mark is recorded again, and forgotten again, without a trace", testMarksAgain},
		{"marks are recorded whatever the state of the partition", testMarksOfStates},
		{"an absent partition has no marks", testMarksAbsent},
		{"a refused commit records no mark and forgets none", testMarksRefused},
		{"create and drop remove marks", testMarksLeftovers},
		{"what cannot be read as a mark is left out", testMarksDamaged},
		{"marks of another type refuse the whole commit", testMarksWrongType},
		{"marks and their header are of one step", testMarksAreAtomic},
		{"as many marks as a partition keeps are recorded at once", testMarksMany},
	}
}

func mark(seq, number uint64) projections.PartitionMark {
	d := document("x", int(number), seq) //nolint:gosec // any digest will do
	return projections.PartitionMark{Sequence: seq, Number: number, Documents: 3 * number, Digest: d.Digest}
}

// pass applies a commit that records and forgets marks.
func (b *bench) pass(partition int, from, to uint64, marks, unmark []projections.PartitionMark, ws ...projections.Write) error {
	b.t.Helper()
	c := b.commit(partition, from, to, ws...)
	c.Marks, c.Unmark = marks, unmark
	return b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0]
}

func (b *bench) wantMarks(partition int, want ...projections.PartitionMark) {
	b.t.Helper()
	headers, marks, err := b.Store.Marks(b.ctx, b.g)
	b.must(err)
	if len(headers) != b.g.Partitions || len(marks) != b.g.Partitions {
		b.t.Fatalf("Marks returned %d headers and the marks of %d partitions, want %d", len(headers), len(marks), b.g.Partitions)
	}
	sameHeader(b.t, headers[partition], b.header(partition))
	if !slices.Equal(marks[partition], want) {
		b.t.Fatalf("the partition has the marks\n%v, want\n%v", marks[partition], want)
	}
}

func marksOf(list ...projections.PartitionMark) []projections.PartitionMark { return list }

func testMarks(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	b.wantMarks(0)
	b.must(b.pass(0, 1, 12, marksOf(mark(9, 1), mark(11, 2)), nil, writes(document("a", 1, 2))...))
	b.must(b.pass(0, 12, 200, marksOf(mark(100, 3)), nil))
	b.must(b.pass(1, 1, 12, marksOf(mark(9, 1)), nil))
	b.wantMarks(0, mark(9, 1), mark(11, 2), mark(100, 3))
	b.wantMarks(1, mark(9, 1))
	b.wantStored(0, document("a", 1, 2))
	b.must(b.pass(0, 200, 300, marksOf(mark(250, 4)), marksOf(mark(11, 2), mark(9, 1))))
	b.wantMarks(0, mark(100, 3), mark(250, 4))
	b.must(b.apply(0, 300, 301, writes(document("b", 1, 301))...)) // a commit without marks
	b.wantMarks(0, mark(100, 3), mark(250, 4))
	b.must(b.pass(0, 301, 302, nil, marksOf(mark(100, 3))))
	b.wantMarks(0, mark(250, 4))

	full := projections.PartitionMark{Sequence: math.MaxUint64, Number: math.MaxUint64, Documents: math.MaxUint64, Digest: mark(1, 1).Digest}
	empty := projections.PartitionMark{}
	b.must(b.pass(1, 12, 13, marksOf(full, empty), nil))
	b.wantMarks(1, empty, mark(9, 1), full)
}

func testMarksAgain(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.pass(0, 1, 4, marksOf(mark(3, 1)), nil))
	for range 3 {
		b.must(b.pass(0, 4, 9, marksOf(mark(6, 2), mark(8, 3)), marksOf(mark(3, 1), mark(2, 7))))
		b.wantMarks(0, mark(6, 2), mark(8, 3))
		b.must(b.apply(0, 9, 4)) // the checkpoint goes back and nothing else does
	}
	other := mark(8, 3)
	other.Documents++ // as it was not recorded: it stays
	b.must(b.pass(0, 4, 5, nil, marksOf(other)))
	b.wantMarks(0, mark(6, 2), mark(8, 3))
	b.must(b.pass(0, 5, 6, marksOf(mark(6, 2)), marksOf(mark(6, 2)))) // Unmark goes first
	b.wantMarks(0, mark(6, 2), mark(8, 3))
}

func testMarksOfStates(t *testing.T, open func(t *testing.T) Subject) {
	for _, state := range []projections.PartitionState{projections.Building, projections.Retired} {
		b := newBench(t, open, 1)
		h := header(0, 1, 0)
		h.State = state
		b.must(b.Store.Create(b.ctx, b.g, h))
		c := b.commit(0, 1, 5)
		c.Next.State, c.Marks = state, marksOf(mark(4, 1))
		b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0])
		b.wantMarks(0, mark(4, 1))
		b.must(b.pass(0, 5, 9, marksOf(mark(8, 2)), nil)) // it becomes live
		b.wantMarks(0, mark(4, 1), mark(8, 2))
		b.must(b.Store.SetState(b.ctx, b.g, owner, projections.Retired))
		b.wantMarks(0, mark(4, 1), mark(8, 2))
	}
}

func testMarksAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	for _, p := range []int{0, 2} {
		b.must(b.Store.Create(b.ctx, b.g, header(p, 1, 0)))
		b.must(b.pass(p, 1, 5, marksOf(mark(4, 1)), nil))
	}
	b.Tamper.LoseHeader(t, b.g, 0)
	b.wantMarks(0)
	b.wantMarks(1)
	b.wantMarks(2, mark(4, 1))
}

func testMarksRefused(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	b.must(b.pass(0, 1, 5, marksOf(mark(4, 1)), nil))
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "zz"})
	refused := func(want events.Code, c projections.Commit) {
		t.Helper()
		c.Marks, c.Unmark = marksOf(mark(8, 2)), marksOf(mark(4, 1))
		b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], want)
		b.wantMarks(0, mark(4, 1))
	}
	refused(projections.ErrMoved, b.commit(0, 4, 9))
	stale := b.commit(0, 5, 9)
	stale.Next.Owner--
	refused(projections.ErrFenced, stale)
	refused(projections.ErrWrongType, b.commit(0, 5, 9, writes(document("a", 1, 2), document("zz", 1, 2))...))
	unknown := projections.Write{Document: document("a", 1, 2), Index: []projections.IndexEntry{{Index: 1, Value: "1"}}}
	refused(projections.ErrUnknownIndex, b.commit(0, 5, 9, unknown))
	b.Tamper.SpoilIndex(t, b.g, 0, "by_count")
	refused(projections.ErrWrongType, b.commit(0, 5, 9, b.newDocuments(document("a", 1, 2))...))
	b.Tamper.SpoilChanges(t, b.g, 0)
	refused(projections.ErrWrongType, b.commit(0, 5, 9, writes(document("a", 1, 2))...))
}

func testMarksLeftovers(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	for range 2 {
		b.create(1)
		b.must(b.pass(0, 1, 5, marksOf(mark(3, 1), mark(4, 2)), nil))
		b.must(b.pass(1, 1, 5, marksOf(mark(3, 1)), nil))
		b.Tamper.LoseHeader(t, b.g, 0)
		b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
		b.wantMarks(0)
		b.wantMarks(1, mark(3, 1))
		b.must(b.pass(0, 1, 5, marksOf(mark(4, 9)), nil))
		b.must(b.Store.Drop(b.ctx, b.g))
		b.create(1)
		b.wantMarks(0)
		b.wantMarks(1)
		b.must(b.pass(0, 1, 5, marksOf(mark(4, 9)), nil))
		b.must(b.Store.Drop(b.ctx, b.g))
	}
}

func testMarksDamaged(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.pass(0, 1, 20, marksOf(mark(9, 1), mark(11, 2)), nil))
	good := mark(10, 5)
	for _, text := range []string{
		"", "x", "9 1 3 " + good.Digest.String(), good.String() + " ", " " + good.String(), good.String()[:len(good.String())-1], good.String() + "\n",
		fmt.Sprintf("%020d %d %d", 10, 5, 15), fmt.Sprintf("%020d -1 0 %s", 10, good.Digest), "99999999999999999999 1 3 " + good.Digest.String(),
	} {
		b.Tamper.PutMark(t, b.g, 0, text)
		b.wantMarks(0, mark(9, 1), mark(11, 2))
	}
	b.Tamper.PutMark(t, b.g, 0, good.String()) // it looks as ours do
	b.wantMarks(0, mark(9, 1), good, mark(11, 2))
	b.must(b.pass(0, 20, 30, marksOf(mark(29, 6)), marksOf(good)))
	b.wantMarks(0, mark(9, 1), mark(11, 2), mark(29, 6))
}

func testMarksWrongType(t *testing.T, open func(t *testing.T) Subject) {
	for name, marks := range map[string][2][]projections.PartitionMark{"one comes": {marksOf(mark(4, 1)), nil}, "one goes": {nil, marksOf(mark(4, 1))}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, open, 2)
			b.indexed(byCount())
			b.create(1)
			a := document("a", 1, 2)
			b.must(b.apply(0, 1, 2, b.newDocuments(a)...))
			b.Tamper.SpoilMarks(t, b.g, 0)
			err := b.pass(0, 2, 5, marks[0], marks[1], b.change(a, document("a", 2, 5)), b.newDocuments(document("b", 1, 5))[0])
			b.wantCode(err, projections.ErrWrongType)
			wantInText(t, err, "marks")
			b.wantHeader(header(0, 2, 1))
			b.wantStored(0, a)
			b.wantIndexed(0, "by_count", a)
			b.wantChanges(0, 1, changed(2, "a")...)
			_, _, err = b.Store.Marks(b.ctx, b.g)
			b.wantCode(err, projections.ErrWrongType)
			wantInText(t, err, "marks")
			b.must(b.apply(0, 2, 6, b.change(a, document("a", 2, 6)))) // who passes no mark does not need them
		})
	}
}

func testMarksAreAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.marked = func(seq uint64) (marks, unmark []projections.PartitionMark) {
		return marksOf(mark(seq, seq)), marksOf(mark(seq-1, seq-1))
	}
	hammer(b, func() error {
		headers, marks, err := b.Store.Marks(b.ctx, b.g)
		if err != nil {
			return err
		}
		p, _ := headers[0].Checkpoint.Point("us")
		want := marksOf(mark(p.Sequence, p.Sequence))
		if p.Sequence == 1 {
			want = nil
		}
		if !slices.Equal(marks[0], want) {
			return fmt.Errorf("at %s there are the marks %v", headers[0].Checkpoint, marks[0])
		}
		return nil
	})
}

func testMarksMany(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	var list []projections.PartitionMark
	for n := range uint64(projections.MaxMarks) {
		list = append(list, mark(10*n+2, n+1))
	}
	b.must(b.pass(0, 1, 10_000, list, nil))
	b.wantMarks(0, list...)
	b.must(b.pass(0, 10_000, 10_001, marksOf(mark(10_000, 100)), list[1:]))
	b.wantMarks(0, list[0], mark(10_000, 100))
}
