package declared_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
)

// listing returns a file with a list that keeps 3, a list, a set, an integer and a boolean.
func listing(do string) string {
	return "projection: p\nversion: 1\nfields: {last: {kind: list, keep: 3}, all: list, tags: set, n: int, b: bool}\non:\n  - event: E\n    do:\n      " + do + "\n"
}

func TestListsAndSets(t *testing.T) {
	for _, c := range []struct{ name, do, data, want string }{
		{"append", `[{append: {last: data.x}}, {append: {last: 2}}, {append: {last: {text: z}}}]`, `{"x":true}`, `[true,2,"z"] [] [] 0 false`},
		{"append over the bound", `[{append: {last: 1}}, {append: {last: 2}}, {append: {last: 3}}, {append: {last: data.x}}]`, `{"x":4}`, `[2,3,4] [] [] 0 false`},
		{"append of a list", `[{append: {last: 1}}, {append: {last: data.x}}]`, `{"x":[2,2]}`, `[1,2,2] [] [] 0 false`},
		{"append of a longer list", `[{append: {last: 1}}, {append: {last: data.x}}]`, `{"x":[2,3,4,5,6]}`, `[4,5,6] [] [] 0 false`},
		{"append of nothing", `[{append: {last: 1}}, {append: {last: data.x}}]`, `{"x":[]}`, `[1] [] [] 0 false`},
		{"collect", `[{collect: {tags: data.x}}, {collect: {tags: data.y}}, {collect: {tags: data.x}}]`, `{"x":"b","y":"a"}`, `[] [] ["a","b"] 0 false`},
		{"collect a list", `[{collect: {tags: data.x}}]`, `{"x":[true,"b",10,"a",9,"b",false,-1]}`, `[] [] [-1,9,10,"a","b",false,true] 0 false`},
		{"collect another field", `[{append: {last: 2}}, {append: {last: 1}}, {collect: {tags: doc.last}}]`, ``, `[2,1] [] [1,2] 0 false`},
		{"remove", `[{collect: {tags: data.x}}, {remove: {tags: 9}}, {remove: {tags: {text: none}}}]`, `{"x":[9,8,7]}`, `[] [] [7,8] 0 false`},
		{"remove a list from a list", `[{append: {last: data.x}}, {remove: {last: "[1, 5]"}}]`, `{"x":[1,2,1]}`, `[2] [] [] 0 false`},
		{"remove everything", `[{append: {last: data.x}}, {remove: {last: doc.last}}]`, `{"x":[1,2,1]}`, `[] [] [] 0 false`},
		{"set and unset", `[{set: {all: data.x, tags: data.x, last: data.x}}, {unset: n}]`, `{"x":[2,1,2,0]}`, `[1,2,0] [2,1,2,0] [0,1,2] 0 false`},
		{"unset", `[{set: {all: data.x, tags: data.x, last: data.x}}, {unset: [all, tags, last]}]`, `{"x":[2,1,2,0]}`, `[] [] [] 0 false`},
		{"set to what CEL makes", `[{set: {all: "data.x.map(i, i.id).filter(i, i > 1)"}}]`, `{"x":[{"id":1},{"id":2},{"id":3}]}`, `[] [2,3] [] 0 false`},
		{"size", `[{collect: {tags: data.x}}, {set: {n: size(doc.tags)}}, {count: n, when: doc.tags.size() > 1 && size(doc.last) == 0}]`, `{"x":["a","b"]}`, `[] [] ["a","b"] 3 false`},
		{"in", `[{collect: {tags: data.x}}, {set: {b: "data.y in doc.tags && !('z' in doc.tags)"}}]`, `{"x":["a","b"],"y":"b"}`, `[] [] ["a","b"] 0 true`},
		{"an item", `[{append: {last: data.x}}, {set: {n: "doc.last[0] + doc.last[size(doc.last) - 1]"}}]`, `{"x":[7,8,9]}`, `[7,8,9] [] [] 16 false`},
		{"a walk", `[{append: {last: data.x}}, {set: {b: "doc.last.all(i, data.x.exists(j, i == j))", n: "doc.last.filter(i, i in doc.last).size()"}}]`, `{"x":[7,8]}`, `[7,8] [] [] 2 true`},
		{"kinds do not mix", `[{set: {all: data.x}}, {set: {b: "'1' in doc.all || 'true' in doc.all"}}]`, `{"x":[1,true]}`, `[] [1,true] [] 0 false`},
		{"lists that are equal", `[{set: {all: data.x}}, {set: {b: "doc.all == data.x && doc.all == [1, 2]"}}]`, `{"x":[1,2]}`, `[] [1,2] [] 0 true`},
		{"an upcast cannot see them, and can make one", `[{set: {all: data.x}}]
upcast: [{event: E, default: {x: "[1, 'a', true]"}}]`, ``, `[] [1,"a",true] [] 0 false`},
		{"odd texts", `[{append: {last: data.x}}, {collect: {tags: doc.last}}]`, `{"x":["\"\\\u0000","é😀",""]}`, `["\"\\\u0000","é😀",""] [] ["","\"\\\u0000","é😀"] 0 false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := declared.Fold(parse(t, listing(c.do)), one(said(c.data)))
			if got := strings.Join(out.Documents[0].Values, " "); got != c.want || out.Documents[0].Parked != "" {
				t.Errorf("got %s (%s), want %s", got, out.Documents[0].Parked, c.want)
			}
		})
	}
}

func TestWhatAListCannotHoldParks(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat("1,2,", projections.MaxElements/2+1), ",")
	distinct := make([]string, projections.MaxElements+1)
	for i := range distinct {
		distinct[i] = fmt.Sprint(i)
	}
	long := `"` + strings.Repeat("x", projections.MaxElementsBytes/2) + `"`
	for _, c := range []struct{ name, do, data, want string }{
		{"null", `[{append: {last: data.x}}]`, `{"x":null}`, "on E: append last: data.x is null"},
		{"null in a list", `[{collect: {tags: data.x}}]`, `{"x":[1,null]}`, "on E: collect tags: an item of data.x is null"},
		{"an object", `[{collect: {tags: data.x}}]`, `{"x":[{}]}`, "on E: collect tags: an item of data.x is an object"},
		{"a list in a list", `[{set: {all: data.x}}]`, `{"x":[[1]]}`, "on E: set all: a list cannot be an element of a list"},
		{"a fraction", `[{append: {last: data.x}}]`, `{"x":[1.5]}`, "on E: append last: an item of data.x is \"1.5\", which is not an integer of 64 bits"},
		{"an object of an expression", `[{set: {all: "data.x.filter(i, true)"}}]`, `{"x":[{}]}`, "on E: set all: data.x.filter(i, true): an item: the result is an object"},
		{"a fraction that an expression passes on", `[{set: {all: "data.x + [1]"}}]`, `{"x":[1.5]}`, "on E: set all: data.x + [1]: an item: an item of data.x is \"1.5\", which is not an integer of 64 bits"},
		{"a null that an expression passes on", `[{set: {all: "data.x + [1]"}}]`, `{"x":[null]}`, "on E: set all: data.x + [1]: an item: the result is null"},
		{"times of an expression", `[{set: {all: "[timestamp('2001-01-01T00:00:00Z')]"}}]`, `{}`, "on E: set all: [timestamp('2001-01-01T00:00:00Z')]: a time cannot be an element of a list"},
		{"a missing value", `[{append: {last: data.x}}]`, `{}`, "on E: append last: data.x is missing"},
		{"a single value for a list", `[{set: {all: data.x}}]`, `{"x":1}`, "on E: set all: the value is an integer, and a list is wanted"},
		{"a list for an integer", `[{set: {n: data.x}}]`, `{"x":[1]}`, "on E: set n: the value is a list, and an integer is wanted"},
		{"too many", `[{set: {all: data.x}}]`, `{"x":[` + many + `]}`, "on E: set all: it has 1002 elements, over the bound of 1000"},
		{"too many in a set", `[{collect: {tags: data.x}}]`, `{"x":[` + strings.Join(distinct, ",") + `]}`, "on E: collect tags: it has 1001 elements, over the bound of 1000"},
		{"too long", `[{append: {last: data.x}}, {append: {last: data.x}}]`, `{"x":` + long + `}`, "on E: append last: it has 65543 bytes, over the bound of 65536"},
		{"a key of a list", `[{count: n}]
  - {event: E, key: "{data.x}", do: [{count: n}]}`, `{"x":[1]}`, "on E: its key: a list cannot be part of it"},
		{"a condition of a list", `[{count: n, when: data.x}]`, `{"x":[1]}`, "on E: the condition of step 1: it is a list, and a boolean is wanted"},
		{"an item that is not there", `[{set: {n: "doc.last[0]"}}]`, ``, "on E: set n: doc.last[0]: no such item of the list"},
		{"a walk that costs too much", `[{set: {all: data.x}}, {set: {b: "doc.all.all(i, doc.all.all(j, i + j > 0))"}}]`, `{"x":[` + many[:2*projections.MaxElements-1] + `]}`,
			"on E: set b: doc.all.all(i, doc.all.all(j, i + j > 0)): it costs more than the bound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // alike every time
				out := declared.Fold(parse(t, listing(c.do)), one(said(c.data)))
				got := ""
				if got = out.Documents[0].Parked; len(out.Unrouted) > 0 {
					got = out.Unrouted[0].Reason
				}
				if got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

func TestAListBeginsWithItsDefaultInEveryDocument(t *testing.T) {
	p := parse(t, "projection: p\nversion: 1\nfields: {l: {kind: list, keep: 4, default: [1, a]}, s: {kind: set, default: [b, a, b, true, 3]}}\non: [{event: E, do: [{append: {l: data.x}, collect: {s: data.x}, remove: {s: 3}}]}]\n")
	one, two := said(`{"x":"x"}`), said(`{"x":"y"}`)
	two.Entity.ID = "other"
	if got := show(declared.Fold(p, records([]events.Event{one, two, one}))); got != `k=[1,"a","x","x"],["a","b","x",true]; other=[1,"a","y"],["a","b","y",true]` {
		t.Errorf("got %s", got)
	}
	if got := p.NewState().AppendFields(nil); !slices.Equal(got, []string{`[1,"a"]`, `[3,"a","b",true]`}) {
		t.Errorf("a new document is %v", got)
	}
}

func TestAFoldThatFailsLeavesListsAsTheyWere(t *testing.T) {
	p := parse(t, listing(`[{append: {last: data.x}, collect: {tags: data.x}}, {remove: {last: 2}, when: has(data.gone)}, {add: {n: data.n}}]`))
	s := p.NewState()
	var ops projections.Ops
	fold := func(data string) error {
		ops.Reset()
		r := &events.Record{Sequence: 1, Kind: events.KindEvent, Event: said(data)}
		p.Route(r, 0, &ops)
		return p.Fold(s, r, &ops.List()[0])
	}
	for i := range 50 {
		before := s.AppendFields(nil)
		if err := fold(fmt.Sprintf(`{"x":%d}`, 1_000+i)); err == nil || !slices.Equal(s.AppendFields(nil), before) {
			t.Fatalf("after a fold that failed (%v) it is %v, and was %v", err, s.AppendFields(nil), before)
		}
		if err := fold(fmt.Sprintf(`{"x":%d,"n":1}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.AppendFields(nil); got[0] != "[47,48,49]" || !strings.HasPrefix(got[2], "[0,1,2,3,") || strings.Contains(got[2], "1000") || got[3] != "50" {
		t.Errorf("it is %v", got)
	}
}

// The model of a document with one list of each sort, kept in the plainest way.
type model struct {
	last []int
	tags map[int]bool
}

func TestListsAreThoseOfAPlainModel(t *testing.T) {
	p := parse(t, listing(`[{append: {last: data.a}, when: has(data.a)}, {collect: {tags: data.c}, when: has(data.c)}, {remove: {tags: data.r, last: data.r}, when: has(data.r)}, {set: {all: doc.last}}, {append: {last: "doc.all"}, when: has(data.twice)}]`))
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		m := model{tags: map[int]bool{}}
		var log []events.Event
		for range random.IntN(40) {
			n := []int{random.IntN(9), random.IntN(9)}[:1+random.IntN(2)]
			text, err := json.Marshal(n)
			if err != nil {
				t.Fatal(err)
			}
			verb := []string{"a", "c", "r", "twice"}[random.IntN(4)]
			log = append(log, said(fmt.Sprintf(`{%q:%s}`, verb, text)))
			switch verb {
			case "a":
				m.last = append(m.last, n...)
			case "c":
				for _, i := range n {
					m.tags[i] = true
				}
			case "r":
				for _, i := range n {
					delete(m.tags, i)
					m.last = slices.DeleteFunc(m.last, func(j int) bool { return i == j })
				}
			case "twice":
				m.last = append(m.last, m.last...)
			}
			m.last = m.last[max(0, len(m.last)-3):]
		}
		if len(log) == 0 {
			continue
		}
		var tags []int
		for i := range m.tags {
			tags = append(tags, i)
		}
		slices.Sort(tags)
		got := declared.Fold(p, records(log)).Documents[0].Values
		for i, want := range map[int][]int{0: m.last, 2: tags} {
			if text := strings.ReplaceAll(fmt.Sprint(want), " ", ","); got[i] != text {
				t.Fatalf("after %d events it is %s, and the model %s", len(log), got[i], text)
			}
		}
	}
}

func TestASetDoesNotDependOnTheOrderOfEvents(t *testing.T) {
	p := parse(t, listing(`[{collect: {tags: data.x}}]`))
	random := rand.New(rand.NewPCG(3, 4))
	var log []events.Event
	for i := range 60 {
		log = append(log, said([]string{fmt.Sprintf(`{"x":%d}`, i%20), fmt.Sprintf(`{"x":"t%d"}`, i%13), `{"x":[true,"",-5]}`}[i%3]))
	}
	want := declared.Fold(p, records(log))
	for range 50 {
		random.Shuffle(len(log), func(i, j int) { log[i], log[j] = log[j], log[i] })
		if got := declared.Fold(p, records(log)); got.Digest() != want.Digest() || show(got) != show(want) {
			t.Fatalf("%s and %s", show(got), show(want))
		}
	}
}

func TestAStoredListIsReadBackOrRefused(t *testing.T) {
	p := parse(t, listing(`[{append: {last: data.x}}]`))
	s := p.NewState()
	want := []string{`[1,"a",true]`, `[3,2]`, `[2,3,"x"]`, "7", "true"}
	if err := s.SetFields(want); err != nil || !slices.Equal(s.AppendFields(nil), want) {
		t.Errorf("got %v, %v", s.AppendFields(nil), err)
	}
	for i, all := range [][]string{{"", "[1,2,3,4]", "[ 1]", "1", `["\u0061"]`}, {"[1.0]", "[[]]", "{}"}, {"[2,1]", "[1,1]", `["a",1]`}} {
		for _, bad := range all {
			values := slices.Clone(want)
			values[i] = bad
			if s.SetFields(values) == nil {
				t.Errorf("%s is read", bad)
			}
		}
	}
}

func FuzzListsAreFoldedAlikeAndReadBack(f *testing.F) {
	f.Add(`{"x":[1,"a",true]}`, `{"x":"a"}`)
	f.Add(`{"x":"\u0000\ud83d\ude00"}`, `{"x":[[]]}`)
	f.Add(`{"x":1.5}`, `{"x":null}`)
	f.Fuzz(func(t *testing.T, first, second string) {
		p := parse(t, listing(`[{collect: {tags: data.x}}, {append: {last: data.x}}, {set: {all: "doc.last.filter(i, i in doc.tags)", n: size(doc.tags)}}, {remove: {tags: "doc.last"}, when: size(doc.tags) > 2}]`))
		log := []events.Event{said(first), said(second), said(first)}
		out, again := declared.Fold(p, records(log)), declared.Fold(p, records(log))
		if show(out) != show(again) {
			t.Fatalf("%s and %s", show(out), show(again))
		}
		for _, d := range out.Documents {
			s := p.NewState()
			if err := s.SetFields(d.Values); err != nil || !slices.Equal(s.AppendFields(nil), d.Values) {
				t.Fatalf("%v is read back as %v, %v", d.Values, s.AppendFields(nil), err)
			}
			if !json.Valid([]byte(d.Values[0])) || !json.Valid([]byte(d.Values[2])) {
				t.Fatalf("%v is no JSON", d.Values)
			}
		}
	})
}
