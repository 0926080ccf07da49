package storetest

import (
	"fmt"
	"slices"
	"testing"

	"tidemark.dev/projections"
)

func pageTests() []subtest {
	return []subtest{
		{"pages follow the byte order of keys", testPageOrder},
		{"pages of every size meet without a gap", testPageBoundaries},
		{"a page begins above a key that need not exist", testPageAfter},
		{"a document that is listed and lost has no values", testPageLost},
		{"a page of an absent partition is absent", testPageAbsent},
		{"a document whose key is of another type has no values", testPageWrongType},
	}
}

func testPageOrder(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	keys := nastyKeys()
	var docs []projections.Document
	for i, k := range keys {
		docs = append(docs, document(k, i, 2))
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	slices.Sort(keys)
	_, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", len(keys))
	b.must(err)
	for i, d := range page {
		if d.Key != keys[i] {
			t.Fatalf("key %d of the page is %.40q, want %.40q", i, d.Key, keys[i])
		}
	}
	for i, k := range keys { // every key is a boundary
		h, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, k, 1)
		b.must(err)
		sameHeader(t, h, header(0, 2, uint64(len(keys))))
		switch {
		case i == len(keys)-1 && len(page) != 0:
			t.Fatalf("the page above the last key has %d documents", len(page))
		case i < len(keys)-1 && (len(page) != 1 || page[0].Key != keys[i+1]):
			t.Fatalf("the page above %.40q is %.200q, want %.40q", k, page, keys[i+1])
		}
	}
}

func testPageBoundaries(t *testing.T, open func(t *testing.T) Subject) {
	const many = 25
	b := newBench(t, open, 1)
	b.create(1)
	var docs []projections.Document
	for i := range many {
		docs = append(docs, document(fmt.Sprintf("k%02d", i), i, 2))
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	for _, limit := range []int{1, 2, 24, 25, 26, 1_000} {
		var got []projections.Document
		for after := ""; ; {
			_, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, after, limit)
			b.must(err)
			if len(page) != min(limit, many-len(got)) {
				t.Fatalf("a page of %d after %d documents has %d", limit, len(got), len(page))
			}
			got = append(got, page...)
			if len(page) < limit {
				break
			}
			after = page[len(page)-1].Key
		}
		for i := range docs {
			sameDocument(t, &got[i], &docs[i])
		}
	}
	if _, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", 0); err != nil || len(page) != 0 {
		t.Fatalf("a page of none returned %v, %v", page, err)
	}
}

func testPageAfter(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("b", 1, 2), document("d", 2, 2))...))
	for after, want := range map[string][]string{
		"": {"b", "d"}, "a": {"b", "d"}, "b": {"d"}, "b\x00": {"d"}, "c": {"d"}, "d": {}, "e": {}, "\xff": {},
	} {
		_, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, after, 10)
		b.must(err)
		got := []string{}
		for _, d := range page {
			got = append(got, d.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("the page above %q is %q, want %q", after, got, want)
		}
	}
}

func testPageLost(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("b", 2, 2), document("c", 3, 2))...))
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "b"})
	_, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", 10)
	b.must(err)
	if len(page) != 3 || page[1].Key != "b" || page[1].Values != nil || page[0].Values == nil || page[2].Values == nil {
		t.Fatalf("the page is %+v, want b without values", page)
	}
}

func testPageAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
	b.Tamper.LoseHeader(t, b.g, 0)
	for p := range 2 {
		h, page, err := b.Store.Page(b.ctx, b.g, b.def, p, "", 10)
		b.must(err)
		if h.State != projections.Absent || h.Partition != p || len(page) != 0 {
			t.Errorf("the page of an absent partition is %+v, %v", h, page)
		}
	}
}

func testPageWrongType(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("b", 2, 2), document("c", 3, 2), document("d", 4, 2), document("e", 5, 2))...))
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "b"})
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "e"})
	_, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", 10)
	b.must(err)
	if len(page) != 5 {
		t.Fatalf("the page is %+v, want five documents", page)
	}
	for i, d := range page {
		if spoilt := d.Key == "b" || d.Key == "e"; spoilt != (d.Values == nil) || spoilt && (d.At != "" || d.Digest != projections.Digest{}) || d.Key != string(rune('a'+i)) {
			t.Errorf("document %d of the page is %+v, want b and e without anything", i, d)
		}
	}
}
