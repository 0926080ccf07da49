package storetest

import (
	"fmt"
	"slices"
	"testing"

	"tidemark.dev/projections"
)

func memberTests() []subtest {
	return []subtest{
		{"members are what is stored, readable or not", testMembers},
		{"pages of members meet without a gap", testMembersPaged},
		{"members of an absent partition, and of an index that is not there or of another type", testMembersRefused},
		{"members are of one step", testMembersAreAtomic},
	}
}

func (b *bench) wantMembers(partition int, index string, want ...string) {
	b.t.Helper()
	h, got, err := b.Store.Members(b.ctx, b.g, b.def, partition, index, "", len(want)+10)
	b.must(err)
	sameHeader(b.t, h, b.header(partition))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		b.t.Fatalf("the members of %q are\n%.1000q, want\n%.1000q", index, got, want)
	}
}

func testMembers(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount(), byName())
	b.create(1)
	docs := []projections.Document{document("a", 1, 2), document("b", 2, 2), document("c", 3, 2), document("d", 4, 2)}
	docs[3].Parked = "us.7f3a@1:2 it cannot be read"
	docs[3] = seal(docs[3])
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	entry := func(i, index int) string { return b.entries(&docs[i])[index].Value + docs[i].Key }
	b.wantMembers(0, "", "a", "b", "c", "d")
	b.wantMembers(0, "by_count", entry(0, 0), entry(1, 0), entry(2, 0), entry(3, 0))
	b.wantMembers(0, projections.ParkedIndexName, entry(3, 2))
	b.wantMembers(0, projections.ExpiryIndexName)
	b.wantMembers(1, "")
	b.wantMembers(1, "by_name")

	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "a"})
	b.Tamper.DropField(t, b.g, projections.Ref{Key: "b"}, "name")
	b.Tamper.Unlist(t, b.g, projections.Ref{Key: "c"})
	b.Tamper.RemoveDocument(t, b.g, projections.Ref{Key: "d"})
	b.Tamper.SpoilKey(t, b.g, projections.Ref{Key: "d"})
	b.Tamper.PutEntry(t, b.g, 0, "by_count", "p12 written by hand")
	b.Tamper.DropEntry(t, b.g, 0, "by_count", entry(1, 0))
	b.wantMembers(0, "", "a", "b", "d")
	b.wantMembers(0, "by_count", entry(0, 0), "p12 written by hand", entry(2, 0), entry(3, 0))
	b.must(b.apply(0, 2, 2, projections.Write{ // what cannot be read can go: with the document that has no key, which there never is
		Remove: true, Unindex: []projections.IndexEntry{{Value: "p12 written by hand"}},
	}))
	b.wantMembers(0, "by_count", entry(0, 0), entry(2, 0), entry(3, 0))
}

func testMembersPaged(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byName())
	b.create(1)
	var keys, entries []string
	var docs []projections.Document
	for i, k := range append(nastyKeys(), "k1", "K2", "k3") {
		docs = append(docs, document(k, i, 2))
		keys, entries = append(keys, k), append(entries, b.entries(&docs[i])[0].Value+k)
	}
	b.must(b.apply(0, 1, 2, b.newDocuments(docs...)...))
	slices.Sort(keys)
	slices.Sort(entries)
	for index, want := range map[string][]string{"": keys, "by_name": entries} {
		for _, limit := range []int{1, 2, 3, len(want) - 1, len(want), len(want) + 1} {
			var got []string
			for after := ""; ; after = got[len(got)-1] {
				_, page, err := b.Store.Members(b.ctx, b.g, b.def, 0, index, after, limit)
				b.must(err)
				if len(page) > limit || len(got) > len(want) {
					t.Fatalf("a page of %d members was asked for, and has %d; before there were %d", limit, len(page), len(got))
				}
				if got = append(got, page...); len(page) < limit {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("in pages of %d the members are\n%.1000q, want\n%.1000q", limit, got, want)
			}
		}
		for _, limit := range []int{0, -1} {
			if _, page, err := b.Store.Members(b.ctx, b.g, b.def, 0, index, "", limit); err != nil || len(page) != 0 {
				t.Errorf("with a limit of %d there are %d members, %v", limit, len(page), err)
			}
		}
	}
}

func testMembersRefused(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.indexed(byCount())
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.apply(0, 1, 2, b.newDocuments(document("a", 1, 2))...))
	for _, index := range []string{"by_name", "count", "by_count\x00", "*"} {
		_, _, err := b.Store.Members(b.ctx, b.g, b.def, 0, index, "", 1)
		b.wantCode(err, projections.ErrUnknownIndex)
	}
	b.Tamper.LoseHeader(t, b.g, 0)
	for p := range 2 {
		for _, index := range []string{"", "by_count"} {
			h, got, err := b.Store.Members(b.ctx, b.g, b.def, p, index, "", 10)
			b.must(err)
			sameHeader(t, h, projections.Header{Partition: p})
			if got != nil {
				t.Errorf("an absent partition has the members %q", got)
			}
		}
	}
	b.must(b.Store.Create(b.ctx, b.g, header(1, 1, 0)))
	b.Tamper.SpoilIndex(t, b.g, 1, "by_count")
	_, _, err := b.Store.Members(b.ctx, b.g, b.def, 1, "by_count", "", 10)
	b.wantCode(err, projections.ErrWrongType)
	wantInText(t, err, "by_count")
}

func testMembersAreAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.indexed(byCount())
	b.create(1)
	b.decorate = func(w *projections.Write) { // documents and entries pile up
		value, _ := b.def.IndexValue("by_count", &w.Document)
		w.Index = []projections.IndexEntry{{Value: value}}
		w.Key += fmt.Sprint(" ", w.Values[1])
		w.Create = true
	}
	hammer(b, func() error {
		for _, index := range []string{"", "by_count"} {
			h, got, err := b.Store.Members(b.ctx, b.g, b.def, 0, index, "", 10_000)
			if err != nil {
				return err
			}
			if p, _ := h.Checkpoint.Point("us"); uint64(len(got)) != 2*(p.Sequence-1) {
				return fmt.Errorf("at %s %q has %d members", h.Checkpoint, index, len(got))
			}
		}
		return nil
	})
}
