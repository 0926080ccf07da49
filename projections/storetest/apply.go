package storetest

import (
	"fmt"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func applyTests() []subtest {
	return []subtest{
		{"apply writes the documents and the header together", testApply},
		{"apply of no commit is nothing", testApplyNothing},
		{"apply of a commit without writes moves the header", testApplyHeaderOnly},
		{"apply is refused when another owner, older or newer, is stored", testApplyFenced},
		{"apply is refused at another checkpoint, behind or ahead", testApplyMoved},
		{"apply is refused where the partition is absent", testApplyAbsent},
		{"a refusal says what was found", testRefusalNamesFound},
		{"each commit succeeds or fails by itself", testApplyMixed},
		{"a key of another type refuses the whole commit", testApplyWrongType},
		{"applying a commit again is refused and changes nothing", testApplyTwice},
		{"applying a commit again from its old checkpoint gives the same", testApplyAgainAfterRollback},
		{"checkpoints of several origins are compared whole", testApplyOrigins},
		{"thousands of documents go into one commit", testApplyThousands},
	}
}

func testApply(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	b.wantStored(0)
	first := []projections.Document{document("a", 1, 2), document("b", 2, 2)}
	b.must(b.apply(0, 1, 2, writes(first...)...))
	b.wantHeader(header(0, 2, 2))
	b.wantStored(0, first...)
	b.wantHeader(header(1, 1, 0))
	b.wantStored(1)

	b.must(b.apply(0, 2, 3, projections.Write{Document: document("b", 3, 3)}))
	b.wantHeader(header(0, 3, 1))
	b.wantStored(0, document("a", 1, 2), document("b", 3, 3))
}

func testApplyNothing(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	if errs := b.Store.Apply(b.ctx, b.g, b.def, nil); len(errs) != 0 {
		t.Fatalf("Apply of nothing returned %v", errs)
	}
}

func testApplyHeaderOnly(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2))
	b.wantHeader(header(0, 2, 0))
}

func testApplyFenced(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	for _, own := range []uint64{0, owner - 1, owner + 1} {
		c := b.commit(0, 1, 2, writes(document("a", 1, 2))...)
		c.Next.Owner = own
		b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], projections.ErrFenced)
	}
	b.wantHeader(header(0, 1, 0))
	b.wantStored(0)
}

func testApplyMoved(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(10)
	for _, expect := range []events.Position{
		{}, position(9), position(11), position(1), position(100),
		events.At(events.Point{Origin: "us", Lineage: "7f3b", Term: 1, Sequence: 10}),
		events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 2, Sequence: 10}),
		position(10).With(events.Point{Origin: "eu", Lineage: "aaaa", Term: 1}),
	} {
		c := b.commit(0, 0, 20, writes(document("a", 1, 2))...)
		c.Expect = expect
		b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], projections.ErrMoved)
	}
	b.wantHeader(header(0, 10, 0))
	b.wantStored(0)
}

func testApplyAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.wantCode(b.apply(0, 1, 2, writes(document("a", 1, 2))...), projections.ErrMoved)
	b.wantHeader(projections.Header{})
	if d := b.load(0, "a")[0]; d != nil {
		t.Fatalf("a refused commit wrote %v", d)
	}
}

func testRefusalNamesFound(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(10)
	c := b.commit(0, 9, 11)
	wantInText(t, b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], position(10).String(), position(9).String())
	c.Next.Owner = 12345
	wantInText(t, b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], fmt.Sprint(owner), "12345")
}

func testApplyMixed(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 5)
	b.create(1)
	b.must(b.apply(3, 1, 2, writes(document("x", 1, 2))...))
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Partition: 4, Key: "x"})
	var commits []projections.Commit
	for i := range 5 {
		commits = append(commits, b.commit(i, 1, 5, writes(document("x", 10+i, 5))...))
	}
	commits[1].Next.Owner = 1
	got := b.Store.Apply(b.ctx, b.g, b.def, commits)
	if len(got) != 5 {
		t.Fatalf("Apply of 5 commits returned %d errors", len(got))
	}
	b.must(got[0])
	b.wantCode(got[1], projections.ErrFenced)
	b.must(got[2])
	b.wantCode(got[3], projections.ErrMoved)
	b.wantCode(got[4], projections.ErrWrongType)
	b.wantStored(0, document("x", 10, 5))
	b.wantStored(1)
	b.wantStored(2, document("x", 12, 5))
	b.wantStored(3, document("x", 1, 2))
	b.wantHeader(header(4, 1, 0))
}

