package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

const (
	ours   = Lineage("7f3a09c1")
	theirs = Lineage("deadbeef")
)

// failedOver is an origin whose second term began at 100 and whose fourth at 200; of the third nothing was ever copied.
func failedOver() Histories {
	return Histories{"us": {Lineage: ours, Starts: []uint64{1, 100, 200, 200}}, "eu": NewTerms("09c1")}
}

func position(t testing.TB, s string) Position {
	t.Helper()
	p, err := ParsePosition(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want Coverage
		why  string
	}{
		{"us.7f3a09c1@1:50", "us.7f3a09c1@1:50", Yes, "the same"},
		{"us.7f3a09c1@1:51", "us.7f3a09c1@1:50", Yes, "later in one term"},
		{"us.7f3a09c1@1:49", "us.7f3a09c1@1:50", No, "not there yet"},
		{"us.7f3a09c1@2:100", "us.7f3a09c1@1:99", Yes, "the term before, up to its end"},
		{"us.7f3a09c1@2:100", "us.7f3a09c1@1:100", Lost, "the first record of the tail that the failover left"},
		{"us.7f3a09c1@2:150", "us.7f3a09c1@1:105", Lost, "the lost tail, though its sequence is smaller"},
		{"us.7f3a09c1@1:105", "us.7f3a09c1@1:50", Lost, "what stands in a lost tail cannot answer"},
		{"us.7f3a09c1@1:105", "us.7f3a09c1@1:105", Lost, "nor for itself"},
		{"us.7f3a09c1@1:99", "us.7f3a09c1@2:100", No, "the next term, not there yet"},
		{"us.7f3a09c1@4:200", "us.7f3a09c1@2:199", Yes, "two terms later"},
		{"us.7f3a09c1@4:200", "us.7f3a09c1@2:200", Lost, "the tail of the second term"},
		{"us.7f3a09c1@4:250", "us.7f3a09c1@3:200", Lost, "a term of which nothing is left"},
		{"us.7f3a09c1@4:250", "us.7f3a09c1@2:50", Lost, "a sequence before its term began: never given out"},
		{"us.7f3a09c1@4:250", "us.7f3a09c1@4:900", No, "the future of the current term"},
		{"us.7f3a09c1@4:250", "us.7f3a09c1@5:240", No, "a term not heard of yet: it may have left 240 to 250 behind"},
		{"us.7f3a09c1@5:260", "us.7f3a09c1@4:250", No, "the same, seen from the other side"},
		{"us.7f3a09c1@5:260", "us.7f3a09c1@5:250", Yes, "two places of one term, known or not"},
		{"us.7f3a09c1@5:260", "us.7f3a09c1@5:261", No, "not there yet"},
		{"us.7f3a09c1@6:300", "us.7f3a09c1@5:250", No, "two terms not heard of yet"},
		{"us.deadbeef@1:500", "us.7f3a09c1@1:50", Lost, "a is of another lineage"},
		{"us.7f3a09c1@1:50", "us.deadbeef@1:5", Lost, "b is of another lineage"},
		{"us.deadbeef@1:5", "us.deadbeef@1:5", Lost, "both are: what they say cannot be known here"},
		{"us.7f3a09c1@1:50", "ap.7f3a09c1@1:5", Lost, "an origin without a known history"},
		{"us.7f3a09c1@1:50", "", Yes, "everything covers nothing"},
		{"", "", Yes, "even nothing does"},
		{"", "us.7f3a09c1@1:1", No, "nothing covers something"},
		{"", "us.7f3a09c1@1:0", Yes, "before the first record there is nothing"},
		{"us.7f3a09c1@1:1", "us.7f3a09c1@9:0", Yes, "whatever its term"},
		{"", "us.deadbeef@1:0", Lost, "but not on another lineage"},
		{"", "us.7f3a09c1@1:105", Lost, "lost is known without being anywhere"},
		{"us.7f3a09c1@1:0", "us.7f3a09c1@1:1", No, "before the first record"},
		{"eu.09c1@1:7,us.7f3a09c1@1:50", "us.7f3a09c1@1:50", Yes, "more origins than asked for"},
		{"us.7f3a09c1@1:50", "eu.09c1@1:7,us.7f3a09c1@1:50", No, "an origin is missing"},
		{"eu.09c1@1:6,us.7f3a09c1@1:51", "eu.09c1@1:7,us.7f3a09c1@1:50", No, "one of two is behind"},
		{"eu.09c1@1:6,us.7f3a09c1@2:150", "eu.09c1@1:7,us.7f3a09c1@1:105", Lost, "one behind, one lost: waiting cannot help"},
		{"ap.7f3a@1:1,us.7f3a09c1@1:50", "us.7f3a09c1@1:50", Yes, "a's other origins are not looked at"},
	} {
		if got := failedOver().Covers(position(t, c.a), position(t, c.b)); got != c.want {
			t.Errorf("does %q cover %q? %s, want %s: %s", c.a, c.b, got, c.want, c.why)
		}
	}
	if No.String() != "no" || Yes.String() != "yes" || Lost.String() != "lost" {
		t.Error("the answers have lost their names")
	}
}

