package projections_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tidemark.dev/projections"
)

// elements makes elements of Go values.
func elements(values ...any) (list []projections.Element) {
	for _, v := range values {
		switch v := v.(type) {
		case int:
			list = append(list, projections.IntElement(int64(v)))
		case string:
			list = append(list, projections.StringElement(v))
		case bool:
			list = append(list, projections.BoolElement(v))
		}
	}
	return list
}

func TestAListHasOneTextThatIsReadBack(t *testing.T) {
	for text, list := range map[string][]projections.Element{
		`[]`:                     nil,
		`[1,"a",true]`:           elements(1, "a", true),
		`["b","a","a",false,-7]`: elements("b", "a", "a", false, -7),
		`["\"\\\b\t\n\f\r\u0000\u001f` + "\u007f\u2028é😀/<" + `"]`: elements("\"\\\b\t\n\f\r\x00\x1f\u007f\u2028é😀/<"),
		`["[1,2]","","]"]`:                           elements("[1,2]", "", "]"),
		`[9223372036854775807,-9223372036854775808]`: {projections.IntElement(math.MaxInt64), projections.IntElement(math.MinInt64)},
	} {
		if got := projections.FormatElements(list); got != text || projections.SizeOfElements(list) != len(text) || !json.Valid([]byte(got)) {
			t.Errorf("the text is %s of %d bytes, want %s", got, projections.SizeOfElements(list), text)
		}
		if got, err := projections.ParseElements(projections.KindList, text); err != nil || !slices.Equal(got, list) {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
}

func TestATextThatWouldNotBeWrittenIsNoList(t *testing.T) {
	for _, text := range []string{
		"", " ", "x", "[", "]", "[1", "[1,]", "[,1]", "[1 ]", "[1, 2]", "[]x", "[] ", "[1]]", "[[1]]", "[null]", "[{}]", "[1.0]", "[1e3]", "[01]", "[+1]", "[-0]",
		"[9223372036854775808]", `["a]`, `["a"`, `["\u0061"]`, `["\/"]`, `["\u000A"]`, `["\ud800"]`, "[\"\n\"]", "[\"\xff\"]", "[TRUE]", `["a""b"]`, `["a"1]`, `["\"]`,
		"[" + strings.Repeat("1,", projections.MaxElements) + "1]", `["` + strings.Repeat("x", projections.MaxElementsBytes) + `"]`,
	} {
		if got, err := projections.ParseElements(projections.KindList, text); err == nil {
			t.Errorf("%.50s is read as %v", text, got)
		}
	}
	for _, text := range []string{"[2,1]", "[1,1]", `["b","a"]`, "[true,false]", `["a",1]`, `[true,"a"]`, "[10,9]"} {
		if _, err := projections.ParseElements(projections.KindSet, text); err == nil {
			t.Errorf("%s is read as a set", text)
		}
		if _, err := projections.ParseElements(projections.KindList, text); err != nil {
			t.Errorf("%s is no list: %v", text, err)
		}
	}
	if _, err := projections.ParseElements(projections.KindSet, `[-1,9,10,"","B","a","é",false,true]`); err != nil {
		t.Error(err)
	}
}

func TestTheOrderOfCollectingDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	all := elements(3, -1, 10, 9, "b", "a", "", "é", "B", true, false)
	want := projections.FormatElements(projections.SortElements(slices.Clone(all)))
	for range 100 {
		list := slices.Concat(all, all[:random.IntN(len(all))])
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if got := projections.FormatElements(projections.SortElements(list)); got != want {
			t.Fatalf("%s and %s", got, want)
		}
	}
	if want != `[-1,3,9,10,"","B","a","b","é",false,true]` {
		t.Errorf("the set is %s", want)
	}
}

// bag is a document with lists and sets.
type bag struct {
	Last   []int32                 `json:"last"`
	Names  []string                `json:"names"`
	Yes    []bool                  `json:"yes"`
	Tags   projections.Set[string] `json:"tags"`
	Months projections.Set[int64]  `json:"months"`
	Seen   projections.Set[bool]   `json:"seen"`
}

type packed struct {
	Tag  string `json:"tag"`
	Many int    `json:"many"`
	Fail bool   `json:"fail"`
}

func bags(t testing.TB) *projections.Typed[bag] {
	t.Helper()
	p, err := projections.New("bags", 1, projections.On("bag", "Packed", func(b bag, e projections.Event[packed]) (bag, error) {
		if len(b.Names) > 0 {
			b.Names[0] = e.Data.Tag // into what the document held before
		}
		b.Names = append(b.Names, e.Data.Tag)
		b.Tags = b.Tags.With(e.Data.Tag)
		for i := range e.Data.Many {
			b.Months = b.Months.With(int64(i))
			b.Last = append(b.Last, int32(i))
		}
		b.Yes, b.Seen = append(b.Yes, e.Data.Fail), b.Seen.With(e.Data.Fail)
		if e.Data.Fail {
			return b, errRefused
		}
		return b, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pack folds events with this data and returns the first error.
func pack(p *projections.Typed[bag], s projections.State, data ...string) (err error) {
	var ops projections.Ops
	for _, text := range data {
		ops.Reset()
		r := record("bag/1", "Packed", text)
		p.Route(r, 0, &ops)
		if err := p.Fold(s, r, &ops.List()[0]); err != nil {
			return err
		}
	}
	return nil
}

func TestADocumentInGoHasListsAndSets(t *testing.T) {
	p := bags(t)
	kinds := []projections.Kind{"list", "list", "list", "set", "set", "set"}
	for i, f := range p.Definition().Fields {
		if f.Kind != kinds[i] {
			t.Errorf("%s is a %s", f.Name, f.Kind)
		}
	}
	s := p.NewState()
	if got := strings.Join(s.AppendFields(nil), " "); got != "[] [] [] [] [] []" {
		t.Errorf("a new document is %s", got)
	}
	if err := pack(p, s, `{"tag":"b","many":2}`, `{"tag":"a"}`, `{"tag":"b"}`); err != nil {
		t.Fatal(err)
	}
	want := []string{"[0,1]", `["b","a","b"]`, "[false,false,false]", `["a","b"]`, "[0,1]", "[false]"}
	got := s.AppendFields(nil)
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if err := pack(p, s, `{"tag":"x","many":9,"fail":true}`); !errors.Is(err, errRefused) || !slices.Equal(s.AppendFields(nil), want) {
		t.Errorf("after a fold that failed (%v) the document is %q", err, s.AppendFields(nil))
	}
	back, err := projections.Decode[bag](p.Definition().Fields, want)
	if err != nil || !reflect.DeepEqual(back.Last, []int32{0, 1}) || !back.Tags.Has("a") || back.Tags.Has("c") || back.Months.Len() != 2 {
		t.Errorf("decoded %+v, %v", back, err)
	}
	for i, bad := range []string{"[2147483648]", `[1]`, `["x"]`, `["b","a"]`, `["x"]`, "[0,1]"} {
		values := slices.Clone(want)
		values[i] = bad
		if _, err := projections.Decode[bag](p.Definition().Fields, values); err == nil {
			t.Errorf("%s is read into %s", bad, p.Definition().Fields[i].Name)
		}
	}
}

func TestAListThatIsOverItsBoundParks(t *testing.T) {
	p, s := bags(t), projections.State(nil)
	for _, data := range []string{`{"many":1001}`, `{"tag":"` + strings.Repeat("x", projections.MaxElementsBytes) + `"}`} {
		s = p.NewState()
		if err := pack(p, s, data); err == nil || !strings.Contains(err.Error(), "over the bound of") {
			t.Errorf("got %v", err)
		}
		if got := strings.Join(s.AppendFields(nil), " "); got != "[] [] [] [] [] []" {
			t.Errorf("the document is %.100s", got)
		}
	}
	s = p.NewState()
	if err := pack(p, s, `{"many":1000}`); err != nil {
		t.Error(err)
	}
}

func TestASetInGoIsAValue(t *testing.T) {
	a := projections.SetOf("b", "a", "b")
	b := a.With("c")
	if c := b.Without("a", "x"); a.String() != "[a b]" || b.String() != "[a b c]" || c.String() != "[b c]" || b.Len() != 3 {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	if got := b.Without("a", "b", "c"); !reflect.DeepEqual(got, projections.Set[string]{}) || !reflect.DeepEqual(got.With(), got) {
		t.Errorf("an empty set is %#v", got)
	}
	text, err := json.Marshal(map[string]any{"s": b, "n": projections.SetOf[int64](10, 9), "e": projections.Set[bool]{}})
	if err != nil || string(text) != `{"e":[],"n":[9,10],"s":["a","b","c"]}` {
		t.Errorf("%s, %v", text, err)
	}
	var back projections.Set[string]
	if err := json.Unmarshal([]byte(`["c","b","a","b"]`), &back); err != nil || !reflect.DeepEqual(back, b) || !slices.Equal(slices.Collect(back.All()), []string{"a", "b", "c"}) {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`[1]`), &back); err == nil {
		t.Error("a number is read into a set of strings")
	}
}

func FuzzElementsAreReadAsTheyAreWritten(f *testing.F) {
	for _, text := range []string{`[]`, `[1,"a",true]`, `["\u0000\n\"é"]`, `[-0]`, `["\ud83d\ude00"]`, `[1,2`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := projections.ParseElements(projections.KindList, text)
		if err == nil && (projections.FormatElements(list) != text || !json.Valid([]byte(text))) {
			t.Fatalf("%q is read as %v", text, list)
		}
		var plain []any
		if err == nil && (json.Unmarshal([]byte(text), &plain) != nil || len(plain) != len(list)) {
			t.Fatalf("%q is a list of %d elements and as JSON one of %d", text, len(list), len(plain))
		}
		if !utf8.ValidString(text) {
			return
		}
		one := elements(text)
		if back, err := projections.ParseElements(projections.KindSet, projections.FormatElements(one)); len(text) < 10_000 && (err != nil || !slices.Equal(back, one)) {
			t.Fatalf("%q comes back as %v, %v", text, back, err)
		}
	})
}
