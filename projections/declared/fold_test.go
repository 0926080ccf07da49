package declared_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
)

// parse reads a file that must be good.
func parse(t testing.TB, text string) *declared.Projection {
	t.Helper()
	p, _, err := declared.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// said returns an event of type E about x/k.
func said(data string) events.Event {
	return events.Event{ID: "1", Source: "urn:test", Type: "E", Entity: events.Entity{Type: "x", ID: "k"}, Data: []byte(data)}
}

// show writes an outcome on one line: k=1,2 or k=1,2!reason; unrouted events behind it.
func show(o declared.Outcome) string {
	var all []string
	for _, d := range o.Documents {
		text := d.Key + "=" + strings.Join(d.Values, ",")
		if d.Parked != "" {
			text += fmt.Sprintf("!%d %s", d.ParkedAt, d.Parked)
		}
		all = append(all, text)
	}
	for _, u := range o.Unrouted {
		all = append(all, fmt.Sprintf("?%d %s", u.Sequence, u.Reason))
	}
	return strings.Join(all, "; ")
}

// steps returns a file with the fields n (int), s (string) and b (bool), and one rule.
func steps(do string) string {
	return "projection: p\nversion: 1\nfields: {n: int, s: string, b: bool}\non:\n  - event: E\n    do:\n" + do
}

func TestEachStepChangesItsField(t *testing.T) {
	for _, c := range []struct{ name, do, data, want string }{
		{"set", `[{set: {n: data.n, s: data.s, b: data.b}}]`, `{"n":5,"s":"x","b":true}`, "k=5,x,true"},
		{"set constants", `[{set: {n: -7, s: {text: "data.s"}, b: true}}]`, ``, "k=-7,data.s,true"},
		{"set from attributes", `[{set: {n: event.sequence, s: event.entity.id, b: event.has_time}}]`, ``, "k=1,k,false"},
		{"unset", `[{set: {n: 4, s: {text: x}}}, {unset: n}]`, ``, "k=0,x,false"},
		{"unset several", `[{set: {n: 4, s: {text: x}}}, {unset: [n, s]}]`, ``, "k=0,,false"},
		{"add", `[{add: {n: data.n}}, {add: {n: data.n}}]`, `{"n":-3}`, "k=-6,,false"},
		{"count", `[{count: n}, {count: [n, n]}]`, ``, "k=3,,false"},
		{"max and min of integers", `[{set: {n: 5}}, {max: {n: 3}}, {min: {n: data.n}}]`, `{"n":4}`, "k=4,,false"},
		{"max of strings, by bytes", `[{max: {s: data.a}}, {max: {s: data.b}}]`, `{"a":"b","b":"B"}`, "k=0,b,false"},
		{"min of strings", `[{set: {s: data.a}}, {min: {s: data.b}}]`, `{"a":"b","b":"B"}`, "k=0,B,false"},
		{"a condition that is not met", `[{count: n, when: data.n > 1}]`, `{"n":1}`, "k=0,,false"},
		{"a step sees the one before", `[{count: n}, {set: {s: string(doc.n)}, when: doc.n == 1}]`, ``, "k=1,1,false"},
		{"a verb sees the verb before it in the same step", `[{count: n, add: {n: doc.n}}]`, ``, "k=2,,false"},
		{"delete", `[{count: n}, {delete: true, when: data.n == 1}]`, `{"n":1}`, ""},
		{"has and default", `[{set: {n: "default(data.a.b, 9)", b: has(data.a)}}]`, `{}`, "k=9,,false"},
		{"default of what is there", `[{set: {n: "default(data.a.b, 9)", b: has(data.a)}}]`, `{"a":{"b":0}}`, "k=0,,true"},
		{"default where the middle is missing", `[{set: {n: "default(data.a.b.c, 9)"}}]`, `{"a":{}}`, "k=9,,false"},
		{"an index and a list", `[{set: {n: "data.l[1]", b: "2 in data.l", s: "data['odd name']"}}]`, `{"l":[1,2],"odd name":"x"}`, "k=2,x,true"},
		{"a walk through a list", `[{set: {b: "data.l.exists(x, x.id == 2)", n: "data.l.filter(x, x.id > 1).size()"}}]`, `{"l":[{"id":1},{"id":2},{"id":3}]}`, "k=2,,true"},
		{"escapes", `[{set: {s: data.s}}]`, `{"s":"a\"\\\u00e9\ud83d\ude00\n"}`, "k=0,a\"\\é😀\n,false"},
		{"nesting and blanks", ` [{set: {n: data.a.b}}]`, " { \"x\" : [ { } , [ ] ] ,\n\"a\" : {\"b\" : 3 } } ", "k=3,,false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(t, steps("      "+c.do+"\n"))
			if got := show(declared.Fold(p, records([]events.Event{said(c.data)}))); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatCannotBeAppliedParksTheDocumentWithAReason(t *testing.T) {
	for _, c := range []struct{ name, do, data, want string }{
		{"a missing value", `[{add: {n: data.n}}]`, `{}`, "on E: add n: data.n is missing"},
		{"a missing object", `[{add: {n: data.a.b.c}}]`, `{"a":{}}`, "on E: add n: data.a.b is missing"},
		{"a missing value in an expression", `[{add: {n: data.a.b + 1}}]`, `{"a":{}}`, "on E: add n: data.a.b + 1: data.a.b is missing"},
		{"null", `[{add: {n: data.n}}]`, `{"n":null}`, "on E: add n: data.n is null"},
		{"a string for an integer", `[{add: {n: data.n}}]`, `{"n":"1"}`, "on E: add n: the value is a string, and an integer is wanted"},
		{"an integer for a string", `[{set: {s: data.n}}]`, `{"n":1}`, "on E: set s: the value is an integer, and a string is wanted"},
		{"a fraction", `[{add: {n: data.n}}]`, `{"n":1.5}`, `on E: add n: data.n is "1.5", which is not an integer of 64 bits`},
		{"a whole number written as a fraction", `[{add: {n: data.n}}]`, `{"n":1.0}`, `on E: add n: data.n is "1.0", which is not an integer of 64 bits`},
		{"an exponent", `[{add: {n: data.n}}]`, `{"n":1e3}`, `on E: add n: data.n is "1e3", which is not an integer of 64 bits`},
		{"65 bits", `[{add: {n: data.n}}]`, `{"n":9223372036854775808}`, `on E: add n: data.n is "9223372036854775808", which is not an integer of 64 bits`},
		{"a fraction in an expression", `[{add: {n: data.n * 2}}]`, `{"n":1.5}`, `on E: add n: data.n * 2: data.n is "1.5", which is not an integer of 64 bits`},
		{"a fraction in a list", `[{add: {n: "data.l[0] + 1"}}]`, `{"l":[0.5]}`, `on E: add n: data.l[0] + 1: an item of data.l is "0.5", which is not an integer of 64 bits`},
		{"a sum over 64 bits", `[{add: {n: data.n}}, {count: n}]`, `{"n":9223372036854775807}`, `on E: count n: "9223372036854775807" and "1" together do not fit into 64 bits`},
		{"a sum under 64 bits", `[{add: {n: data.n}}, {add: {n: -1}}]`, `{"n":-9223372036854775808}`, `on E: add n: "-9223372036854775808" and "-1" together do not fit into 64 bits`},
		{"an overflow in an expression", `[{set: {n: data.n * 2}}]`, `{"n":9223372036854775807}`, "on E: set n: data.n * 2: an integer overflow"},
		{"a division by zero", `[{set: {n: 1 / data.n}}]`, `{"n":0}`, "on E: set n: 1 / data.n: a division by zero"},
		{"a remainder by zero", `[{set: {n: 1 % data.n}}]`, `{"n":0}`, "on E: set n: 1 % data.n: a division by zero"},
		{"kinds that do not go together", `[{set: {n: data.n + 1}}]`, `{"n":"1"}`, "on E: set n: data.n + 1: values of these kinds do not go together"},
		{"an item that is not there", `[{set: {n: "data.l[3]"}}]`, `{"l":[]}`, "on E: set n: data.l[3]: no such item of the list"},
		{"a walk through an object", `[{set: {b: "data.o.all(x, true)"}}]`, `{"o":{"a":1,"b":2}}`, "on E: set b: data.o.all(x, true): an object cannot be walked through"},
		{"a walk through an empty object", `[{set: {b: "data.o.all(x, true)"}}]`, `{"o":{}}`, "on E: set b: data.o.all(x, true): an object cannot be walked through"},
		{"objects compared", `[{set: {b: data.o == data.o}}]`, `{"o":{}}`, "on E: set b: data.o == data.o: data.o is an object: only its values can be compared"},
		{"an object for a value", `[{set: {s: data.o}}]`, `{"o":{}}`, "on E: set s: data.o is an object"},
		{"a list for a value", `[{set: {s: "data.l + data.l"}}]`, `{"l":[]}`, "on E: set s: the value is a list, and a string is wanted"},
		{"a condition that is no boolean", `[{count: n, when: data.n}]`, `{"n":1}`, "on E: the condition of step 1: it is an integer, and a boolean is wanted"},
		{"has below what is missing", `[{set: {b: has(data.a.b)}}]`, `{}`, "on E: set b: has(data.a.b): data.a is missing"},
		{"no time", `[{set: {s: string(event.time)}}]`, `{}`, "on E: set s: string(event.time): event.time is missing"},
		{"no JSON", `[{add: {n: data.n}}]`, `{"n":1`, "on E: add n: the data is not JSON"},
		{"a name twice", `[{add: {n: data.n}}]`, `{"n":1,"n":2}`, "on E: add n: the data is not JSON"},
		{"a list as data", `[{add: {n: data.n}}]`, `[1]`, "on E: add n: data.n is missing"},
		{"no data", `[{add: {n: data.n}}]`, ``, "on E: add n: data.n is missing"},
		{"a conversion", `[{set: {n: int(data.s)}}]`, `{"s":"x"}`, "on E: set n: int(data.s): a value cannot be converted"},
		{"a large text", `[{set: {s: data.s}}]`, `{"s":"` + strings.Repeat("x", declared.MaxText+1) + `"}`, "on E: set s: the text has 65537 bytes, over the bound of 65536"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(t, steps("      [{set: {b: true}}]\n  - event: E\n    do:\n      "+c.do+"\n"))
			want := "k=0,,false!2 " + c.want // the rule before it does not count either
			second := said(c.data)
			first := said("{}")
			first.Type = "Other"
			if got := show(declared.Fold(p, records([]events.Event{first, second, said("{}")}))); got != want {
				t.Errorf("got  %q,\nwant %q", got, want)
			}
		})
	}
}

func TestAnEventCountsWithAllOfItsRulesOrWithNone(t *testing.T) {
	p := parse(t, steps("      [{count: n}]\n  - event: E\n    do:\n      [{set: {s: {text: done}}}, {delete: true, when: data.delete}]\n"+
		"  - event: E\n    do:\n      [{add: {n: data.n}}]\n"))
	for _, c := range []struct {
		data []string
		want string
	}{
		{[]string{`{"n":1,"delete":false}`, `{"n":5,"delete":false}`}, "k=8,done,false"},
		{[]string{`{"n":1,"delete":false}`, `{"n":5,"delete":true}`}, "k=5,,false"}, // made anew by the last rule
		{[]string{`{"n":1,"delete":false}`, `{"delete":true}`}, "k=2,done,false!2 on E: add n: data.n is missing"},
		{[]string{`{"n":1}`}, "k=0,,false!1 on E: the condition of step 2: data.delete is missing"},
	} {
		var given []events.Event
		for _, data := range c.data {
			given = append(given, said(data))
		}
		if got := show(declared.Fold(p, records(given))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.data, got, c.want)
		}
	}
}

func TestAFoldThatFailsHalfwayChangesNothing(t *testing.T) {
	p := parse(t, steps("      [{count: n}, {set: {s: {text: done}}}, {add: {n: data.n}}]\n"))
	got := show(declared.Fold(p, records([]events.Event{said(`{"n":1}`), said(`{}`)})))
	if !strings.HasPrefix(got, "k=2,done,false!2 ") {
		t.Errorf("got %q", got)
	}
}

func TestRulesAreChosenByTypeEntityAndCondition(t *testing.T) {
	p := parse(t, `
projection: p
version: 1
fields: {n: int}
on:
  - {event: [E, F], entity: x, when: data.yes, do: [{add: {n: 1}}]}
  - {event: E, do: [{add: {n: 10}}]}
  - {event: E, entity: "y", do: [{add: {n: 100}}]}
`)
	f, other := said(`{"yes":true}`), said(`{"yes":true}`)
	f.Type, other.Type = "F", "G"
	e := said(`{"yes":false}`)
	e.Entity.ID = "no"
	if got := show(declared.Fold(p, records([]events.Event{said(`{"yes":true}`), f, other, e}))); got != "k=12; no=10" {
		t.Errorf("got %q", got)
	}
	want := []projections.Handles{{EntityType: "x", EventType: "E", ByEntity: true}, {EntityType: "x", EventType: "F", ByEntity: true},
		{EventType: "E", ByEntity: true}, {EntityType: "y", EventType: "E", ByEntity: true}}
	if got := p.Definition().Handles; !slices.Equal(got, want) {
		t.Errorf("it handles %+v", got)
	}
}

func TestAConditionThatCannotBeComputedParksOrIsUnrouted(t *testing.T) {
	const file = "projection: p\nversion: 1\nfields: {n: int}\non:\n  - {event: E, when: data.yes, %sdo: [{count: n}]}\n"
	if got := show(declared.Fold(parse(t, fmt.Sprintf(file, "")), records([]events.Event{said(`{}`)}))); got != "k=0!1 on E: its condition: data.yes is missing" {
		t.Errorf("got %q", got)
	}
	p := parse(t, fmt.Sprintf(file, `key: "a{data.k}", `))
	if got := show(declared.Fold(p, records([]events.Event{said(`{}`), said(`{"k":1}`)}))); got !=
		"a1=0!2 on E: its condition: data.yes is missing; ?1 on E: its condition: data.yes is missing" {
		t.Errorf("got %q", got)
	}
}

func TestKeysAreMadeOfTextsAndExpressions(t *testing.T) {
	for _, c := range []struct{ key, data, want string }{
		{"{data.a}-{data.b}", `{"a":"x","b":7}`, "x-7=1"},
		{"{{{data.a}}}", `{"a":"x"}`, "{x}=1"},
		{"fixed", ``, "fixed=1"},
		{"{event.entity.id}", ``, "k=1"},
		{"{event.type}/{data.a + 'z'}", `{"a":"x"}`, "E/xz=1"},
		{"{data.a}", `{}`, "?1 on E: its key: data.a is missing"},
		{"{data.a}", `{"a":""}`, "?1 on E: the document key is empty"},
		{"{data.a}", `{"a":1.5}`, `?1 on E: its key: data.a is "1.5", which is not an integer of 64 bits`},
		{"{data.a}", `{"a":true}`, "?1 on E: its key: a boolean cannot be part of it"},
		{"{data.a}", `{"a":"` + strings.Repeat("x", projections.MaxKeyBytes+1) + `"}`, "?1 on E: the document key has 2049 bytes, over the bound of 2048"},
	} {
		p := parse(t, "projection: p\nversion: 1\nfields: {n: int}\non:\n  - {event: E, key: \""+c.key+"\", do: [{count: n}]}\n")
		got := show(declared.Fold(p, records([]events.Event{said(c.data)})))
		if got, _, _ = strings.Cut(got, "[invalid"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.key, got, c.want)
		}
		if c.key != "{event.entity.id}" && p.Definition().Handles[0].ByEntity {
			t.Errorf("%s counts as the entity's id", c.key)
		}
	}
}

func TestTimesAreInUTCOrAFixedZone(t *testing.T) {
	p := parse(t, steps(`      [{set: {s: string(event.time), n: "event.time.getHours() * 100 + event.time.getHours('+02:00')"}}]`+"\n"))
	e := said("")
	e.Time = time.Date(2001, 2, 3, 23, 5, 6, 7000, time.FixedZone("", 3600))
	if got := show(declared.Fold(p, records([]events.Event{e}))); got != "k=2200,2001-02-03T22:05:06.000007Z,false" {
		t.Errorf("got %q", got)
	}
}

func TestOldVersionsOfEventsAreUpcastOnce(t *testing.T) {
	p := parse(t, `
projection: p
version: 1
fields: {n: int, s: string, b: bool}
upcast:
  - event: E
    when: event.schema == "v1"
    rename: {late: delay, never: there}
    default: {unit: {text: min}}
    set: {hours: data.delay / 60}
  - event: E
    set: {twice: "default(data.hours, 0) * 2"}
on:
  - {event: E, do: [{set: {n: data.twice, s: "default(data.unit, 'none')", b: has(data.late)}}]}
  - {event: E, key: second, do: [{add: {n: data.twice}}]}
`)
	old, odd := said(`{"late":180,"never_mind":1.5}`), said(`{"late":1,"delay":2}`)
	old.Schema, odd.Schema, odd.Entity.ID = "v1", "v1", "odd"
	if got := show(declared.Fold(p, records([]events.Event{old}))); got != "k=6,min,false; second=6,,false" {
		t.Errorf("got %q", got)
	}
	if got := show(declared.Fold(p, records([]events.Event{said(`{}`)}))); got != "k=0,none,false; second=0,,false" {
		t.Errorf("got %q", got)
	}
	if got := show(declared.Fold(p, records([]events.Event{odd}))); !strings.HasPrefix(got, "odd=0,,false!1 on E: set n: upcast of E: the data has both late and delay") {
		t.Errorf("got %q", got)
	}
}

func TestAnUpcastThatMovesNamesLeavesTheOthersWhatTheyWere(t *testing.T) {
	p := parse(t, `
projection: p
version: 1
fields: {n: int, s: string, b: bool}
upcast:
  - {event: E, when: "data.b['x'] == 1 && data.c['x'] == 2", rename: {a: z}, default: {q1: 1, q2: 1, q3: 1, q4: 1, q5: 1, q6: 1, q7: 1, q8: 1}, set: {a: "data.c['x'] * 10"}}
on:
  - {event: E, do: [{set: {n: "data.b['x'] * 1000 + data.c['x'] * 100 + data.z['x'] + data.a", b: "data.q8 == 1"}}]}
`)
	if got := show(declared.Fold(p, one(said(`{"a":{"x":7},"b":{"x":1},"c":{"x":2}}`)))); got != "k=1227,,true" {
		t.Errorf("got %q", got)
	}
}

func TestAnExpressionThatCostsTooMuchParksAlikeEveryTime(t *testing.T) {
	p := parse(t, steps(`      [{set: {b: "data.l.exists(x, data.l.exists(y, x + y == -1))"}}]`+"\n"))
	list := "[" + strings.Repeat("1,", 2_000) + "1]"
	for range 3 {
		got := show(declared.Fold(p, records([]events.Event{said(`{"l":` + list + `}`)})))
		if got != "k=0,,false!1 on E: set b: data.l.exists(x, data.l.exists(y, x + y == -1)): it costs more than the bound" {
			t.Fatalf("got %q", got)
		}
	}
	if got := show(declared.Fold(p, records([]events.Event{said(`{"l":[1,2,-3]}`)}))); got != "k=0,,true" {
		t.Errorf("got %q", got)
	}
}

func TestADocumentIsReadBackAsItWasWritten(t *testing.T) {
	p := parse(t, "projection: p\nversion: 1\nfields: {n: {kind: int, default: -5}, s: {kind: string, default: x}, b: {kind: bool, default: true}}\non: [{event: E, do: [{unset: n}]}]\n")
	s := p.NewState()
	if got := s.AppendFields(nil); !slices.Equal(got, []string{"-5", "x", "true"}) {
		t.Errorf("a new document is %v", got)
	}
	want := []string{"9223372036854775807", "a,\n", "false"}
	if err := s.SetFields(want); err != nil || !slices.Equal(s.AppendFields(nil), want) {
		t.Errorf("got %v, %v", s.AppendFields(nil), err)
	}
	for _, bad := range [][]string{{"1", "a"}, {"x", "a", "true"}, {"1", "a", "maybe"}} {
		if s.SetFields(bad) == nil {
			t.Errorf("%v is read", bad)
		}
	}
}

// A call is used again for the next event. What the event before carried must be gone by then, also when no rule was concerned with that.
func TestAnEventIsNotReadAsTheOneBefore(t *testing.T) {
	p := parse(t, "projection: p\nversion: 1\nfields: {n: int}\non: [{event: E, when: data.n > 1, do: [{set: {n: data.n}}]}]\n")
	var ops projections.Ops
	for range 3 { // the memory of the operations is used again
		ops.Reset()
		for seq, data := range []string{`{"n":1}`, `{"n":5}`, `{"n":0}`, `{"n":7}`} {
			r := &events.Record{Sequence: uint64(seq) + 1, Kind: events.KindEvent, Event: said(data)}
			p.Route(r, seq, &ops)
		}
		if len(ops.List()) != 2 {
			t.Fatalf("%d operations, want 2", len(ops.List()))
		}
	}
}