func testApplyWrongType(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		bad  projections.Write
	}{
		{"written", projections.Write{Document: document("zz", 1, 2)}},
		{"created", projections.Write{Document: document("zz", 1, 2), Create: true}},
		{"removed", projections.Write{Document: projections.Document{Key: "zz"}, Remove: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, open, 1)
			b.create(1)
			b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("gone", 1, 2))...))
			b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "zz"})
			err := b.apply(0, 2, 3,
				projections.Write{Document: document("a", 2, 3)}, projections.Write{Document: document("b", 3, 3), Create: true},
				projections.Write{Document: projections.Document{Key: "gone"}, Remove: true}, c.bad)
			b.wantCode(err, projections.ErrWrongType)
			wantInText(t, err, "zz")
			b.wantHeader(header(0, 2, 2))
			b.wantStored(0, document("a", 1, 2), document("gone", 1, 2))
		})
	}
}

func testApplyTwice(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	ws := writes(document("a", 1, 2), document("b", 2, 2))
	b.must(b.apply(0, 1, 2, ws...))
	b.wantCode(b.apply(0, 1, 2, ws...), projections.ErrMoved)
	b.wantHeader(header(0, 2, 2))
	b.wantStored(0, document("a", 1, 2), document("b", 2, 2))
}

// The checkpoint goes back and the documents do not: what a second writer, or a refold of a damaged partition, meets.
func testApplyAgainAfterRollback(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("stays", 0, 2), document("goes", 0, 2))...))
	parked := document("b", 2, 3)
	parked.Parked = "us.7f3a@1:3: it cannot be read"
	parked = seal(parked)
	ws := append(writes(document("a", 1, 3), parked),
		projections.Write{Document: document("stays", 5, 3)},
		projections.Write{Document: projections.Document{Key: "goes"}, Remove: true})
	for range 3 {
		b.must(b.apply(0, 2, 3, ws...))
		b.wantHeader(header(0, 3, 4))
		b.wantStored(0, document("a", 1, 3), parked, document("stays", 5, 3))
		b.must(b.apply(0, 3, 2))
	}
}

func testApplyOrigins(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	at := func(us, eu uint64) events.Position {
		return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: us},
			events.Point{Origin: "eu", Lineage: "09c1", Term: 3, Sequence: eu})
	}
	h := header(0, 1, 0)
	h.Checkpoint = at(5, 6)
	b.must(b.Store.Create(b.ctx, b.g, h))
	next := h
	next.Checkpoint = at(5, 7)
	b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Expect: at(5, 5), Next: next}})[0], projections.ErrMoved)
	b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Expect: at(5, 6), Next: next}})[0])
	b.wantHeader(next)
}

func testApplyThousands(t *testing.T, open func(t *testing.T) Subject) {
	const many = 10_000 // more than Lua unpacks at once
	b := newBench(t, open, 1)
	b.create(1)
	docs := make([]projections.Document, many)
	for i := range docs {
		docs[i] = document(fmt.Sprintf("k%06d", i), i, 2)
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	b.wantHeader(header(0, 2, many))

	changes := make([]projections.Write, 0, many)
	want := make([]projections.Document, 0, many)
	for i := range docs {
		if i%3 == 0 {
			changes = append(changes, projections.Write{Document: projections.Document{Key: docs[i].Key}, Remove: true})
			continue
		}
		docs[i] = document(docs[i].Key, -i, 3)
		changes = append(changes, projections.Write{Document: docs[i]})
		want = append(want, docs[i])
	}
	b.must(b.apply(0, 2, 3, changes...))
	_, paged, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", many)
	b.must(err)
	if len(paged) != len(want) {
		t.Fatalf("the partition has %d documents, want %d", len(paged), len(want))
	}
	for i := range want {
		sameDocument(t, &paged[i], &want[i])
	}
	if !slices.IsSortedFunc(paged, byKey) {
		t.Fatal("the page is not in the order of keys")
	}
}
