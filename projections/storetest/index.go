package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/projections"
)

func indexTests() []subtest {
	return []subtest{
		{"an index has each document under its value", testIndexed},
		{"entries move with their documents", testEntriesMove},
		{"a removed document leaves the indexes", testEntriesRemoved},
		{"writing entries again changes nothing", testEntriesAgain},
		{"every value and every key come back from an index", testEntriesRoundTrip},
		{"the index of the parked has what was put into it", testParkedIndex},
		{"the index of those that expire has what was put into it", testExpiryIndex},
		{"sixteen indexes of four fields are kept apart", testManyIndexes},
		{"thousands of entries go into one commit", testThousandsOfEntries},
		{"an index that is not there is named", testUnknownIndex},
		{"an index of another type refuses the whole commit", testIndexWrongType},
		{"a refused commit leaves the indexes alone", testRefusedEntries},
		{"an entry whose document was removed by hand has no values", testEntryLost},
		{"an entry that cannot be read is named", testEntryDamaged},
		{"create and drop remove indexes", testIndexLeftovers},
	}
}

// indexed makes the bench's definition have indexes.
func (b *bench) indexed(indexes ...projections.Index) {
	def := definition()
	def.Indexes = indexes
	b.must(def.Validate())
	b.def = def
}

func byCount() projections.Index {
	return projections.Index{Name: "by_count", Fields: []string{"count"}}
}

func byName() projections.Index {
	return projections.Index{Name: "by_name", Fields: []string{"name"}}
}

func byLateAndCount() projections.Index {
	return projections.Index{Name: "by_late_and_count", Fields: []string{"late", "count"}}
}

// entries returns the entries that the indexes should have of a document.
func (b *bench) entries(d *projections.Document) (list []projections.IndexEntry) {
	b.t.Helper()
	for i, x := range b.def.Indexes {
		value, ok := b.def.IndexValue(x.Name, d)
		if !ok {
			b.t.Fatalf("the document %v cannot be indexed by %s", d, x.Name)
		}
		list = append(list, projections.IndexEntry{Index: i, Value: value})
	}
	if value, ok := b.def.IndexValue(projections.ParkedIndexName, d); ok {
		list = append(list, projections.IndexEntry{Index: projections.ParkedIndex, Value: value})
	}
	if value, ok := b.def.IndexValue(projections.ExpiryIndexName, d); ok {
		list = append(list, projections.IndexEntry{Index: projections.ExpiryIndex, Value: value})
	}
	return list
}

// newDocuments are writes of documents that are not there yet.
func (b *bench) newDocuments(docs ...projections.Document) []projections.Write {
	b.t.Helper()
	ws := writes(docs...)
	for i := range ws {
		ws[i].Index = b.entries(&docs[i])
	}
	return ws
}

// change is the write of a document that was another one, as the engine makes it: what stays is in neither list.
func (b *bench) change(was, is projections.Document) projections.Write {
	b.t.Helper()
	before, now := b.entries(&was), b.entries(&is)
	without := func(list, other []projections.IndexEntry) []projections.IndexEntry {
		return slices.DeleteFunc(slices.Clone(list), func(e projections.IndexEntry) bool { return slices.Contains(other, e) })
	}
	return projections.Write{Document: is, Unindex: without(before, now), Index: without(now, before)}
}

// gone is the write that removes a document.
func (b *bench) gone(was projections.Document) projections.Write {
	b.t.Helper()
	return projections.Write{Document: projections.Document{Key: was.Key}, Remove: true, Unindex: b.entries(&was)}
}

func (b *bench) find(partition int, q projections.IndexQuery) []projections.Found {
	b.t.Helper()
	_, found, err := b.Store.Find(b.ctx, b.g, b.def, partition, q)
	b.must(err)
	return found
}

func (b *bench) count(partition int, index, from, to string) uint64 {
	b.t.Helper()
	_, n, err := b.Store.Count(b.ctx, b.g, b.def, partition, index, from, to)
	b.must(err)
	return n
}

