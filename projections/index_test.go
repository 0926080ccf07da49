package projections_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidemark.dev/projections"
)

func kinds(k ...projections.Kind) []projections.Kind { return k }

func encode(t testing.TB, k []projections.Kind, values ...string) string {
	t.Helper()
	b, err := projections.EncodeIndex(k, values...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIndexValuesCanBeRead(t *testing.T) {
	for _, c := range []struct {
		kind        projections.Kind
		value, want string
	}{
		{projections.KindInt, "0", "p0000000000000000000"},
		{projections.KindInt, "5", "p0000000000000000005"},
		{projections.KindInt, "-5", "n9999999999999999994"},
		{projections.KindInt, "9223372036854775807", "p9223372036854775807"},
		{projections.KindInt, "-9223372036854775808", "n0776627963145224191"},
		{projections.KindBool, "true", "1"},
		{projections.KindBool, "false", "0"},
		{projections.KindString, "", "\x00\x01"},
		{projections.KindString, "Oslo", "Oslo\x00\x01"},
		{projections.KindString, "a\x00b", "a\x00\xffb\x00\x01"},
	} {
		if got := encode(t, kinds(c.kind), c.value); got != c.want {
			t.Errorf("%s %q is %q, want %q", c.kind, c.value, got, c.want)
		}
	}
	if got := encode(t, kinds(projections.KindBool, projections.KindInt, projections.KindString), "true", "7", "x"); got != "1p0000000000000000007x\x00\x01" {
		t.Errorf("the compound value is %q", got)
	}
}

func TestALongStringIsIndexedByItsBeginningAndItsHash(t *testing.T) {
	k := kinds(projections.KindString)
	longest := strings.Repeat("v", 1_024)
	if got := encode(t, k, longest); got != longest+"\x00\x01" {
		t.Errorf("a string of 1,024 bytes is indexed by %d bytes", len(got))
	}
	seen := map[string]string{}
	for _, s := range []string{longest, longest + "v", longest + "w", longest + "vv", longest + "\x00", strings.Repeat("v", 100_000)} {
		got := encode(t, k, s)
		if len(got) > 1_024+2+16 || !strings.HasPrefix(got, longest+"\x00") {
			t.Errorf("a string of %d bytes is indexed by %d", len(s), len(got))
		}
		if other, twice := seen[got]; twice {
			t.Errorf("strings of %d and %d bytes have one value", len(s), len(other))
		}
		seen[got] = s
	}
	if a, b := encode(t, k, strings.Repeat("v", 1_023)+"u"+strings.Repeat("z", 50)), encode(t, k, longest); a >= b {
		t.Error("strings that differ within 1,024 bytes are not in their order")
	}
}

func TestIndexValuesOfAnotherKindAreRefused(t *testing.T) {
	for _, c := range []struct {
		kinds  []projections.Kind
		values []string
	}{
		{kinds(projections.KindInt), []string{""}},
		{kinds(projections.KindInt), []string{"1.5"}},
		{kinds(projections.KindInt), []string{"9223372036854775808"}},
		{kinds(projections.KindBool), []string{"1"}},
		{kinds("list"), []string{"x"}},
		{kinds(projections.KindInt), []string{"1", "2"}},
		{nil, []string{"1"}},
	} {
		if _, err := projections.EncodeIndex(c.kinds, c.values...); !errors.Is(err, projections.ErrInvalidQuery) {
			t.Errorf("%q as %v returned %v, want %s", c.values, c.kinds, err, projections.ErrInvalidQuery)
		}
	}
	if v := encode(t, kinds(projections.KindInt)); v != "" {
		t.Errorf("no values are %q", v)
	}
}

// texts are pieces of which strings are made that differ in one byte, end early, or hold what the encoding itself uses.
func texts() []string {
	return []string{"", "\x00", "\x01", "\x02", "\xff", "a", "aa", "b", "ab", "\x00\x01", "\x00\xff", "é", strings.Repeat("a", 1_022)}
}

func randomValue(r *rand.Rand, k projections.Kind) string {
	switch k {
	case projections.KindInt:
		n := []int64{0, 1, -1, 9, 10, -10, math.MaxInt64, math.MinInt64, math.MinInt64 + 1, int64(r.Uint64()), r.Int64N(100) - 50}[r.IntN(11)] //nolint:gosec // any will do
		return strconv.FormatInt(n, 10)
	case projections.KindBool:
		return strconv.FormatBool(r.IntN(2) == 0)
	default:
		s := ""
		for range r.IntN(4) {
			s += texts()[r.IntN(len(texts()))]
		}
		return s[:min(len(s), 1_024)]
	}
}

// compare orders values as people do.
func compare(k projections.Kind, a, b string) int {
	if k != projections.KindInt {
		return strings.Compare(a, b) // false is before true
	}
	x, _ := strconv.ParseInt(a, 10, 64)
	y, _ := strconv.ParseInt(b, 10, 64)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func TestTheOrderOfEntriesIsTheOrderOfValuesAndKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same values every time
	all := kinds(projections.KindInt, projections.KindBool, projections.KindString)
	for range 100_000 {
		k := make([]projections.Kind, 1+r.IntN(projections.MaxIndexFields))
		a, b := make([]string, len(k)), make([]string, len(k))
		want := 0
		for i := range k {
			k[i] = all[r.IntN(len(all))]
			a[i] = randomValue(r, k[i])
			if b[i] = a[i]; r.IntN(2) == 0 {
				b[i] = randomValue(r, k[i])
			}
			if want == 0 {
				want = compare(k[i], a[i], b[i])
			}
		}
		x, y := randomValue(r, projections.KindString)+"k", randomValue(r, projections.KindString)+"k"
		if want == 0 {
			want = strings.Compare(x, y)
		}
		ea, eb := encode(t, k, a...)+x, encode(t, k, b...)+y
		if got := strings.Compare(ea, eb); got != want {
			t.Fatalf("%v: %q %q against %q %q is %d, want %d", k, a, x, b, y, got, want)
		}
		if value, key, ok := projections.CutIndexEntry(k, ea); !ok || key != x || value != encode(t, k, a...) {
			t.Fatalf("%v: the entry of %q and %q is cut into %q and %q, %t", k, a, x, value, key, ok)
		}
		n := r.IntN(len(k) + 1)
		from := encode(t, k, a[:n]...)
		to := projections.IndexAfter(from)
		if inside := eb >= from && (to == "" || eb < to); inside != slices.Equal(a[:n], b[:n]) {
			t.Fatalf("%v: %q is inside of the range of %q: %t", k, b, a[:n], inside)
		}
	}
}

func FuzzIndexEntriesAreCutWhereTheyWereJoined(f *testing.F) {
	f.Add(int64(-5), true, "a\x00b", "key")
	f.Add(int64(math.MinInt64), false, strings.Repeat("\x00", 2_000), "\x00\x01")
	f.Fuzz(func(t *testing.T, n int64, b bool, s, key string) {
		if key == "" {
			return
		}
		k := kinds(projections.KindString, projections.KindInt, projections.KindBool, projections.KindString)
		value := encode(t, k, s, strconv.FormatInt(n, 10), strconv.FormatBool(b), s)
		gotValue, gotKey, ok := projections.CutIndexEntry(k, value+key)
		if !ok || gotValue != value || gotKey != key {
			t.Fatalf("%q and %q came back as %q and %q, %t", value, key, gotValue, gotKey, ok)
		}
		if after := projections.IndexAfter(value); after <= value+key {
			t.Fatalf("%q is not behind %q", after, value+key)
		}
	})
}

func FuzzWhatIsNoIndexEntryIsRefused(f *testing.F) {
	f.Add("p12", uint8(0))
	f.Add("a\x00", uint8(1))
	f.Add("0", uint8(2))
	f.Add("a\x00\x02short", uint8(1))
	f.Add("p0000000000000000005a\x00\x01key", uint8(4))
	f.Fuzz(func(t *testing.T, entry string, which uint8) {
		lists := [][]projections.Kind{
			kinds(projections.KindInt), kinds(projections.KindString), kinds(projections.KindBool), kinds("list"),
			kinds(projections.KindInt, projections.KindString), nil,
		}
		k := lists[int(which)%len(lists)]
		value, key, ok := projections.CutIndexEntry(k, entry)
		switch {
		case !ok:
			if value != "" || key != "" {
				t.Fatalf("%q is refused and cut into %q and %q", entry, value, key)
			}
		case key == "" || value+key != entry:
			t.Fatalf("%q is cut into %q and %q", entry, value, key)
		}
	})
}

func indexedDefinition(indexes ...projections.Index) *projections.Definition {
	return &projections.Definition{
		Name: "airports", Version: 1, Handles: []projections.Handles{{EventType: "landed"}},
		Fields: []projections.Field{
			{Name: "city", Kind: projections.KindString}, {Name: "delay", Kind: projections.KindInt}, {Name: "open", Kind: projections.KindBool},
			{Name: "tags", Kind: "list"},
		},
		Indexes: indexes,
	}
}

func TestIndexesThatBreakARuleAreRefused(t *testing.T) {
	many := make([]projections.Index, projections.MaxIndexes+1)
	for i := range many {
		many[i] = projections.Index{Name: "x" + strconv.Itoa(i), Fields: []string{"city"}}
	}
	ok := projections.Index{Name: "by_city_9", Fields: []string{"city", "delay", "open"}}
	for name, indexes := range map[string][]projections.Index{
		"no name":           {{Fields: []string{"city"}}},
		"a capital":         {{Name: "byCity", Fields: []string{"city"}}},
		"the reserved name": {{Name: projections.ParkedIndexName, Fields: []string{"city"}}},
		"a long name":       {{Name: strings.Repeat("x", 49), Fields: []string{"city"}}},
		"a name twice":      {ok, ok},
		"no field":          {{Name: "x"}},
		"five fields":       {{Name: "x", Fields: []string{"city", "delay", "open", "tags", "x"}}},
		"no such field":     {{Name: "x", Fields: []string{"town"}}},
		"a field twice":     {{Name: "x", Fields: []string{"city", "delay", "city"}}},
		"another kind":      {{Name: "x", Fields: []string{"tags"}}},
		"too many":          many,
	} {
		if err := indexedDefinition(indexes...).Validate(); !errors.Is(err, projections.ErrInvalidProjection) {
			t.Errorf("%s: %v, want %s", name, err, projections.ErrInvalidProjection)
		}
	}
	for _, good := range [][]projections.Index{nil, {ok}, many[1:], {{Name: strings.Repeat("x", 48), Fields: []string{"open"}}}} {
		if err := indexedDefinition(good...).Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnIndexIsPartOfTheFingerprintAndNoneIsNot(t *testing.T) {
	without := indexedDefinition()
	if got := without.Fingerprint(); got != "27f130fa84e50380" { // as it was before there were indexes
		t.Errorf("the fingerprint of a definition without indexes is %s", got)
	}
	if indexedDefinition(projections.Index{Name: "x", Fields: []string{"city"}}).Fingerprint() == without.Fingerprint() {
		t.Error("an index does not change the fingerprint")
	}
}

func TestTheValueOfADocumentInAnIndex(t *testing.T) {
	def := indexedDefinition(projections.Index{Name: "by_delay_and_city", Fields: []string{"delay", "city"}})
	doc := projections.Document{Key: "OSL", Values: []string{"Oslo", "-5", "true", ""}, Parked: "us.7f3a@1:77 the data cannot be read: a:b"}
	for index, want := range map[string]string{
		"by_delay_and_city": "n9999999999999999994Oslo\x00\x01", projections.ParkedIndexName: "p0000000000000000077",
	} {
		if got, ok := def.IndexValue(index, &doc); !ok || got != want {
			t.Errorf("in %s the document is under %q, %t, want %q", index, got, ok, want)
		}
	}
	damaged, flowing, odd := doc, doc, doc
	damaged.Values, flowing.Parked, odd.Parked = nil, "", "by hand"
	for _, c := range []struct {
		index string
		doc   projections.Document
	}{{"by_delay_and_city", damaged}, {projections.ParkedIndexName, flowing}, {projections.ParkedIndexName, odd}, {"by_city", doc}} {
		if got, ok := def.IndexValue(c.index, &c.doc); ok {
			t.Errorf("in %s the document %v is under %q", c.index, c.doc, got)
		}
	}
	_, err := def.IndexKinds("by_city")
	if !errors.Is(err, projections.ErrUnknownIndex) || !strings.Contains(err.Error(), "by_delay_and_city") {
		t.Errorf("an index that is not there is refused with %v", err)
	}
}
