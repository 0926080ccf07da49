package storetest

import (
	"fmt"
	"testing"

	"tidemark.dev/projections"
)

func dropTests() []subtest {
	return []subtest{
		{"drop removes everything and can be repeated", testDrop},
		{"drop of what is not there is no error", testDropNothing},
		{"drop finishes what an interrupted drop left", testDropInterrupted},
		{"what was dropped can be created again", testDropThenCreate},
	}
}

func testDrop(t *testing.T, open func(t *testing.T) Subject) {
	const many = 3_000
	b := newBench(t, open, 2)
	b.create(1)
	var docs []projections.Document
	for i := range many {
		docs = append(docs, document(fmt.Sprint("k", i), i, 2))
	}
	for _, k := range nastyKeys() {
		docs = append(docs, document(k, 1, 2))
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	b.must(b.apply(1, 1, 2, writes(docs...)...))
	for range 2 {
		b.must(b.Store.Drop(b.ctx, b.g))
		b.wantGone(docs)
	}
}

func (b *bench) wantGone(docs []projections.Document) {
	b.t.Helper()
	for p := range b.g.Partitions {
		b.wantHeader(projections.Header{Partition: p})
		keys := make([]string, len(docs))
		for i := range docs {
			keys[i] = docs[i].Key
		}
		for _, d := range b.load(p, keys...) {
			if d != nil {
				b.t.Fatalf("the document %.40q of partition %d is still there", d.Key, p)
			}
		}
	}
}

func testDropNothing(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 4)
	b.must(b.Store.Drop(b.ctx, b.g))
}

func testDropInterrupted(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	docs := []projections.Document{document("a", 1, 2), document("b", 2, 2)}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	b.must(b.apply(1, 1, 2, writes(docs...)...))
	b.Tamper.LoseHeader(t, b.g, 0)
	b.Tamper.PutDocument(t, b.g, projections.Ref{Partition: 1, Key: "unlisted"}, map[string]string{"name": "x"})
	b.must(b.Store.Drop(b.ctx, b.g))
	b.wantGone(append(docs, document("unlisted", 1, 1)))
}

func testDropThenCreate(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	for range 2 {
		b.create(1)
		b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
		b.wantStored(0, document("a", 1, 2))
		b.must(b.Store.Drop(b.ctx, b.g))
		b.create(1)
		b.wantStored(0)
		b.must(b.Store.Drop(b.ctx, b.g))
	}
}