// somePoint returns a point near the edges of failedOver's terms, sometimes of a term to come or a lost one.
func somePoint(random *rand.Rand, origin string) Point {
	edges := []uint64{0, 1, 2, 98, 99, 100, 101, 105, 198, 199, 200, 201, 250}
	l := ours
	if origin == "eu" {
		l = "09c1"
	}
	if random.IntN(40) == 0 {
		l = theirs
	}
	return Point{Origin: origin, Lineage: l, Term: 1 + random.Uint32N(6), Sequence: edges[random.IntN(len(edges))]}
}

func somePosition(random *rand.Rand) Position {
	var p Position
	for _, origin := range []string{"us", "eu"} {
		if random.IntN(4) > 0 {
			p = p.With(somePoint(random, origin))
		}
	}
	return p
}

func TestCoversIsAPartialOrderOnWhatIsNotLost(t *testing.T) {
	h := failedOver()
	random := rand.New(rand.NewPCG(1, 2))
	answers := map[Coverage]int{}
	for range 60_000 {
		a, b, c := somePosition(random), somePosition(random), somePosition(random)
		ab, bc := h.Covers(a, b), h.Covers(b, c)
		answers[ab]++
		if self := h.Covers(a, a); self == No {
			t.Fatalf("%s does not cover itself", a)
		}
		if ab == Yes && bc == Yes && h.Covers(a, a) == Yes && h.Covers(a, c) != Yes {
			t.Fatalf("%s covers %s covers %s, but not the first the last: %s", a, b, c, h.Covers(a, c))
		}
		if ab == Yes && h.Covers(b, a) == Yes && !places(a).Equal(places(b)) {
			t.Fatalf("%s and %s cover each other", a, b)
		}
		if ab == Lost && h.Covers(b, b) != Lost && h.Covers(shared(a, b), shared(a, b)) != Lost {
			t.Fatalf("%s covers %s: lost, though neither is", a, b)
		}
		// Going on in its term keeps what a covers, unless a walks into a lost tail.
		if pt, ok := a.Point("us"); ok && ab == Yes {
			pt.Sequence++
			if later := h.Covers(a.With(pt), b); later == No {
				t.Fatalf("%s covers %s, but %s does not", a, b, a.With(pt))
			}
		}
	}
	if answers[Yes] < 1_000 || answers[No] < 1_000 || answers[Lost] < 1_000 {
		t.Errorf("the cases are one-sided: %v", answers)
	}
}

// places is p without the points before the first record: they say nothing.
func places(p Position) (out Position) {
	for _, pt := range p.Points() {
		if pt.Sequence > 0 {
			out = out.With(pt)
		}
	}
	return out
}

// shared is a on the origins of b.
func shared(a, b Position) (out Position) {
	for _, pt := range b.Points() {
		if pa, ok := a.Point(pt.Origin); ok {
			out = out.With(pa)
		}
	}
	return out
}

// What one region answers with Yes or Lost, every region that has heard of more terms answers alike, as long as it is on the same line.
func TestCoversNeverTakesBackAYes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	full := failedOver()["us"]
	for range 40_000 {
		a, b := At(somePoint(random, "us")), At(somePoint(random, "us"))
		known := 1 + random.IntN(len(full.Starts))
		early := Histories{"us": {Lineage: ours, Starts: full.Starts[:known]}}.Covers(a, b)
		late := Histories{"us": full}.Covers(a, b)
		pa, _ := a.Point("us")
		pb, _ := b.Point("us")
		// What early takes for the present can turn out to be a lost tail: that answer is Lost, never No.
		if early == Yes && late == No || early == Lost && late != Lost {
			t.Fatalf("with %d terms known %s covers %s: %s, with all %s", known, pa, pb, early, late)
		}
	}
}

func control(seq uint64, name string, content any) *Record {
	data, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return &Record{Sequence: seq, Kind: KindControl, Control: Control{Name: name, Data: data}}
}

