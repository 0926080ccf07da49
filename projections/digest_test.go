package projections_test

import (
	"math/rand/v2"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
)

func TestPartitionsAreFrozen(t *testing.T) {
	for key, want := range map[string]int{"ORD": 0, "JFK": 14, "ORD-JFK": 8, "a": 12, "é": 1} {
		if got := projections.PartitionOf(key, 16); got != want {
			t.Errorf("%q is in partition %d, frozen as %d", key, got, want)
		}
	}
}

func TestTheDigestOfADocumentIsFrozen(t *testing.T) {
	airports, err := flights.Airports()
	if err != nil {
		t.Fatal(err)
	}
	h := projections.NewHasher(airports.Definition())
	const want = "2c210605e3949289d5691d1a2ea7f7cd"
	got := h.Document("ORD", "us.7f3a11d2@1:1042", "", []string{"1", "2", "-3", "4", "5", "2001/01/01 00:47"})
	if got.String() != want {
		t.Errorf("got %s, frozen as %s", got, want)
	}
}

func TestTheDigestOfListsAndSetsIsFrozen(t *testing.T) {
	seen := map[projections.Digest]projections.Kind{}
	for kind, want := range map[projections.Kind]string{
		projections.KindInt: "320c31f7b51aa3319d0d8af180c41cf6", projections.KindString: "45c85ca583248f269907fbf913622976",
		projections.KindBool: "c5b014bde834353aaa7ad4adc291449b", projections.KindList: "e7953d00139666d33c0957eb3d6582ee",
		projections.KindSet: "cbc23026402b46a5f8368478f5d4e301",
	} {
		h := projections.NewHasher(&projections.Definition{Fields: []projections.Field{{Name: "a", Kind: kind}}})
		got := h.Document("ORD", "us.7f3a11d2@1:1042", "", []string{`[1,"b"]`})
		if got.String() != want {
			t.Errorf("of kind %s it is %s, frozen as %s", kind, got, want)
		}
		if other, twice := seen[got]; twice {
			t.Errorf("kinds %s and %s have the same", kind, other)
		}
		seen[got] = kind
	}
}

func TestEverythingOfADocumentIsInItsDigest(t *testing.T) {
	def := &projections.Definition{Fields: []projections.Field{{Name: "b", Kind: projections.KindInt}, {Name: "a", Kind: projections.KindString}}}
	base := projections.NewHasher(def).Document("k", "p", "", []string{"1", "x"})
	other := &projections.Definition{Fields: []projections.Field{{Name: "b", Kind: projections.KindString}, {Name: "a", Kind: projections.KindString}}}
	h := projections.NewHasher(def)
	for what, d := range map[string]projections.Digest{
		"key": h.Document("l", "p", "", []string{"1", "x"}), "version": h.Document("k", "q", "", []string{"1", "x"}),
		"parked": h.Document("k", "p", "us.7f3a@1:9 reason", []string{"1", "x"}), "value": h.Document("k", "p", "", []string{"2", "x"}),
		"swapped": h.Document("k", "p", "", []string{"x", "1"}), "moved byte": h.Document("kp", "", "", []string{"1", "x"}),
		"kind": projections.NewHasher(other).Document("k", "p", "", []string{"1", "x"}),
	} {
		if d == base {
			t.Errorf("a change of %s does not change the digest", what)
		}
	}
	a, b := h.Document("k", "p", "us.7f3a@1:9 one wording", []string{"1", "x"}), h.Document("k", "p", "us.7f3a@1:9 another", []string{"1", "x"})
	if a != b {
		t.Error("the wording of a reason changes the digest")
	}
	sorted := &projections.Definition{Fields: []projections.Field{def.Fields[1], def.Fields[0]}}
	if projections.NewHasher(sorted).Document("k", "p", "", []string{"x", "1"}) != base {
		t.Error("the order of the fields changes the digest")
	}
}

func TestSumsOfDigestsDependOnTheSetAlone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	def := &projections.Definition{Fields: []projections.Field{{Name: "a", Kind: projections.KindString}}}
	h := projections.NewHasher(def)
	var list []projections.Digest
	for i := range 200 {
		list = append(list, h.Document(string(rune('a'+i)), "p", "", []string{"x"}))
	}
	sum := func() (d projections.Digest) {
		for _, e := range list {
			d = d.Add(e)
		}
		return d
	}
	want := sum()
	for range 20 {
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if sum() != want {
			t.Fatal("the order matters")
		}
	}
	back := want
	for _, e := range list {
		back = back.Sub(e)
	}
	if back != (projections.Digest{}) {
		t.Errorf("taking everything out leaves %s", back)
	}
	if list[0].Add(list[0]) == (projections.Digest{}) {
		t.Error("a document counted twice cancels out")
	}
	if got, ok := projections.ParseDigest(want.String()); !ok || got != want {
		t.Errorf("%s is read back as %s", want, got)
	}
	for _, bad := range []string{"", "xyz", want.String()[:31], want.String() + "0"} {
		if _, ok := projections.ParseDigest(bad); ok {
			t.Errorf("%q was read as a digest", bad)
		}
	}
}

func TestASumHasNoPositionUnlessAllPartitionsAgree(t *testing.T) {
	at := func(seq uint64) events.Position {
		return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: seq})
	}
	headers := []projections.Header{{Checkpoint: at(5), Documents: 2}, {Checkpoint: at(5), Documents: 3}}
	if _, n, p := projections.Sum(headers); n != 5 || !p.Equal(at(5)) {
		t.Errorf("got %d documents at %s", n, p)
	}
	headers[1].Checkpoint = at(6)
	if _, n, p := projections.Sum(headers); n != 5 || !p.IsZero() {
		t.Errorf("got %d documents at %s", n, p)
	}
}
