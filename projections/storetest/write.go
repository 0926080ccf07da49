package storetest

import (
	"fmt"
	"strings"
	"testing"

	"tidemark.dev/projections"
)

func writeTests() []subtest {
	return []subtest{
		{"every key comes back as it was written", testKeysRoundTrip},
		{"every value comes back as it was written", testValuesRoundTrip},
		{"a parked document says why, and stops saying it", testParked},
		{"a removed document is gone from the index too", testRemove},
		{"a write without create lists a document that was not there", testWriteUnlisted},
		{"create over a document that is there replaces it", testCreateOver},
		{"a write puts right whatever fields a document has", testWriteIsAbsolute},
		{"a key can be removed and created again", testRemoveThenCreate},
	}
}

func testKeysRoundTrip(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	var docs []projections.Document
	for i, k := range nastyKeys() {
		docs = append(docs, document(k, i, 2))
	}
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	b.wantStored(0, docs...)
	for i := range docs {
		_, d, err := b.Store.Get(b.ctx, b.g, b.def, projections.Ref{Key: docs[i].Key})
		b.must(err)
		sameDocument(t, d, &docs[i])
	}
}

func testValuesRoundTrip(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	var docs []projections.Document
	for i, v := range append(nastyKeys(), "", "9223372036854775807", "-9223372036854775808", strings.Repeat("v", 1<<20), "\xff\xfe") {
		d := document(fmt.Sprint("k", i), i, 2)
		d.Values[0] = v
		docs = append(docs, seal(d))
	}
	empty := seal(projections.Document{Key: "empty", Values: []string{"", "", ""}})
	docs = append(docs, empty)
	b.must(b.apply(0, 1, 2, writes(docs...)...))
	b.wantStored(0, docs...)
}

func testParked(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	d := document("a", 1, 2)
	d.Parked = "us.7f3a@1:2: the data of landed cannot be read: \"}{\r\n\x00"
	d = seal(d)
	b.must(b.apply(0, 1, 2, writes(d)...))
	b.wantStored(0, d)
	d.Parked = "another reason"
	d = seal(d)
	b.must(b.apply(0, 2, 3, projections.Write{Document: d}))
	b.wantStored(0, d)
	d.Parked = ""
	d = seal(d)
	b.must(b.apply(0, 3, 4, projections.Write{Document: d}))
	b.wantStored(0, d)
}

func testRemove(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("b", 2, 2))...))
	b.must(b.apply(0, 2, 3, projections.Write{Document: projections.Document{Key: "a"}, Remove: true},
		projections.Write{Document: projections.Document{Key: "never there"}, Remove: true}))
	b.wantStored(0, document("b", 2, 2))
	if d := b.load(0, "a")[0]; d != nil {
		t.Fatalf("the removed document is still there: %v", d)
	}
}

func testWriteUnlisted(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, projections.Write{Document: document("a", 1, 2)}))
	b.wantStored(0, document("a", 1, 2))
}

func testCreateOver(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.Tamper.PutDocument(t, b.g, projections.Ref{Key: "unlisted"}, map[string]string{"name": "old", "other": "x"})
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
	ws := writes(document("a", 2, 3), document("unlisted", 3, 3))
	b.must(b.apply(0, 2, 3, ws...))
	b.wantStored(0, document("a", 2, 3), document("unlisted", 3, 3))
}

func testWriteIsAbsolute(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	ref := func(k string) projections.Ref { return projections.Ref{Key: k} }
	keys := []string{"extra", "lacks", "renamed", "unparked", "parked", "removed"}
	var first, second []projections.Document
	for i, k := range keys {
		first = append(first, document(k, i, 2))
		second = append(second, document(k, -i, 3))
	}
	second[4].Parked = "why"
	second[4] = seal(second[4])
	b.must(b.apply(0, 1, 2, writes(first...)...))
	b.Tamper.SetField(t, b.g, ref("extra"), "other", "x")
	b.Tamper.DropField(t, b.g, ref("lacks"), "count")
	b.Tamper.DropField(t, b.g, ref("renamed"), "count")
	b.Tamper.SetField(t, b.g, ref("renamed"), "Count", "1")
	b.Tamper.SetField(t, b.g, ref("unparked"), "_parked", "by hand")
	b.Tamper.SetField(t, b.g, ref("parked"), "other", "x")
	b.Tamper.RemoveDocument(t, b.g, ref("removed"))
	var ws []projections.Write
	for _, d := range second {
		ws = append(ws, projections.Write{Document: d})
	}
	b.must(b.apply(0, 2, 3, ws...))
	b.wantStored(0, second...)
}

func testRemoveThenCreate(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	gone := projections.Write{Document: projections.Document{Key: "a"}, Remove: true}
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
	b.must(b.apply(0, 2, 3, gone))
	b.wantStored(0)
	b.must(b.apply(0, 3, 4, writes(document("a", 2, 4))...))
	b.wantStored(0, document("a", 2, 4))
}

func testRemovedByHand(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("b", 1, 2))...))
	get := func(key string) *projections.Document {
		t.Helper()
		_, d, err := b.Store.Get(b.ctx, b.g, b.def, projections.Ref{Key: key})
		b.must(err)
		return d
	}
	if d := get("never"); d != nil {
		t.Errorf("Get of a document that does not exist returned %v", d)
	}
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "a"})
	if d := get("a"); d == nil || d.Values != nil {
		t.Errorf("Get of a document that was removed by hand returned %v", d)
	}
	if d := get("b"); d == nil || d.Values == nil {
		t.Errorf("Get of the document beside it returned %v", d)
	}
}