// wantIndexed checks that an index has exactly these documents, in the order of their values, both ways.
func (b *bench) wantIndexed(partition int, index string, docs ...projections.Document) {
	b.t.Helper()
	want := make([]projections.Found, len(docs))
	for i := range docs {
		value, ok := b.def.IndexValue(index, &docs[i])
		if !ok {
			b.t.Fatalf("the document %v has no value in %s", docs[i], index)
		}
		want[i] = projections.Found{Value: value, Document: docs[i]}
	}
	slices.SortFunc(want, byEntry)
	all := projections.IndexQuery{Index: index, Limit: len(docs) + 10}
	sameFound(b.t, b.find(partition, all), want)
	all.Reverse = true
	slices.Reverse(want)
	sameFound(b.t, b.find(partition, all), want)
	all.Bare = true
	for i := range want {
		want[i].Document = projections.Document{Key: want[i].Key}
	}
	sameFound(b.t, b.find(partition, all), want)
	if n := b.count(partition, index, "", ""); n != uint64(len(docs)) {
		b.t.Fatalf("the index %s counts %d entries, want %d", index, n, len(docs))
	}
}

func byEntry(x, y projections.Found) int { return strings.Compare(x.Value+x.Key, y.Value+y.Key) }

func sameFound(t testing.TB, got, want []projections.Found) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d entries were found, want %d:\n%.1000q", len(got), len(want), got)
	}
	for i := range want {
		if got[i].Value != want[i].Value {
			t.Fatalf("entry %d is %.100q of %.80q, want %.100q of %.80q", i, got[i].Value, got[i].Key, want[i].Value, want[i].Key)
		}
		sameDocument(t, &got[i].Document, &want[i].Document)
	}
}

func testIndexed(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount(), byName(), byLateAndCount())
	b.create(1)
	b.wantIndexed(0, "by_count")
	docs := []projections.Document{document("b", 2, 2), document("a", 2, 2), document("c", -10, 2), document("d", 100, 2), document("e", 9, 2)}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	for _, index := range []string{"by_count", "by_name", "by_late_and_count"} {
		b.wantIndexed(0, index, docs...)
		b.wantIndexed(1, index)
	}
	h, found, err := b.Store.Find(b.ctx, b.g, b.def, 0, projections.IndexQuery{Index: "by_count", Limit: 10})
	b.must(err)
	sameHeader(t, h, header(0, 2, 5))
	var keys string
	for _, f := range found {
		keys += f.Key
	}
	if keys != "cabed" {
		t.Errorf("by count the keys are %s, want c a b e d", keys)
	}
	h, n, err := b.Store.Count(b.ctx, b.g, b.def, 0, "by_count", "", "")
	b.must(err)
	sameHeader(t, h, header(0, 2, 5))
	if n != 5 || b.count(0, "", "", "") != 5 || b.count(1, "", "", "") != 0 {
		t.Errorf("there are %d entries and %d documents, want 5", n, b.count(0, "", "", ""))
	}
}

func testEntriesMove(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount(), byName())
	b.create(1)
	a, other := document("a", 1, 2), document("b", 5, 2)
	b.must(b.apply(0, 1, 2, b.newDocuments(a, other)...))
	moved := document("a", 7, 3)
	moved.Values[0] = a.Values[0] // one of its values stays
	moved = seal(moved)
	w := b.change(a, moved)
	if len(w.Unindex) != 1 || len(w.Index) != 1 {
		t.Fatalf("the change moves %v to %v", w.Unindex, w.Index)
	}
	b.must(b.apply(0, 2, 3, w))
	b.wantIndexed(0, "by_count", other, moved)
	b.wantIndexed(0, "by_name", other, moved)
	same := moved
	same.At = position(4).String()
	same = seal(same)
	b.must(b.apply(0, 3, 4, b.change(moved, same)))
	b.wantIndexed(0, "by_count", other, same)
}

func testEntriesRemoved(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount(), byName())
	b.create(1)
	docs := []projections.Document{document("a", 1, 2), document("b", 1, 2), document("c", 2, 2)}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	b.must(b.apply(0, 2, 3, b.gone(docs[0]), b.gone(docs[2])))
	b.wantIndexed(0, "by_count", docs[1])
	b.wantIndexed(0, "by_name", docs[1])
	b.must(b.apply(0, 3, 4, b.gone(docs[1])))
	b.wantIndexed(0, "by_count")
	again := document("a", 8, 5)
	b.must(b.apply(0, 4, 5, b.newDocuments(again)...))
	b.wantIndexed(0, "by_count", again)
}

