package storetest

import (
	"fmt"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func inspectTests() []subtest {
	return []subtest{
		{"an inspection says what is under each key, in order", testInspect},
		{"an inspection tells what was removed, altered or put there by hand", testInspectDamaged},
		{"an inspection tells which entries there are", testInspectEntries},
		{"every key and every entry can be inspected", testInspectRoundTrip},
		{"an inspection of an absent partition is its header", testInspectAbsent},
		{"an inspection of too much, or of an index that is not there, is refused", testInspectRefused},
		{"a thousand keys are inspected at once", testInspectMany},
		{"an inspection is of one step", testInspectIsAtomic},
		{"sizes count keys and entries", testSizes},
		{"sizes are of one step", testSizesAreAtomic},
		{"inspection and sizes of an index of another type say so", testInspectWrongType},
	}
}

// inspect returns what Inspect does of a partition that is there, and checks what holds of every answer.
func (b *bench) inspect(partition int, asked ...projections.Inspected) (projections.Header, []projections.Inspected) {
	b.t.Helper()
	h, got, err := b.Store.Inspect(b.ctx, b.g, b.def, partition, asked)
	b.must(err)
	if len(got) != len(asked) || h.Partition != partition {
		b.t.Fatalf("an inspection of %d keys of partition %d has %d answers of partition %d", len(asked), partition, len(got), h.Partition)
	}
	for i := range got {
		if got[i].Key != asked[i].Key || !slices.Equal(got[i].Entries, asked[i].Entries) || len(got[i].Has) != len(asked[i].Entries) {
			b.t.Fatalf("answer %d is %.500v, asked was %.500v", i, got[i], asked[i])
		}
	}
	return h, got
}

func askFor(keys ...string) []projections.Inspected {
	out := make([]projections.Inspected, len(keys))
	for i, k := range keys {
		out[i].Key = k
	}
	return out
}

func testInspect(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	docs := map[string]projections.Document{"a": document("a", 1, 2), "b": document("b", 2, 2), "c": document("c", 3, 2)}
	parked := docs["c"]
	parked.Parked = "us.7f3a@1:2 it cannot be read"
	docs["c"] = seal(parked)
	b.must(b.apply(0, 1, 2, writes(docs["a"], docs["b"], docs["c"])...))
	b.must(b.apply(1, 1, 3, writes(document("a", 9, 3))...))
	h, got := b.inspect(0, askFor("c", "none", "a", "b", "a", "")...)
	sameHeader(t, h, header(0, 2, 3))
	for _, x := range got {
		want, there := docs[x.Key]
		if x.Listed != there || x.Foreign || (x.Document != nil) != there {
			t.Errorf("under %q there is %+v", x.Key, x)
		} else if there {
			sameDocument(t, x.Document, &want)
		}
	}
	h, got = b.inspect(1, askFor("a", "b")...)
	sameHeader(t, h, header(1, 3, 1))
	want := document("a", 9, 3)
	sameDocument(t, got[0].Document, &want)
	if got[1].Document != nil || got[1].Listed {
		t.Errorf("in the other partition there is %+v", got[1])
	}
	h, _ = b.inspect(0)
	sameHeader(t, h, header(0, 2, 3))
}

func testInspectDamaged(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	keys := []string{"removed", "unlisted", "edited", "short", "whole"}
	var docs []projections.Document
	for i, k := range keys {
		docs = append(docs, document(k, i, 2))
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	ref := func(key string) projections.Ref { return projections.Ref{Key: key} }
	b.Tamper.RemoveDocument(t, b.g, ref("removed"))
	b.Tamper.Unlist(t, b.g, ref("unlisted"))
	b.Tamper.SetField(t, b.g, ref("edited"), "count", "9000")
	b.Tamper.DropField(t, b.g, ref("short"), "count")
	b.Tamper.PutDocument(t, b.g, ref("put"), map[string]string{"name": "x"})
	b.Tamper.SpoilKey(t, b.g, ref("spoilt"))
	_, got := b.inspect(0, askFor(append(keys, "put", "spoilt")...)...)
	type found struct{ there, values, listed, foreign bool }
	for i, want := range []found{{false, false, true, false}, {true, true, false, false}, {true, true, true, false}, {true, false, true, false}, {true, true, true, false}, {true, false, false, false}, {false, false, false, true}} {
		x := got[i]
		if is := (found{x.Document != nil, x.Document != nil && x.Document.Values != nil, x.Listed, x.Foreign}); is != want {
			t.Errorf("under %q there is %+v, want %+v", x.Key, is, want)
		}
	}
	edited := docs[2]
	edited.Values = slices.Clone(edited.Values)
	edited.Values[1] = "9000"
	sameDocument(t, got[2].Document, &edited) // with the digest as it was written
	sameDocument(t, got[1].Document, &docs[1])
	sameDocument(t, got[4].Document, &docs[4])
	if d := got[3].Document; d == nil || d.At != docs[3].At || d.Digest != docs[3].Digest {
		t.Errorf("the document that lacks a field is %+v", d)
	}
}

func testInspectEntries(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount(), byName(), byLateAndCount())
	b.create(1)
	docs := []projections.Document{document("a", 1, 2), document("b", 2, 2)}
	docs[1].Parked = "us.7f3a@1:2 it cannot be read"
	docs[1] = seal(docs[1])
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	right, other := b.entries(&docs[0]), b.entries(&docs[1])
	b.Tamper.DropEntry(t, b.g, 0, "by_name", right[1].Value+"a")
	b.Tamper.PutEntry(t, b.g, 0, "by_count", other[0].Value+"a")
	elsewhere := projections.IndexEntry{Index: 1, Value: right[0].Value} // the value of another index
	expires := projections.IndexEntry{Index: projections.ExpiryIndex, Value: "x"}
	_, got := b.inspect(0,
		projections.Inspected{Key: "b", Entries: other},
		projections.Inspected{Key: "a", Entries: append(slices.Clone(right), other[0], other[2], elsewhere, other[3], expires)},
		projections.Inspected{Key: "a"},
		projections.Inspected{Key: "none", Entries: right})
	for i, want := range [][]bool{{true, true, true, true}, {true, false, true, true, false, false, false, false}, {}, {false, false, false}} {
		if !slices.Equal(got[i].Has, want) {
			t.Errorf("of %q the indexes have %v, want %v", got[i].Key, got[i].Has, want)
		}
	}
}

func testInspectRoundTrip(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byName())
	b.create(1)
	keys := nastyKeys()
	docs := make([]projections.Document, len(keys))
	asked := make([]projections.Inspected, len(keys))
	for i, k := range keys {
		docs[i] = document(k, i, 2)
		docs[i].Values[0] = keys[len(keys)-1-i]
		docs[i] = seal(docs[i])
		asked[i] = projections.Inspected{Key: k, Entries: b.entries(&docs[i])}
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	_, got := b.inspect(0, asked...)
	for i, x := range got {
		sameDocument(t, x.Document, &docs[i])
		if !x.Listed || !x.Has[0] {
			t.Errorf("the document %.40q is there as %+v", x.Key, x)
		}
	}
}

func testInspectAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
	b.Tamper.LoseHeader(t, b.g, 0)
	for p := range 2 {
		h, got, err := b.Store.Inspect(b.ctx, b.g, b.def, p, askFor("a"))
		b.must(err)
		sameHeader(t, h, projections.Header{Partition: p})
		if got != nil {
			t.Errorf("an inspection of an absent partition says %+v", got)
		}
		h, keys, entries, err := b.Store.Sizes(b.ctx, b.g, b.def, p)
		b.must(err)
		sameHeader(t, h, projections.Header{Partition: p})
		if keys != 0 || entries != nil {
			t.Errorf("an absent partition has %d keys and the entries %v", keys, entries)
		}
	}
}

