package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	"tidemark.dev/projections"
)

func strayTests() []subtest {
	return []subtest{
		{"strays are what no list of keys has", testStrays},
		{"strays of other generations and projections are not ours", testStraysOfOthers},
		{"a walk for strays can be ended", testStraysEnded},
		{"thousands of strays are found", testStraysMany},
		{"a document that is being made is no stray", testStraysWhileWritten},
	}
}

// strays returns what Strays yields, sorted and each once, and the error with which it ended.
func (b *bench) strays(ctx context.Context, listed func(projections.Ref) bool) (refs []projections.Ref, err error) {
	for ref, failed := range b.Store.Strays(ctx, b.g, listed) {
		if err != nil {
			return nil, fmt.Errorf("the walk goes on after an error: %w", err)
		}
		if err = failed; err == nil {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(x, y projections.Ref) int { return cmp.Or(x.Partition-y.Partition, cmp.Compare(x.Key, y.Key)) })
	return slices.Compact(refs), err
}

func (b *bench) wantStrays(want ...projections.Ref) {
	b.t.Helper()
	got, err := b.strays(b.ctx, nil)
	b.must(err)
	if !slices.Equal(got, want) {
		b.t.Fatalf("the strays are\n%.2000v, want\n%.2000v", got, want)
	}
}

func testStrays(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 12)
	for _, p := range []int{0, 1, 11} {
		b.must(b.Store.Create(b.ctx, b.g, header(p, 1, 0)))
		b.must(b.apply(p, 1, 2, writes(document("a", 1, 2), document("b", 2, 2), document("lost", 2, 2))...))
	}
	b.wantStrays()
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "lost"}) // it is missing, and no stray
	b.Tamper.LoseHeader(t, b.g, 1)                                // its documents belong to nobody
	b.Tamper.PutDocument(t, b.g, projections.Ref{Partition: 2, Key: "x"}, map[string]string{"name": "x"})
	b.wantStrays()
	b.Tamper.Unlist(t, b.g, projections.Ref{Partition: 11, Key: "b"})
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Partition: 11, Key: "spoilt"})
	b.wantStrays(projections.Ref{Partition: 11, Key: "b"}, projections.Ref{Partition: 11, Key: "spoilt"})
	got, err := b.strays(b.ctx, func(ref projections.Ref) bool { return ref.Key != "spoilt" })
	b.must(err)
	if !slices.Equal(got, []projections.Ref{{Partition: 11, Key: "spoilt"}}) {
		t.Fatalf("but for those that were seen listed, the strays are %v", got)
	}
	var want []projections.Ref
	for _, k := range nastyKeys() {
		if k == "a" {
			continue // it is listed
		}
		want = append(want, projections.Ref{Key: k})
		b.Tamper.PutDocument(t, b.g, projections.Ref{Key: k}, map[string]string{"name": "x"})
	}
	slices.SortFunc(want, func(x, y projections.Ref) int { return cmp.Compare(x.Key, y.Key) })
	want = append(want, projections.Ref{Partition: 11, Key: "b"}, projections.Ref{Partition: 11, Key: "spoilt"})
	b.wantStrays(want...)
}

func testStraysOfOthers(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	home := b.g
	for i, g := range []projections.Generation{
		home, {Projection: "flights", Number: 11, Partitions: 2}, {Projection: "flight", Number: 1, Partitions: 2}, {Projection: "flights-1", Number: 1, Partitions: 2},
	} {
		b.g = g
		b.create(1)
		ref := projections.Ref{Partition: 1, Key: fmt.Sprint("stray ", i)}
		b.Tamper.PutDocument(t, g, ref, map[string]string{"name": "x"})
		b.wantStrays(ref)
	}
	b.g = home
	b.wantStrays(projections.Ref{Partition: 1, Key: "stray 0"})
}

func testStraysEnded(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	for i := range 20 {
		b.Tamper.PutDocument(t, b.g, projections.Ref{Partition: i % 2, Key: fmt.Sprint("k", i)}, map[string]string{"name": "x"})
	}
	seen := 0
	for _, err := range b.Store.Strays(b.ctx, b.g, nil) {
		b.must(err)
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Fatalf("the walk ended after %d strays", seen)
	}
	got, err := b.strays(b.ctx, nil)
	b.must(err)
	if len(got) != 20 {
		t.Fatalf("%d strays are found, want 20", len(got))
	}
}

func testStraysMany(t *testing.T, open func(t *testing.T) Subject) {
	const many = 3_000 // more than one step of a walk
	b := newBench(t, open, 2)
	b.create(1)
	var docs []projections.Document
	for i := range many {
		docs = append(docs, document(fmt.Sprintf("k%05d", i), i, 2))
	}
	b.must(b.apply(1, 1, 2, writes(docs...)...))
	var want []projections.Ref
	for i := 0; i < many; i += 3 {
		want = append(want, projections.Ref{Partition: 1, Key: docs[i].Key})
		b.Tamper.Unlist(t, b.g, want[len(want)-1])
	}
	b.wantStrays(want...)
}

// testStraysWhileWritten: documents come and go, and none of them is ever taken for a stray.
func testStraysWhileWritten(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	stray := projections.Ref{Key: "stray"}
	b.Tamper.PutDocument(t, b.g, stray, map[string]string{"name": "x"})
	b.decorate = func(w *projections.Write) {
		var n int
		_, _ = fmt.Sscan(w.Values[1], &n) // it is ours
		w.Key += fmt.Sprint(n % 5)
		w.Remove = n/5%2 == 1
		w.Create = !w.Remove
	}
	hammer(b, func() error {
		got, err := b.strays(b.ctx, nil)
		if err == nil && !slices.Equal(got, []projections.Ref{stray}) {
			err = fmt.Errorf("the strays are %v", got)
		}
		return err
	})
}
