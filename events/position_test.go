package events

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPositionHasOneTextForm(t *testing.T) {
	us, eu := Point{"us", "7f3a", 1, 1042}, Point{"eu", "09c1", 1, 77}
	for _, c := range []struct {
		p    Position
		text string
	}{
		{Position{}, ""},
		{At(us), "us.7f3a@1:1042"},
		{At(us, eu), "eu.09c1@1:77,us.7f3a@1:1042"},
		{At(eu, us), "eu.09c1@1:77,us.7f3a@1:1042"},
		{At(us, Point{"us", "7f3a", 2, 5}), "us.7f3a@2:5"},
		{
			At(Point{strings.Repeat("z", 32), Lineage(strings.Repeat("f", 32)), math.MaxUint32, math.MaxUint64}),
			strings.Repeat("z", 32) + "." + strings.Repeat("f", 32) + "@4294967295:18446744073709551615",
		},
	} {
		if got := c.p.String(); got != c.text {
			t.Errorf("got %q, want %q", got, c.text)
		}
		back, err := ParsePosition(c.text)
		if err != nil || !back.Equal(c.p) {
			t.Errorf("%q reads back as %v, %v", c.text, back, err)
		}
		var viaJSON struct{ P Position }
		data, err := json.Marshal(struct{ P Position }{c.p})
		if err == nil {
			err = json.Unmarshal(data, &viaJSON)
		}
		if err != nil || !viaJSON.P.Equal(c.p) {
			t.Errorf("%q as JSON is %s, read back as %v, %v", c.text, data, viaJSON.P, err)
		}
	}
	if p, err := ParsePosition("us.7f3a@1:1042,eu.09c1@1:77"); err != nil || p.String() != "eu.09c1@1:77,us.7f3a@1:1042" {
		t.Errorf("the order of origins matters: %v, %v", p, err)
	}
}