// What a commit finds that is executed again after the checkpoint went back and nothing else did.
func testEntriesAgain(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount(), byName())
	b.create(1)
	a, gone := document("a", 1, 2), document("gone", 1, 2)
	b.must(b.apply(0, 1, 2, b.newDocuments(a, gone)...))
	ws := append(b.newDocuments(document("new", 5, 3)), b.change(a, document("a", 3, 3)), b.gone(gone))
	for range 3 {
		b.must(b.apply(0, 2, 3, ws...))
		b.wantIndexed(0, "by_count", document("new", 5, 3), document("a", 3, 3))
		b.wantIndexed(0, "by_name", document("new", 5, 3), document("a", 3, 3))
		b.must(b.apply(0, 3, 2))
	}
}

func testEntriesRoundTrip(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byName(), projections.Index{Name: "all", Fields: []string{"late", "name", "count"}})
	b.create(1)
	keys := nastyKeys()
	values := append(nastyKeys(), "", "9223372036854775807", strings.Repeat("v", 1_024), strings.Repeat("v", 1_025), strings.Repeat("v", 1_024)+"w",
		strings.Repeat("\x00", 1_024), "\xff\xfe", "\x00\x01", "\x00\x02", "\x00\xff")
	var docs []projections.Document
	for i := range max(len(keys), len(values)) {
		d := document(keys[i%len(keys)]+strings.Repeat("x", i/len(keys)), i, 2)
		d.Values[0] = values[i%len(values)]
		if i%3 == 0 {
			d.Values[1] = "-9223372036854775808"
		}
		docs = append(docs, seal(d))
	}
	for i := range docs {
		if len(docs[i].Key) > projections.MaxKeyBytes {
			docs = docs[:i]
			break
		}
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	b.wantIndexed(0, "by_name", docs...)
	b.wantIndexed(0, "all", docs...)
}

func testParkedIndex(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	parked := document("a", 1, 2)
	parked.Parked = "us.7f3a@1:2 it cannot be read"
	parked = seal(parked)
	later := document("b", 1, 2)
	later.Parked = "us.7f3a@1:10"
	later = seal(later)
	b.must(b.apply(0, 1, 20, b.newDocuments(later, parked, document("c", 1, 2))...))
	b.wantIndexed(0, projections.ParkedIndexName, parked, later)
	b.must(b.apply(0, 20, 21, b.change(parked, document("a", 2, 21))))
	b.wantIndexed(0, projections.ParkedIndexName, later)
	b.must(b.apply(0, 21, 22, b.gone(later)))
	b.wantIndexed(0, projections.ParkedIndexName)
}

func testExpiryIndex(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	until := func(key, name string) projections.Document { // the field name of the documents says when they expire
		d := document(key, 1, 2)
		for i, f := range b.def.Fields {
			if f.Name == "name" {
				d.Values[i] = name
			}
		}
		return seal(d)
	}
	def := *b.def
	def.Expires = "name"
	b.def = &def
	b.create(1)
	soon, late, never := until("b", "2001-01-01T00:00:00.000000000Z"), until("a", "2001-01-01T00:00:00.000000001Z"), until("c", "")
	parked := until("d", "2001-01-01T00:00:00.000000000Z")
	parked.Parked = "us.7f3a@1:2"
	parked = seal(parked)
	b.must(b.apply(0, 1, 20, b.newDocuments(late, soon, never, parked)...))
	b.wantIndexed(0, projections.ExpiryIndexName, soon, late)
	b.must(b.apply(0, 20, 21, b.change(never, until("c", "2000-01-01T00:00:00.000000000Z")), b.change(late, until("a", ""))))
	b.wantIndexed(0, projections.ExpiryIndexName, until("c", "2000-01-01T00:00:00.000000000Z"), soon)
	b.must(b.apply(0, 21, 22, b.gone(soon)))
	b.wantIndexed(0, projections.ExpiryIndexName, until("c", "2000-01-01T00:00:00.000000000Z"))
}