func testInspectRefused(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	_, _, err := b.Store.Inspect(b.ctx, b.g, b.def, 0, make([]projections.Inspected, projections.MaxInspected+1))
	b.wantCode(err, events.ErrTooLarge)
	for _, index := range []int{1, 15, 16, 1 << 20, projections.FirstIndex - 1, -1 << 20} {
		_, _, err := b.Store.Inspect(b.ctx, b.g, b.def, 0, []projections.Inspected{{Key: "a", Entries: []projections.IndexEntry{{Index: index}}}})
		b.wantCode(err, projections.ErrUnknownIndex)
	}
}

func testInspectMany(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount(), byName())
	b.create(1)
	var docs []projections.Document
	asked := make([]projections.Inspected, projections.MaxInspected)
	for i := range asked {
		d := document(fmt.Sprint("k", i), i, 2)
		asked[i] = projections.Inspected{Key: d.Key, Entries: b.entries(&d)}
		if i%3 != 0 {
			docs = append(docs, d)
		}
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	_, got := b.inspect(0, asked...)
	for i, x := range got {
		there := i%3 != 0
		if x.Listed != there || (x.Document != nil) != there || !slices.Equal(x.Has, []bool{there, there}) {
			t.Fatalf("under %q there is %+v", x.Key, x)
		}
		if there {
			want := document(x.Key, i, 2)
			sameDocument(t, x.Document, &want)
		}
	}
}

