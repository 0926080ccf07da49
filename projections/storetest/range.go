package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"tidemark.dev/projections"
)

func rangeTests() []subtest {
	return []subtest{
		{"a range begins with its first value and ends before its second", testRange},
		{"a range of the first field of a compound index has all that are equal in it", testRangeOfPrefix},
		{"pages of an index meet without a gap, both ways", testFindPages},
		{"a page of an index begins behind an entry that need not exist", testFindAfter},
		{"an absent partition has no entries and no changes", testFindAbsent},
		{"what is found is at least as new as its header", testFindIsAtomic},
	}
}

// encode returns the value of an index for some of its fields.
func (b *bench) encode(index string, values ...string) string {
	b.t.Helper()
	kinds, err := b.def.IndexKinds(index)
	b.must(err)
	v, err := projections.EncodeIndex(kinds, values...)
	b.must(err)
	return v
}

func keysOf(found []projections.Found) []string {
	keys := []string{}
	for i := range found {
		keys = append(keys, found[i].Key)
	}
	return keys
}

func (b *bench) wantKeys(q projections.IndexQuery, want ...string) {
	b.t.Helper()
	if got := keysOf(b.find(0, q)); !slices.Equal(got, append([]string{}, want...)) {
		b.t.Errorf("%+v found %q, want %q", q, got, want)
	}
}

// numbered stores documents whose counts are -5 to 5, under the keys k-5 to k5, and two of each.
func (b *bench) numbered() (docs []projections.Document) {
	b.t.Helper()
	b.indexed(byCount(), byLateAndCount())
	b.create(1)
	for n := -5; n <= 5; n++ {
		docs = append(docs, document(fmt.Sprint("k", n), n, 2), document(fmt.Sprint("l", n), n, 2))
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	return docs
}

func testRange(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.numbered()
	at := func(n int) string { return b.encode("by_count", strconv.Itoa(n)) }
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{at(-1), at(1), []string{"k-1", "l-1", "k0", "l0"}},
		{at(5), "", []string{"k5", "l5"}},
		{"", at(-4), []string{"k-5", "l-5"}},
		{at(2), projections.IndexAfter(at(2)), []string{"k2", "l2"}},
		{projections.IndexAfter(at(4)), "", []string{"k5", "l5"}},
		{at(3), at(3), nil},
		{at(3), at(-3), nil},
		{at(6), "", nil},
		{"", at(-5), nil},
	} {
		q := projections.IndexQuery{Index: "by_count", From: c.from, To: c.to, Limit: 100}
		b.wantKeys(q, c.want...)
		q.Reverse = true
		reversed := slices.Clone(c.want)
		slices.Reverse(reversed)
		b.wantKeys(q, reversed...)
		if n := b.count(0, "by_count", c.from, c.to); n != uint64(len(c.want)) {
			t.Errorf("from %q to %q there are %d entries, want %d", c.from, c.to, n, len(c.want))
		}
	}
}

func testRangeOfPrefix(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.numbered()
	late := b.encode("by_late_and_count", "true")
	q := projections.IndexQuery{Index: "by_late_and_count", From: late, To: projections.IndexAfter(late), Limit: 100}
	b.wantKeys(q, "k-4", "l-4", "k-2", "l-2", "k0", "l0", "k2", "l2", "k4", "l4")
	q.From = b.encode("by_late_and_count", "true", "1")
	b.wantKeys(q, "k2", "l2", "k4", "l4")
	q.From, q.To = "", late
	b.wantKeys(q, "k-5", "l-5", "k-3", "l-3", "k-1", "l-1", "k1", "l1", "k3", "l3", "k5", "l5")
}

func testFindPages(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	docs := b.numbered()
	for _, reverse := range []bool{false, true} {
		whole := b.find(0, projections.IndexQuery{Index: "by_count", Limit: 100, Reverse: reverse})
		if len(whole) != len(docs) {
			t.Fatalf("the index has %d entries, want %d", len(whole), len(docs))
		}
		for _, limit := range []int{1, 2, 7, 21, 22, 23} {
			q := projections.IndexQuery{Index: "by_count", Limit: limit, Reverse: reverse}
			var got []projections.Found
			for len(got) <= len(whole) {
				page := b.find(0, q)
				if len(page) != min(limit, len(whole)-len(got)) {
					t.Fatalf("a page of %d after %d entries has %d", limit, len(got), len(page))
				}
				if got = append(got, page...); len(page) < limit {
					break
				}
				q.After, q.AfterKey = page[limit-1].Value, page[limit-1].Key
			}
			sameFound(t, got, whole)
		}
	}
	for _, limit := range []int{0, -1} {
		b.wantKeys(projections.IndexQuery{Index: "by_count", Limit: limit})
	}
}

