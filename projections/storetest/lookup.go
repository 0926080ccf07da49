package storetest

import (
	"fmt"
	"testing"

	"tidemark.dev/projections"
)

func lookupTests() []subtest {
	return []subtest{
		{"lookup keeps the order of the references, each with its header", testLookupOrder},
		{"lookup tells a missing document from an absent partition", testLookupAbsent},
		{"lookup tells a document that was removed by hand, or damaged", testLookupDamaged},
		{"lookup of a key of another type says so", testLookupWrongType},
		{"lookup never gives a document that is older than its header, or none where there is one", testLookupConcurrent},
		{"lookup of a thousand documents is whole", testLookupMany},
	}
}

// lookup returns what Lookup does, and checks what holds of every answer.
func (b *bench) lookup(refs ...projections.Ref) ([]projections.Header, []*projections.Document) {
	b.t.Helper()
	headers, documents, err := b.Store.Lookup(b.ctx, b.g, b.def, refs)
	b.must(err)
	if len(headers) != len(refs) || len(documents) != len(refs) {
		b.t.Fatalf("Lookup of %d references returned %d headers and %d documents", len(refs), len(headers), len(documents))
	}
	for i, h := range headers {
		if h.Partition != refs[i].Partition {
			b.t.Errorf("header %d is of partition %d, want %d", i, h.Partition, refs[i].Partition)
		}
		if d := documents[i]; d != nil && d.Key != refs[i].Key {
			b.t.Errorf("document %d is %q, want %q", i, d.Key, refs[i].Key)
		}
	}
	return headers, documents
}

func testLookupOrder(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	b.create(1)
	for p := range 3 {
		b.must(b.apply(p, 1, uint64(2+p), writes(document("a", p, 2), document("b", 10+p, 2))...)) //nolint:gosec // small
	}
	refs := []projections.Ref{
		{Partition: 2, Key: "b"}, {Partition: 0, Key: "a"}, {Partition: 0, Key: "none"}, {Partition: 1, Key: "a"},
		{Partition: 0, Key: "a"}, {Partition: 2, Key: "a"}, {Partition: 1, Key: "gone"},
	}
	headers, documents := b.lookup(refs...)
	for i, n := range []int{12, 0, -1, 1, 0, 2, -1} {
		sameHeader(t, headers[i], header(refs[i].Partition, uint64(2+refs[i].Partition), 2)) //nolint:gosec // small
		if n < 0 {
			if documents[i] != nil {
				t.Errorf("document %d is %v, want none", i, documents[i])
			}
			continue
		}
		want := document(refs[i].Key, n, 2)
		sameDocument(t, documents[i], &want)
	}
	b.lookup()
}

func testLookupAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.Store.Create(b.ctx, b.g, header(2, 1, 0)))
	b.must(b.apply(2, 1, 2, writes(document("a", 1, 2))...))
	b.Tamper.LoseHeader(t, b.g, 2)
	headers, documents := b.lookup(projections.Ref{Partition: 1, Key: "a"}, projections.Ref{Partition: 0, Key: "a"}, projections.Ref{Partition: 2, Key: "a"})
	for i, want := range []projections.PartitionState{projections.Absent, projections.Live, projections.Absent} {
		if headers[i].State != want || documents[i] != nil {
			t.Errorf("reference %d came with %+v and %v, want the state %q and no document", i, headers[i], documents[i], want)
		}
	}
}

func testLookupDamaged(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("b", 2, 2), document("c", 3, 2))...))
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "a"})
	b.Tamper.DropField(t, b.g, projections.Ref{Key: "b"}, "count")
	_, documents := b.lookup(projections.Ref{Key: "c"}, projections.Ref{Key: "b"}, projections.Ref{Key: "a"})
	want := document("c", 3, 2)
	sameDocument(t, documents[0], &want)
	for _, d := range documents[1:] {
		if d == nil || d.Values != nil {
			t.Errorf("a damaged document is %+v, want one without values", d)
		}
	}
}

func testLookupWrongType(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("b", 1, 2))...))
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "a"})
	_, _, err := b.Store.Lookup(b.ctx, b.g, b.def, []projections.Ref{{Key: "b"}, {Key: "a"}})
	b.wantCode(err, projections.ErrWrongType)
}

func testLookupConcurrent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	refs := []projections.Ref{{Key: "b"}, {Partition: 1, Key: "x"}, {Key: "a"}}
	hammer(b, func() error {
		headers, documents, err := b.Store.Lookup(b.ctx, b.g, b.def, refs)
		if err != nil {
			return err
		}
		for i, d := range documents {
			p, _ := headers[i].Checkpoint.Point("us")
			var n uint64
			switch {
			case refs[i].Partition == 1:
				if d != nil || p.Sequence != 1 {
					return fmt.Errorf("the other partition has %v at %s", d, headers[i].Checkpoint)
				}
			case d == nil && p.Sequence != 1:
				return fmt.Errorf("no document at %s", headers[i].Checkpoint)
			case d == nil:
			case d.Values == nil:
				return fmt.Errorf("the document %q has no values", d.Key)
			default:
				if _, err := fmt.Sscan(d.Values[1], &n); err != nil || n < p.Sequence {
					return fmt.Errorf("a document of %d came with a header of %s", n, headers[i].Checkpoint)
				}
			}
		}
		return nil
	})
}

func testLookupMany(t *testing.T, open func(t *testing.T) Subject) {
	const n = 1_000
	b := newBench(t, open, 4)
	b.create(1)
	all := make([][]projections.Write, b.g.Partitions)
	refs := make([]projections.Ref, 0, n)
	for i := range n {
		key := fmt.Sprint("key ", i)
		p := projections.PartitionOf(key, b.g.Partitions)
		refs = append(refs, projections.Ref{Partition: p, Key: key})
		if i%3 != 0 {
			all[p] = append(all[p], writes(document(key, i, 2))...)
		}
	}
	for p, ws := range all {
		b.must(b.apply(p, 1, 2, ws...))
	}
	_, documents := b.lookup(refs...)
	for i, d := range documents {
		if i%3 == 0 {
			if d != nil {
				t.Errorf("document %d is %v, want none", i, d)
			}
			continue
		}
		want := document(refs[i].Key, i, 2)
		sameDocument(t, d, &want)
	}
}