func testManyIndexes(t *testing.T, open func(t *testing.T) Subject) {
	def := &projections.Definition{Name: "flights", Version: 1, Handles: definition().Handles}
	for i := range 8 {
		def.Fields = append(def.Fields, projections.Field{Name: fmt.Sprint("f", i), Kind: projections.KindInt})
	}
	for i := range projections.MaxIndexes {
		x := projections.Index{Name: fmt.Sprint("x", i)}
		for j := range projections.MaxIndexFields {
			x.Fields = append(x.Fields, fmt.Sprint("f", (i+j*(1+i/8))%8))
		}
		def.Indexes = append(def.Indexes, x)
	}
	b := newBench(t, open, 1)
	b.def = def
	b.must(def.Validate())
	b.create(1)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // any documents will do
	docs := make([]projections.Document, 20)
	for i := range docs {
		docs[i] = projections.Document{Key: fmt.Sprint("k", i), At: position(2).String()}
		for range def.Fields {
			docs[i].Values = append(docs[i].Values, fmt.Sprint(random.IntN(5)-2))
		}
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	for _, x := range def.Indexes {
		b.wantIndexed(0, x.Name, docs...)
	}
}

func testThousandsOfEntries(t *testing.T, open func(t *testing.T) Subject) {
	const many = 6_000 // more than Lua unpacks at once
	b := newBench(t, open, 1)
	b.indexed(byCount(), byLateAndCount())
	b.create(1)
	docs := make([]projections.Document, many)
	for i := range docs {
		docs[i] = document(fmt.Sprintf("k%06d", i), i, 2)
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	var ws []projections.Write
	var want []projections.Document
	for i, d := range docs {
		if i%3 == 0 {
			ws = append(ws, b.gone(d))
			continue
		}
		want = append(want, document(d.Key, -i, 3))
		ws = append(ws, b.change(d, want[len(want)-1]))
	}
	b.must(b.apply(0, 2, 3, ws...))
	b.wantIndexed(0, "by_count", want...)
	b.wantIndexed(0, "by_late_and_count", want...)
}

func testUnknownIndex(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	for _, index := range []string{"by_name", "count", "_at", "by_count\x00", "*", ""} {
		_, _, err := b.Store.Find(b.ctx, b.g, b.def, 0, projections.IndexQuery{Index: index, Limit: 1})
		b.wantCode(err, projections.ErrUnknownIndex)
		if index != "" {
			_, _, err = b.Store.Count(b.ctx, b.g, b.def, 0, index, "", "")
			b.wantCode(err, projections.ErrUnknownIndex)
		}
	}
	for _, index := range []int{1, 15, 16, 1 << 20, projections.FirstIndex - 1, -1 << 20} {
		w := projections.Write{Document: document("a", 1, 2), Index: []projections.IndexEntry{{Index: index, Value: "1"}}}
		b.wantCode(b.apply(0, 1, 2, w), projections.ErrUnknownIndex)
		w.Index, w.Unindex = nil, w.Index
		b.wantCode(b.apply(0, 1, 2, w), projections.ErrUnknownIndex)
	}
	b.wantHeader(header(0, 1, 0))
	b.wantStored(0)
}

func testIndexWrongType(t *testing.T, open func(t *testing.T) Subject) {
	for name, write := range map[string]func(b *bench, was projections.Document) projections.Write{
		"an entry comes": func(b *bench, _ projections.Document) projections.Write {
			return b.newDocuments(document("b", 1, 3))[0]
		},
		"an entry moves": func(b *bench, was projections.Document) projections.Write { return b.change(was, document("a", 2, 3)) },
		"an entry goes":  func(b *bench, was projections.Document) projections.Write { return b.gone(was) },
	} {
		for i, index := range []string{"by_count", "by_name"} {
			t.Run(fmt.Sprint(name, " ", i), func(t *testing.T) {
				b := newBench(t, open, 1)
				b.indexed(byCount(), byName())
				b.create(1)
				was := document("a", 1, 2)
				b.must(b.apply(0, 1, 2, b.newDocuments(was)...))
				b.Tamper.SpoilIndex(t, b.g, 0, index)
				err := b.apply(0, 2, 3, b.newDocuments(document("other", 1, 3))[0], write(b, was))
				b.wantCode(err, projections.ErrWrongType)
				wantInText(t, err, index)
				b.wantHeader(header(0, 2, 1))
				b.wantStored(0, was)
				b.wantIndexed(0, []string{"by_name", "by_count"}[i], was)
				b.wantChanges(0, 1, changed(2, "a")...)
				_, _, err = b.Store.Find(b.ctx, b.g, b.def, 0, projections.IndexQuery{Index: index, Limit: 1})
				b.wantCode(err, projections.ErrWrongType)
				_, _, err = b.Store.Count(b.ctx, b.g, b.def, 0, index, "", "")
				b.wantCode(err, projections.ErrWrongType)
				b.must(b.apply(0, 2, 3)) // a commit that does not touch it is none of its business
			})
		}
	}
}

func testRefusedEntries(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	a := document("a", 1, 2)
	b.must(b.apply(0, 1, 2, b.newDocuments(a)...))
	b.wantCode(b.apply(0, 1, 3, b.change(a, document("a", 2, 3))), projections.ErrMoved)
	c := b.commit(0, 2, 3, b.gone(a))
	c.Next.Owner++
	b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{c})[0], projections.ErrFenced)
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "zz"})
	b.wantCode(b.apply(0, 2, 3, b.change(a, document("a", 2, 3)), b.newDocuments(document("zz", 1, 3))[0]), projections.ErrWrongType)
	b.wantIndexed(0, "by_count", a)
}