// testInspectIsAtomic: header, documents and entries are of exactly one commit.
func testInspectIsAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	entry := func(n int) projections.IndexEntry {
		d := document("a", n, 2)
		value, _ := b.def.IndexValue("by_count", &d)
		return projections.IndexEntry{Value: value}
	}
	b.decorate = func(w *projections.Write) {
		var n int
		_, _ = fmt.Sscan(w.Values[1], &n) // it is ours
		w.Unindex, w.Index = []projections.IndexEntry{entry(n - 1)}, []projections.IndexEntry{entry(n)}
	}
	hammer(b, func() error {
		h := b.header(0)
		p, _ := h.Checkpoint.Point("us")
		first := int(p.Sequence) //nolint:gosec // small
		var entries []projections.IndexEntry
		for n := range 20 {
			entries = append(entries, entry(first+n))
		}
		h, got, err := b.Store.Inspect(b.ctx, b.g, b.def, 0, []projections.Inspected{{Key: "b", Entries: entries}, {Key: "a", Entries: entries}})
		if err != nil {
			return err
		}
		p, _ = h.Checkpoint.Point("us")
		for _, x := range got {
			if p.Sequence == 1 {
				if x.Document != nil || x.Listed || slices.Contains(x.Has, true) {
					return fmt.Errorf("before anything was written there is %+v", x)
				}
				continue
			}
			at := int(p.Sequence) - first //nolint:gosec // small
			if x.Document == nil || x.Document.Values == nil || x.Document.Values[1] != fmt.Sprint(p.Sequence) || !x.Listed {
				return fmt.Errorf("at %s there is %+v", h.Checkpoint, x)
			}
			for j, has := range x.Has {
				if has != (j == at) {
					return fmt.Errorf("at %s the index has the entry of %d: %t", h.Checkpoint, first+j, has)
				}
			}
		}
		return nil
	})
}

func testSizes(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount(), byName())
	b.create(1)
	docs := []projections.Document{document("a", 1, 2), document("b", 2, 2), document("c", 3, 2), document("d", 4, 2)}
	docs[1].Parked = "us.7f3a@1:2 it cannot be read"
	docs[1] = seal(docs[1])
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	b.Tamper.PutEntry(t, b.g, 0, "by_name", "whatever")
	b.Tamper.DropEntry(t, b.g, 0, "by_count", b.entries(&docs[0])[0].Value+"a")
	b.Tamper.PutEntry(t, b.g, 0, projections.ExpiryIndexName, "x")
	b.Tamper.PutEntry(t, b.g, 0, projections.ExpiryIndexName, "y")
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "d"})
	b.Tamper.Unlist(t, b.g, projections.Ref{Key: "c"})
	b.Tamper.PutDocument(t, b.g, projections.Ref{Key: "put"}, map[string]string{"name": "x"})
	h, keys, entries, err := b.Store.Sizes(b.ctx, b.g, b.def, 0)
	b.must(err)
	sameHeader(t, h, header(0, 2, 4))
	if want := fmt.Sprint(map[string]uint64{"by_count": 3, "by_name": 5, projections.ParkedIndexName: 1, projections.ExpiryIndexName: 2}); keys != 3 || fmt.Sprint(entries) != want {
		t.Errorf("there are %d keys and the entries %v, want 3 and %s", keys, entries, want)
	}
	h, keys, entries, err = b.Store.Sizes(b.ctx, b.g, b.def, 1)
	b.must(err)
	sameHeader(t, h, header(1, 1, 0))
	if want := fmt.Sprint(map[string]uint64{"by_count": 0, "by_name": 0, projections.ParkedIndexName: 0, projections.ExpiryIndexName: 0}); keys != 0 || fmt.Sprint(entries) != want {
		t.Errorf("an empty partition has %d keys and the entries %v, want 0 and %s", keys, entries, want)
	}
}

func testSizesAreAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	b.decorate = func(w *projections.Write) { // its entries pile up
		value, _ := b.def.IndexValue("by_count", &w.Document)
		w.Index = []projections.IndexEntry{{Value: value}, {Index: projections.ParkedIndex, Value: value}}
		w.Key += fmt.Sprint(" ", w.Values[1])
		w.Create = true
	}
	hammer(b, func() error {
		h, keys, entries, err := b.Store.Sizes(b.ctx, b.g, b.def, 0)
		if err != nil {
			return err
		}
		p, _ := h.Checkpoint.Point("us")
		if want := 2 * (p.Sequence - 1); keys != want || entries["by_count"] != want || entries[projections.ParkedIndexName] != want {
			return fmt.Errorf("at %s there are %d keys and the entries %v", h.Checkpoint, keys, entries)
		}
		return nil
	})
}

func testInspectWrongType(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount(), byName())
	b.create(1)
	a := document("a", 1, 2)
	b.must(b.apply(0, 1, 2, b.newDocuments(a)...))
	b.Tamper.SpoilIndex(t, b.g, 0, "by_name")
	asked := projections.Inspected{Key: "a", Entries: b.entries(&a)}
	_, _, err := b.Store.Inspect(b.ctx, b.g, b.def, 0, []projections.Inspected{asked})
	b.wantCode(err, projections.ErrWrongType)
	wantInText(t, err, "by_name")
	asked.Entries = asked.Entries[:1] // that of the other index
	if _, got := b.inspect(0, asked); !got[0].Has[0] {
		t.Errorf("the other index lacks its entry")
	}
	_, _, _, err = b.Store.Sizes(b.ctx, b.g, b.def, 0)
	b.wantCode(err, projections.ErrWrongType)
	wantInText(t, err, "by_name")
}