func TestTermsGrowFromTheirRecords(t *testing.T) {
	var terms Terms
	apply := func(r *Record) {
		t.Helper()
		if err := terms.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	apply(control(1, ControlGenesis, Genesis{Format: GenesisFormat, Origin: "us", Lineage: ours}))
	apply(&Record{Sequence: 2, Kind: KindEvent})
	apply(control(3, "mark", "x"))
	first := terms
	apply(control(100, ControlTerm, Term{Term: 2, Lineage: ours}))
	apply(control(200, ControlTerm, Term{Term: 4, Lineage: ours}))
	if terms.Lineage != ours || !slices.Equal(terms.Starts, failedOver()["us"].Starts) || terms.Current() != 4 {
		t.Fatalf("%+v", terms)
	}
	if first.Current() != 1 || !slices.Equal(first.Starts, []uint64{1}) {
		t.Fatalf("an earlier copy changed: %+v", first)
	}
	for seq, term := range map[uint64]uint32{0: 1, 1: 1, 99: 1, 100: 2, 199: 2, 200: 4, 1 << 60: 4} {
		if got := terms.TermAt(seq); got != term {
			t.Errorf("sequence %d is of term %d, want %d", seq, got, term)
		}
		if pt := terms.Point("us", seq); pt != (Point{"us", ours, term, seq}) {
			t.Errorf("the point at %d is %s", seq, pt)
		}
		if kept, lost := terms.keeps(terms.Point("us", seq)); !kept || lost {
			t.Errorf("the log's own sequence %d is not on its history", seq)
		}
	}
	if err := terms.Apply(control(300, ControlTerm, Term{Term: maxTerms, Lineage: ours})); err != nil || terms.Current() != maxTerms {
		t.Errorf("%d terms: %v", terms.Current(), err)
	}
	if (Terms{}).Current() != 0 || (Terms{}).TermAt(5) != 1 {
		t.Error("no terms have a term")
	}
}

func TestTermsRefuseWhatContradictsThem(t *testing.T) {
	grown := Terms{Lineage: ours, Starts: []uint64{1, 100}}
	for name, c := range map[string]struct {
		terms Terms
		r     *Record
	}{
		"a second genesis":              {grown, control(150, ControlGenesis, Genesis{Format: 1, Lineage: theirs})},
		"a genesis in the middle":       {Terms{}, control(2, ControlGenesis, Genesis{Format: 1, Lineage: ours})},
		"a genesis of another format":   {Terms{}, control(1, ControlGenesis, Genesis{Format: 2, Lineage: ours})},
		"a genesis without lineage":     {Terms{}, control(1, ControlGenesis, Genesis{Format: 1})},
		"a genesis that is no JSON":     {Terms{}, &Record{Sequence: 1, Kind: KindControl, Control: Control{Name: ControlGenesis, Data: []byte("{")}}},
		"a term before the genesis":     {Terms{}, control(1, ControlTerm, Term{2, ours})},
		"a term of another lineage":     {grown, control(150, ControlTerm, Term{3, theirs})},
		"the current term again":        {grown, control(150, ControlTerm, Term{2, ours})},
		"an earlier term":               {grown, control(150, ControlTerm, Term{1, ours})},
		"a term of an absurd number":    {grown, control(150, ControlTerm, Term{maxTerms + 1, ours})},
		"a term that is no JSON":        {grown, &Record{Sequence: 150, Kind: KindControl, Control: Control{Name: ControlTerm}}},
		"a term at a sequence before":   {grown, control(99, ControlTerm, Term{3, ours})},
		"a term at the same sequence":   {grown, control(100, ControlTerm, Term{3, ours})},
		"a term that is a string of it": {grown, control(150, ControlTerm, "3")},
	} {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprint(c.terms)
			if err := c.terms.Apply(c.r); !errors.Is(err, ErrForeignHistory) {
				t.Errorf("got %v", err)
			}
			if after := fmt.Sprint(c.terms); after != before {
				t.Errorf("%s became %s", before, after)
			}
		})
	}
}

func TestAnObservedPositionMustBeInTheLog(t *testing.T) {
	info := Info{Origin: "us", Terms: failedOver()["us"], First: 1, Last: 250}
	for _, c := range []struct {
		position string
		ok       bool
	}{
		{"", true},
		{"us.7f3a09c1@4:250", true},
		{"us.7f3a09c1@1:99", true},
		{"us.7f3a09c1@1:0", true},
		{"eu.09c1@7:5", true},
		{"eu.09c1@7:5,us.7f3a09c1@2:150", true},
		{"us.7f3a09c1@4:251", false},
		{"us.7f3a09c1@1:100", false},
		{"us.7f3a09c1@3:200", false},
		{"us.7f3a09c1@5:250", false},
		{"us.deadbeef@1:1", false},
		{"eu.09c1@7:5,us.deadbeef@1:1", false},
	} {
		err := info.CheckObserved(position(t, c.position))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrImpossiblePosition) {
			t.Errorf("%q: %v", c.position, err)
		}
	}
}