func testFindAfter(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.numbered()
	at := func(n int) string { return b.encode("by_count", strconv.Itoa(n)) }
	for _, c := range []struct {
		q    projections.IndexQuery
		want []string
	}{
		{projections.IndexQuery{From: at(3), After: at(4), AfterKey: "k"}, []string{"k4", "l4"}},
		{projections.IndexQuery{From: at(3), After: at(4), AfterKey: "k4"}, []string{"l4", "k5"}},
		{projections.IndexQuery{From: at(3), After: at(4), AfterKey: "m"}, []string{"k5", "l5"}},
		{projections.IndexQuery{From: at(3), After: at(1), AfterKey: "k"}, []string{"k3", "l3"}}, // it is before the range
		{projections.IndexQuery{To: at(0), After: at(1), AfterKey: "k"}, nil},
		{projections.IndexQuery{From: at(3), After: at(4), AfterKey: "l4", Reverse: true}, []string{"k4", "l3"}},
		{projections.IndexQuery{From: at(3), After: at(4), AfterKey: "k", Reverse: true}, []string{"l3", "k3"}},
		{projections.IndexQuery{To: at(0), After: at(3), AfterKey: "k", Reverse: true}, []string{"l-1", "k-1"}}, // it is behind the range
		{projections.IndexQuery{From: at(3), After: at(3), AfterKey: "k3", Reverse: true}, nil},
		{projections.IndexQuery{After: at(5), AfterKey: "l5"}, nil},
		{projections.IndexQuery{After: at(-5), AfterKey: "k-5", Reverse: true}, nil},
	} {
		c.q.Index, c.q.Limit = "by_count", 2
		b.wantKeys(c.q, c.want...)
	}
}

func testFindAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount())
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.apply(0, 1, 2, b.newDocuments(document("a", 1, 2))...))
	b.Tamper.LoseHeader(t, b.g, 0)
	for p := range 2 {
		h, found, err := b.Store.Find(b.ctx, b.g, b.def, p, projections.IndexQuery{Index: "by_count", Limit: 10})
		if err != nil || h.State != projections.Absent || h.Partition != p || len(found) != 0 {
			t.Errorf("find in an absent partition returned %+v, %v, %v", h, found, err)
		}
		for _, index := range []string{"", "by_count"} {
			h, n, err := b.Store.Count(b.ctx, b.g, b.def, p, index, "", "")
			if err != nil || h.State != projections.Absent || h.Partition != p || n != 0 {
				t.Errorf("count in an absent partition returned %+v, %d, %v", h, n, err)
			}
		}
		h, list, floor, err := b.Store.Changes(b.ctx, b.g, p, 0, 10)
		if err != nil || h.State != projections.Absent || h.Partition != p || len(list) != 0 || floor != 0 {
			t.Errorf("changes of an absent partition are %+v, %v, %d, %v", h, list, floor, err)
		}
	}
}

// Each commit moves both documents to another value. A query that reads entries and documents one after the other may find newer ones, or the value
// that a document has left meanwhile, but never an older one, and none without values.
func testFindIsAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	was := map[string]projections.Document{}
	b.decorate = func(w *projections.Write) {
		is := w.Document
		if old, ok := was[is.Key]; ok {
			w.Unindex = b.entries(&old)
		}
		w.Index = b.entries(&is)
		was[is.Key] = is
	}
	hammer(b, func() error {
		h, found, err := b.Store.Find(b.ctx, b.g, b.def, 0, projections.IndexQuery{Index: "by_count", Limit: 10})
		if err != nil {
			return err
		}
		p, _ := h.Checkpoint.Point("us")
		if len(found) != 2 && p.Sequence != 1 {
			return fmt.Errorf("%d entries at %s", len(found), h.Checkpoint)
		}
		for i := range found {
			var n uint64
			if found[i].Values == nil {
				return fmt.Errorf("the document %q has no values", found[i].Key)
			}
			if _, err := fmt.Sscan(found[i].Values[1], &n); err != nil || n < p.Sequence {
				return fmt.Errorf("a document of %d came with a header of %s", n, h.Checkpoint)
			}
		}
		_, n, err := b.Store.Count(b.ctx, b.g, b.def, 0, "by_count", "", "")
		if err == nil && n != 2 && p.Sequence != 1 {
			err = fmt.Errorf("%d entries were counted after %s", n, h.Checkpoint)
		}
		return err
	})
}