func testEntryLost(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	docs := []projections.Document{document("a", 1, 2), document("b", 2, 2), document("c", 3, 2)}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "b"})
	value, _ := b.def.IndexValue("by_count", &docs[0])
	b.Tamper.PutEntry(t, b.g, 0, "by_count", value+"spoilt")
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "spoilt"})
	b.Tamper.PutEntry(t, b.g, 0, "by_count", value+"never")
	b.Tamper.DropEntry(t, b.g, 0, "by_count", b.entries(&docs[2])[0].Value+"c")
	found := b.find(0, projections.IndexQuery{Index: "by_count", Limit: 10})
	if len(found) != 4 || found[0].Key != "a" || found[1].Key != "never" || found[2].Key != "spoilt" || found[3].Key != "b" {
		t.Fatalf("found %q, want a, never, spoilt and b", found)
	}
	if found[0].Values == nil || found[1].Values != nil || found[2].Values != nil || found[3].Values != nil {
		t.Fatalf("found %+v, want never, spoilt and b without values", found)
	}
	bare := b.find(0, projections.IndexQuery{Index: "by_count", Limit: 10, Bare: true})
	if len(bare) != 4 || bare[0].Key != "a" || bare[1].Key != "never" || bare[2].Key != "spoilt" || bare[3].Key != "b" {
		t.Fatalf("found %q without the documents, want a, never, spoilt and b", bare)
	}
	if n := b.count(0, "by_count", "", ""); n != 4 {
		t.Errorf("the index counts %d entries, want the 4 that are there", n)
	}
}

func testEntryDamaged(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	b.must(b.apply(0, 1, 2, b.newDocuments(document("a", 1, 2))...))
	b.Tamper.PutEntry(t, b.g, 0, "by_count", "p12 written by hand")
	_, _, err := b.Store.Find(b.ctx, b.g, b.def, 0, projections.IndexQuery{Index: "by_count", Limit: 10})
	b.wantCode(err, projections.ErrDocumentDamaged)
	wantInText(t, err, "by_count", "p12 written by hand")
	bare := b.find(0, projections.IndexQuery{Index: "by_count", Limit: 10, Bare: true})
	if len(bare) != 2 || bare[0].Key != "a" || bare[1].Value != "p12 written by hand" || bare[1].Key != "" {
		t.Fatalf("found %q without the documents, want a, and the entry that cannot be read", bare)
	}
}

func testIndexLeftovers(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount(), byName())
	for range 2 {
		b.create(1)
		parked := document("b", 2, 2)
		parked.Parked = "us.7f3a@1:2"
		docs := []projections.Document{document("a", 1, 2), seal(parked)}
		for p := range 2 {
			b.must(b.apply(p, 1, 2, b.newDocuments(docs...)...))
		}
		b.Tamper.LoseHeader(t, b.g, 0)
		b.must(b.Store.Create(b.ctx, b.g, header(0, 5, 0)))
		for _, index := range []string{"by_count", "by_name", projections.ParkedIndexName} {
			b.wantIndexed(0, index)
		}
		b.wantChanges(0, 5)
		b.wantIndexed(1, "by_count", docs...)
		b.wantChanges(1, 1, changed(2, "a", "b")...)
		b.must(b.Store.Drop(b.ctx, b.g))
		h, found, err := b.Store.Find(b.ctx, b.g, b.def, 1, projections.IndexQuery{Index: "by_count", Limit: 10})
		if err != nil || h.State != projections.Absent || found != nil {
			t.Fatalf("after a drop the index has %v, %v, %v", h, found, err)
		}
		b.Tamper.PutEntry(t, b.g, 1, "by_name", "x")
	}
}
