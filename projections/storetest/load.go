package storetest

import (
	"errors"
	"strings"
	"testing"

	"tidemark.dev/projections"
)

func byKey(x, y projections.Document) int { return strings.Compare(x.Key, y.Key) }

func wantInText(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not name %q: %v", p, err)
		}
	}
}

func loadTests() []subtest {
	return []subtest{
		{"load keeps the order of the references, with nil for what is not there", testLoadOrder},
		{"a document that lacks a field, or has another one, has no values", testLoadDamaged},
		{"a document of another definition has no values", testLoadOtherDefinition},
		{"an edited value is returned with the digest as it was written", testLoadEdited},
		{"load and get of a key of another type say so", testLoadWrongType},
		{"get tells a missing document from an absent partition", testGet},
	}
}

func testLoadOrder(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	b.create(1)
	for p := range 3 {
		b.must(b.apply(p, 1, 2, writes(document("a", p, 2), document("b", 10+p, 2))...))
	}
	refs := []projections.Ref{
		{Partition: 2, Key: "b"}, {Partition: 0, Key: "a"}, {Partition: 0, Key: "none"}, {Partition: 1, Key: "a"},
		{Partition: 0, Key: "a"}, {Partition: 2, Key: "a"}, {Partition: 1, Key: ""},
	}
	docs, err := b.Store.Load(b.ctx, b.g, b.def, refs)
	b.must(err)
	want := []*projections.Document{}
	for _, n := range []struct {
		key string
		n   int
	}{{"b", 12}, {"a", 0}, {"", 0}, {"a", 1}, {"a", 0}, {"a", 2}, {"", 0}} {
		d := document(n.key, n.n, 2)
		want = append(want, &d)
	}
	for i, d := range docs {
		if want[i].Key == "" {
			if d != nil {
				t.Errorf("document %d is %v, want none", i, d)
			}
			continue
		}
		sameDocument(t, d, want[i])
	}
	if docs, err = b.Store.Load(b.ctx, b.g, b.def, nil); err != nil || len(docs) != 0 {
		t.Errorf("Load of nothing returned %v, %v", docs, err)
	}
}

func testLoadDamaged(t *testing.T, open func(t *testing.T) Subject) {
	ref := projections.Ref{Key: "a"}
	for name, damage := range map[string]func(b *bench){
		"lacks a field":         func(b *bench) { b.Tamper.DropField(b.t, b.g, ref, "count") },
		"lacks an empty field":  func(b *bench) { b.Tamper.DropField(b.t, b.g, ref, "name") },
		"has one too many":      func(b *bench) { b.Tamper.SetField(b.t, b.g, ref, "other", "x") },
		"lacks its position":    func(b *bench) { b.Tamper.DropField(b.t, b.g, ref, fieldAt) },
		"lacks its digest":      func(b *bench) { b.Tamper.DropField(b.t, b.g, ref, fieldDigest) },
		"has a digest of words": func(b *bench) { b.Tamper.SetField(b.t, b.g, ref, fieldDigest, "words") },
		"has one renamed": func(b *bench) {
			b.Tamper.DropField(b.t, b.g, ref, "late")
			b.Tamper.SetField(b.t, b.g, ref, "Late", "true")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, open, 1)
			b.create(1)
			d := document("a", 1, 2)
			d.Values[0] = ""
			b.must(b.apply(0, 1, 2, writes(seal(d))...))
			damage(b)
			_, got, err := b.Store.Get(b.ctx, b.g, b.def, ref)
			b.must(err)
			_, page, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", 10)
			b.must(err)
			if len(page) != 1 {
				t.Fatalf("the page has %d documents, want the damaged one", len(page))
			}
			for _, d := range []*projections.Document{b.load(0, "a")[0], got, &page[0]} {
				if d == nil || d.Key != "a" || d.Values != nil {
					t.Errorf("the damaged document is %+v, want one without values", d)
				}
			}
		})
	}
}

func testLoadOtherDefinition(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
	more, fewer := *b.def, *b.def
	more.Fields = append(more.Fields[:3:3], projections.Field{Name: "more", Kind: projections.KindInt})
	fewer.Fields = fewer.Fields[:2]
	for _, def := range []*projections.Definition{&more, &fewer} {
		docs, err := b.Store.Load(b.ctx, b.g, def, []projections.Ref{{Key: "a"}})
		b.must(err)
		if d := docs[0]; d == nil || d.Values != nil {
			t.Errorf("read with %d fields, the document is %+v, want one without values", len(def.Fields), d)
		}
	}
}

func testLoadEdited(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	d := document("a", 1, 2)
	b.must(b.apply(0, 1, 2, writes(d)...))
	b.Tamper.SetField(t, b.g, projections.Ref{Key: "a"}, "count", "9000")
	d.Values[1] = "9000"
	b.wantStored(0, d)
	if projections.NewHasher(b.def).Stored(b.load(0, "a")[0]) == d.Digest {
		t.Error("the digest does not tell the edit")
	}
}

func testLoadWrongType(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	ref := projections.Ref{Key: "a"}
	b.Tamper.SpoilKey(t, b.g, ref)
	_, err := b.Store.Load(b.ctx, b.g, b.def, []projections.Ref{{Key: "b"}, ref})
	b.wantCode(err, projections.ErrWrongType)
	_, _, err = b.Store.Get(b.ctx, b.g, b.def, ref)
	b.wantCode(err, projections.ErrWrongType)
}

func testGet(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))

	h, d, err := b.Store.Get(b.ctx, b.g, b.def, projections.Ref{Key: "a"})
	b.must(err)
	sameHeader(t, h, header(0, 2, 1))
	want := document("a", 1, 2)
	sameDocument(t, d, &want)

	h, d, err = b.Store.Get(b.ctx, b.g, b.def, projections.Ref{Key: "none"})
	if err != nil || d != nil || h.State != projections.Live {
		t.Fatalf("Get of a missing document returned %+v, %v, %v", h, d, err)
	}
	b.Tamper.LoseHeader(t, b.g, 0)
	for _, ref := range []projections.Ref{{Partition: 1, Key: "a"}, {Partition: 0, Key: "a"}} {
		h, d, err = b.Store.Get(b.ctx, b.g, b.def, ref)
		if err != nil || d != nil || h.State != projections.Absent || h.Partition != ref.Partition {
			t.Fatalf("Get from an absent partition returned %+v, %v, %v", h, d, err)
		}
	}
	if errors.Is(err, projections.ErrNoDocument) {
		t.Fatal("Get of an absent partition says that there is no document")
	}
}