func TestWhatIsNotAPositionIsRefused(t *testing.T) {
	many := make([]string, maxPoints+1)
	for i := range many {
		many[i] = "o" + strings.Repeat("x", i%30) + string(rune('a'+i/30)) + ".7f3a@1:1"
	}
	for _, text := range []string{
		",", "us.7f3a@1:1042,", ",us.7f3a@1:1042", "us.7f3a@1:1,us.7f3a@1:2", "us.7f3a@1:1,eu.09c1@1:1,us.7f3a@2:1", "us", "us.7f3a", "us.7f3a@1", "us.7f3a:1@1",
		"us.7f3a@0:1", "us.7f3a@01:1", "us.7f3a@1:01", "us.7f3a@+1:1", "us.7f3a@-1:1", "us.7f3a@1:", "us.7f3a@:1", "us.7f3a@1:1.5", "us.7f3a@1:1e3", "us.7f3a@1:1_0",
		"us.7f3a@4294967296:1", "us.7f3a@1:18446744073709551616", "us.7F3A@1:1", "us.xyz1@1:1", "us.7f3@1:1", "us." + strings.Repeat("f", 33) + "@1:1",
		"US.7f3a@1:1", "u.s.7f3a@1:1", ".7f3a@1:1", "ü.7f3a@1:1", strings.Repeat("u", 33) + ".7f3a@1:1", " us.7f3a@1:1", "us.7f3a@1:1 ", "us.7f3a@1:1\n",
		"us.7f3a@1:1;k=x", "us..7f3a@1:1", "us.7f3a@1@1:1", "us.7f3a@1:1:1", strings.Join(many, ","), strings.Repeat("us.7f3a@1:1,", 100_000), strings.Repeat(",", 1_000_000),
	} {
		p, err := ParsePosition(text)
		if !errors.Is(err, ErrInvalidPosition) || !p.IsZero() {
			t.Errorf("%.60q is %v, %v", text, p, err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
	if p, err := ParsePosition(strings.Join(many[1:], ",")); err != nil || len(p.Points()) != maxPoints {
		t.Errorf("%d points: %v", maxPoints, err)
	}
	var p Position
	if err := p.UnmarshalText([]byte("x")); !errors.Is(err, ErrInvalidPosition) {
		t.Errorf("UnmarshalText: %v", err)
	}
}

func TestPositionIsImmutable(t *testing.T) {
	p := At(Point{"eu", "09c1", 1, 77}, Point{"us", "7f3a", 1, 1042})
	text := p.String()
	q := p.With(Point{"us", "7f3a", 2, 1}).With(Point{"ap", "0aaa", 1, 1}).With(Point{"zz", "0bbb", 1, 1})
	if _, err := p.Merge(q); err != nil {
		t.Fatal(err)
	}
	if p.String() != text || q.String() != "ap.0aaa@1:1,eu.09c1@1:77,us.7f3a@2:1,zz.0bbb@1:1" {
		t.Errorf("%s, %s", p, q)
	}
	if pt, ok := q.Point("us"); !ok || pt.Term != 2 {
		t.Errorf("us is at %v, %v", pt, ok)
	}
	if pt, ok := q.Point("u"); ok || pt != (Point{}) {
		t.Errorf("u is at %v, %v", pt, ok)
	}
}

// anyPosition returns a position over few origins, lineages, terms and sequences, so that they meet.
func anyPosition(random *rand.Rand) (p Position) {
	for _, origin := range []string{"ap", "eu", "us"} {
		if random.IntN(3) > 0 {
			l := ours
			if random.IntN(20) == 0 {
				l = theirs
			}
			p = p.With(Point{origin, l, 1 + random.Uint32N(3), random.Uint64N(4)})
		}
	}
	return p
}

func TestMergeIsCommutativeAssociativeIdempotent(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	refused := 0
	// merge returns the text of the merge, or "lost".
	merge := func(p, q Position, err error) (Position, error) {
		if err != nil {
			return Position{}, err
		}
		return p.Merge(q)
	}
	same := func(law string, p Position, err error, q Position, err2 error) {
		t.Helper()
		if (err == nil) != (err2 == nil) || err == nil && !p.Equal(q) {
			t.Fatalf("%s: %v (%v) and %v (%v)", law, p, err, q, err2)
		}
		if err != nil && !errors.Is(err, ErrLostPosition) {
			t.Fatal(err)
		}
	}
	for range 15_000 {
		a, b, c := anyPosition(random), anyPosition(random), anyPosition(random)
		ab, err1 := a.Merge(b)
		ba, err2 := b.Merge(a)
		same("a+b = b+a", ab, err1, ba, err2)
		aa, err := a.Merge(a)
		same("a+a = a", aa, err, a, nil)
		left, err3 := merge(ab, c, err1)
		bc, err4 := b.Merge(c)
		right, err5 := merge(a, bc, err4)
		if err1 == nil && err4 == nil {
			same("(a+b)+c = a+(b+c)", left, err3, right, err5)
		}
		zero, err := a.Merge(Position{})
		same("a+0 = a", zero, err, a, nil)
		if err1 != nil {
			refused++
			continue
		}
		if again, err := ab.Merge(b); err != nil || !again.Equal(ab) {
			t.Fatalf("%s merged with %s once more is %s, %v", ab, b, again, err)
		}
	}
	if refused < 100 {
		t.Errorf("only %d merges met another lineage", refused)
	}
}

func TestMergeIsTheSmallestPositionThatCoversBoth(t *testing.T) {
	h := failedOver()
	random := rand.New(rand.NewPCG(7, 8))
	for range 15_000 {
		a, b := somePosition(random), somePosition(random)
		if h.Covers(a, a) == Lost || h.Covers(b, b) == Lost || beyond(h, a) || beyond(h, b) {
			continue
		}
		m, err := a.Merge(b)
		if err != nil || h.Covers(m, a) != Yes || h.Covers(m, b) != Yes {
			t.Fatalf("%s does not cover %s and %s: %v", m, a, b, err)
		}
		if c := somePosition(random); h.Covers(c, a) == Yes && h.Covers(c, b) == Yes && h.Covers(c, m) != Yes {
			t.Fatalf("%s covers %s and %s but not their merge %s", c, a, b, m)
		}
	}
}

// beyond reports whether a point is of a term that h has not heard of.
func beyond(h Histories, p Position) bool {
	for _, pt := range p.Points() {
		if pt.Term > h[pt.Origin].Current() {
			return true
		}
	}
	return false
}

func FuzzPosition(f *testing.F) {
	for _, seed := range []string{"", "us.7f3a@1:1042", "eu.09c1@1:77,us.7f3a@1:1042", "us.7f3a@0:1", "a.0000@4294967295:18446744073709551615", "us.7f3a@1:1,us.7f3a@1:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text)
		if err != nil {
			if !errors.Is(err, ErrInvalidPosition) || !p.IsZero() {
				t.Fatalf("%v, %v", p, err)
			}
			return
		}
		printed := p.String()
		if len(printed) != len(text) || !p.valid() {
			t.Fatalf("%q is printed as %q", text, printed)
		}
		back, err := ParsePosition(printed)
		if err != nil || !back.Equal(p) || back.String() != printed {
			t.Fatalf("%q reads back as %v, %v", printed, back, err)
		}
		for i, pt := range p.Points() {
			if i > 0 && p.Points()[i-1].Origin >= pt.Origin {
				t.Fatalf("%q is not sorted", printed)
			}
			if got, ok := p.Point(pt.Origin); !ok || got != pt {
				t.Fatalf("%v, want %v", got, pt)
			}
		}
	})
}
