package declared_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
)

// orders is a projection of a stream that is not ours. Its documents say what the event was mapped to.
const orders = `projection: orders
version: 1
stream:
  name: ORDERS
  subjects: ["orders.>", "*.legacy"]
  type: subject[1]
  entity: {type: {text: order}, id: data.order.id}
  data: data.order
  time: default(data.at, "")
  id: headers["X-Id"]
fields: {n: int, id: string, at: string, total: int}
on:
  - event: [placed, legacy]
    entity: order
    do:
      - count: n
      - set: {id: event.id, at: "event.has_time ? string(event.time) : event.source"}
      - add: {total: data.total}
`

func message(seq uint64, subject, data string, headers ...string) *events.Record {
	r := &events.Record{Kind: events.KindMessage, Sequence: seq, Subject: subject, Time: time.Unix(1_700_000_000, 0), Event: events.Event{Data: []byte(data)}}
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header == nil {
			r.Header = events.Header{}
		}
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}

func fold(p projections.Projection, records ...*events.Record) string {
	return show(declared.Fold(p, slices.Values(records)))
}

func TestAMessageBecomesAnEvent(t *testing.T) {
	p := parse(t, orders)
	if s := p.Definition().Source; s == nil || *s != (projections.Source{Stream: "ORDERS", Origin: "orders"}) {
		t.Errorf("the source is %+v", s)
	}
	for _, h := range p.Definition().Handles {
		if h.ByEntity {
			t.Error("a stream has no history of an entity")
		}
	}
	for _, c := range []struct {
		name string
		m    *events.Record
		want string
	}{
		{"whole", message(7, "orders.placed.x", `{"order":{"id":"A","total":5},"at":"2001-02-03T04:05:06.5+01:00"}`, "X-Id", "i-1"), "A=1,i-1,2001-02-03T03:05:06.5Z,5"},
		{"no time", message(7, "orders.placed", `{"order":{"id":"A","total":5}}`, "X-Id", "1", "X-Id", "2"), "A=1,1,ORDERS,5"},
		{"an integer as id", message(7, "orders.placed", `{"order":{"id":17,"total":5}}`, "X-Id", "1"), "17=1,1,ORDERS,5"},
		{"another of the subjects", message(7, "old.legacy", `{"order":{"id":"A","total":5}}`, "X-Id", "1"), "A=1,1,ORDERS,5"},
		{"a subject that is not asked for", message(7, "returns.placed.x", `nonsense`), ""},
		{"one that is too short", message(7, "orders", `nonsense`), ""},
		{"one that is too long", message(7, "old.legacy.x", `nonsense`), ""},
		{"a type without a rule", message(7, "orders.cancelled.x", `{}`), ""},
		{"a type that is none", message(7, "orders.a%b.x", `{}`), `?7 its type "a%b" is none: 1 to 128 characters of A-Z a-z 0-9 . _ -`},
		{"not JSON", message(7, "orders.placed.x", `{"order":`), "?7 the payload is not JSON: the data at byte 9: the text ends where a value should begin"},
		{"NUL", message(7, "orders.placed.x", "\x00\x00", "X-Id", "1"), "?7 the payload is not JSON: the data at byte 0: no value begins with this character"},
		{"a key twice", message(7, "orders.placed.x", `{"order":{"id":"A","id":"B"}}`, "X-Id", "1"), "?7 the payload is not JSON: the data at byte 19: the object has this key twice"},
		{"a number that no reader has", message(7, "orders.placed.x", `{"order":{"id":"A","total":1e400}}`, "X-Id", "1"), "?7 the payload is not JSON: the data at byte 27: a number beyond the range of a 64-bit float"},
		{"too deep", message(7, "orders.placed.x", strings.Repeat("[", 100)), "?7 the payload is not JSON: the data at byte 64: nested deeper than 64 levels"},
		{"not UTF-8", message(7, "orders.placed.x", "\"\xff\""), "?7 the payload is not JSON: the data at byte 1: not UTF-8"},
		{"too large", message(7, "orders.placed.x", `"`+strings.Repeat("x", events.MaxDataBytes)+`"`), "?7 the payload has 1048578 bytes, over the bound of 1048576"},
		{"headers that are too large", message(7, "orders.placed.x", `{}`, "x", strings.Repeat("x", 65_536)), "?7 the headers have 65537 bytes, over the bound of 65536"},
		{"empty", message(7, "orders.placed.x", "", "X-Id", "1"), "?7 its entity's id: data.order is missing"},
		{"an entity that is none", message(7, "orders.placed.x", `{"order":{"id":""}}`, "X-Id", "1"), `?7 the entity of type 'order' has an empty id`},
		{"a boolean as id", message(7, "orders.placed.x", `{"order":{"id":true}}`, "X-Id", "1"), "?7 its entity's id is a boolean"},
		{"an object as id", message(7, "orders.placed.x", `{"order":{"id":{}}}`, "X-Id", "1"), "?7 its entity's id: data.order.id is an object"},
		{"no header", message(7, "orders.placed.x", `{"order":{"id":"A"}}`), "?7 its id: headers.X-Id is missing"},
		{"a header in another case", message(7, "orders.placed.x", `{"order":{"id":"A"}}`, "x-id", "1"), "?7 its id: headers.X-Id is missing"},
		{"an empty id", message(7, "orders.placed.x", `{"order":{"id":"A"}}`, "X-Id", ""), "?7 its id is empty, not UTF-8, or longer than 256 bytes"},
		{"an id that is not UTF-8", message(7, "orders.placed.x", `{"order":{"id":"A"}}`, "X-Id", "\xff"), "?7 its id is empty, not UTF-8, or longer than 256 bytes"},
		{"a time that is none", message(7, "orders.placed.x", `{"order":{"id":"A"},"at":"yesterday"}`, "X-Id", "1"), `?7 its time "yesterday" is not one of RFC 3339`},
		{"a time without its unit", message(7, "orders.placed.x", `{"order":{"id":"A"},"at":1700000000}`, "X-Id", "1"), "?7 its time is an integer: say with seconds or milliseconds what it counts"},
		{"a time beyond year 9999", message(7, "orders.placed.x", `{"order":{"id":"A"},"at":"9999-12-31T23:59:59-10:00"}`, "X-Id", "1"), `?7 its time "9999-12-31T23:59:59-10:00" is not one of RFC 3339`},
		{"what a rule needs is missing", message(7, "orders.placed.x", `{"order":{"id":"A"}}`, "X-Id", "1"), "A=0,,,0!7 on placed, legacy: add total: data.total is missing"},
		{"an event", &events.Record{Kind: events.KindEvent, Sequence: 1, Event: said(`{}`)}, "?1 it is no message of a stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fold(p, c.m); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWhatIsMappedIsAnExpression(t *testing.T) {
	with := func(lines string) string {
		return "projection: p\nversion: 1\nstream:\n  name: S\n" + lines + "fields: {s: string}\non:\n  - event: [E, DEL, PUT]\n    do: [{set: {s: \"event.entity.type + ' ' + event.type + ' ' + event.id + (event.has_time ? ' ' + string(event.time) : '')\"}}]\n"
	}
	typed := "  type: {text: E}\n  entity: {type: {text: x}, id: {text: k}}\n"
	for _, c := range []struct {
		name, text string
		m          *events.Record
		want       string
	}{
		{"nothing but texts", with(typed), message(3, "a", ``), "k=x E 3"},
		{"tokens", with("  type: {text: E}\n  entity: {type: 'subject[0]', id: 'subject[size(subject) - 1]'}\n"), message(3, "x.y.z.k", `{}`), "k=x E 3"},
		{"many tokens", with("  type: {text: E}\n  entity: {type: {text: x}, id: 'subject[999]'}\n"), message(3, strings.Repeat("t.", 999)+"k", `{}`), "k=x E 3"},
		{"a token that is not there", with("  type: {text: E}\n  entity: {type: {text: x}, id: 'subject[2]'}\n"), message(3, "a.b", `{}`), "?3 its entity's id: subject[2] is missing"},
		{"a computed token that is not there", with("  type: {text: E}\n  entity: {type: {text: x}, id: 'subject[size(subject)]'}\n"), message(3, "a.b", `{}`), "?3 its entity's id: subject[size(subject)]: no such item of the list"},
		{"a header decides the type", with("  type: '\"KV-Operation\" in headers ? headers[\"KV-Operation\"] : \"PUT\"'\n  entity: {type: {text: x}, id: 'subject[2]'}\n"), message(3, "$KV.b.k", ``, "KV-Operation", "DEL"), "k=x DEL 3"},
		{"and is not there", with("  type: 'has(headers.op) ? headers.op : \"PUT\"'\n  entity: {type: {text: x}, id: 'subject[2]'}\n"), message(3, "$KV.b.k", `{}`), "k=x PUT 3"},
		{"a default for a header", with("  type: default(headers.op, \"E\")\n  entity: {type: {text: x}, id: 'subject[2]'}\n"), message(3, "$KV.b.k", `{}`), "k=x E 3"},
		{"the type in the payload", with("  type: data.kind\n  entity: {type: data.of.type, id: data.of.id}\n"), message(3, "a", `{"kind":"E","of":{"type":"x","id":"k"}}`), "k=x E 3"},
		{"a type that is missing", with("  type: data.kind\n  entity: {type: {text: x}, id: {text: k}}\n"), message(3, "a", `{}`), "?3 its type: data.kind is missing"},
		{"a type that is a list", with("  type: data.kind\n  entity: {type: {text: x}, id: {text: k}}\n"), message(3, "a", `{"kind":[1]}`), "?3 its type is a list"},
		{"an entity type that is none", with("  type: {text: E}\n  entity: {type: data.t, id: {text: k}}\n"), message(3, "a", `{"t":"a.b"}`), `?3 the entity type 'a.b' has a character outside A-Z a-z 0-9 _ -`},
		{"seconds", with(typed + "  time: {seconds: data.at}\n"), message(3, "a", `{"at":1700000000}`), "k=x E 3 2023-11-14T22:13:20Z"},
		{"milliseconds", with(typed + "  time: {milliseconds: data.at}\n"), message(3, "a", `{"at":1700000000123}`), "k=x E 3 2023-11-14T22:13:20.123Z"},
		{"negative milliseconds", with(typed + "  time: {milliseconds: data.at}\n"), message(3, "a", `{"at":-1}`), "k=x E 3 1969-12-31T23:59:59.999Z"},
		{"seconds that are a text", with(typed + "  time: {seconds: data.at}\n"), message(3, "a", `{"at":"1700000000"}`), "?3 its time is a string"},
		{"seconds beyond all years", with(typed + "  time: {seconds: data.at}\n"), message(3, "a", `{"at":9223372036854775807}`), "?3 its time 9223372036854775807 is not between the years 1 and 9999"},
		{"a fraction", with(typed + "  time: {seconds: data.at}\n"), message(3, "a", `{"at":1.5}`), "?3 its time: data.at is \"1.5\", which is not an integer of 64 bits"},
		{"an integer as id of the event", with(typed + "  id: data.n * 2\n"), message(3, "a", `{"n":21}`), "k=x E 42"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fold(parse(t, c.text), c.m); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTheRulesSeeThePartAsTheData(t *testing.T) {
	text := func(data string) string {
		return "projection: p\nversion: 1\nstream:\n  name: S\n  type: {text: E}\n  entity: {type: {text: x}, id: data.id}\n" + data +
			"fields: {n: int}\nupcast: [{event: E, rename: {old: new}}]\non:\n  - {event: E, do: [{set: {n: data.new}}]}\n"
	}
	for _, c := range []struct{ data, payload, want string }{
		{"", `{"id":"k","old":1}`, "k=1"},
		{"  data: data\n", `{"id":"k","new":1}`, "k=1"},
		{"  data: data.a.b\n", `{"id":"k","a":{"b":{"old":1}}}`, "k=1"},
		{"  data: data.a.b\n", `{"id":"k","a":{"b":null}}`, "?1 data.a.b is missing"},
		{"  data: data.a.b\n", `{"id":"k","a":{}}`, "?1 data.a.b is missing"},
		{"  data: data.a.b\n", `{"id":"k","a":[]}`, "?1 data.a.b is missing"},
		{"  data: data.a\n", `{"id":"k","a":7}`, "k=0!1 on E: set n: upcast of E: the data is a number, where an object is wanted"},
	} {
		if got := fold(parse(t, text(c.data)), message(1, "s", c.payload)); got != c.want {
			t.Errorf("%q of %s: got %s, want %s", c.data, c.payload, got, c.want)
		}
	}
}

// The mapping must neither keep a payload in memory nor change what others read.
func TestAMessageIsMappedTheSameEveryTime(t *testing.T) {
	p := parse(t, orders)
	m := message(7, "orders.placed.x", `{"order":{"id":"A","total":5},"at":"2001-02-03T04:05:06Z"}`, "X-Id", "i-1")
	before := m.Fingerprint()
	for range 3 {
		if got := fold(p, m, m); got != "A=2,i-1,2001-02-03T04:05:06Z,10" {
			t.Fatalf("got %s", got)
		}
	}
	var ops projections.Ops
	for range 2 { // the memory of the operations is used again
		ops.Reset()
		p.Route(message(6, "orders.placed.x", `{"order":{"id":"B","total":1}}`), 0, &ops) // which cannot be mapped
		p.Route(m, 0, &ops)
		op := &ops.List()[1]
		for range 2 { // whoever folds again gets the same
			s := p.NewState()
			if err := p.Fold(s, m, op); err != nil || strings.Join(s.AppendFields(nil), ",") != "1,i-1,2001-02-03T04:05:06Z,5" {
				t.Errorf("%v, %v", s.AppendFields(nil), err)
			}
		}
	}
	if m.Fingerprint() != before || m.Kind != events.KindMessage {
		t.Error("mapping changed the record")
	}
}

func TestAMistakeInAStreamIsRefusedWithItsPlace(t *testing.T) {
	const whole = `projection: p
version: 1
stream:
  name: ORDERS
  type: subject[1]
  entity: {type: {text: order}, id: data.id}
fields: {n: int}
on:
  - event: E
    do: [{count: n}]
`
	line := func(text string) string {
		return strings.Replace(whole, "  type: subject[1]\n", "  type: subject[1]\n  "+text+"\n", 1)
	}
	if _, _, err := declared.Parse("f.yaml", []byte(whole)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, says string }{
		{"no mapping", strings.Replace(whole, "stream:\n  name: ORDERS\n  type: subject[1]\n  entity: {type: {text: order}, id: data.id}\n", "stream: ORDERS\n", 1), "3:9: projection-wrong-type: the stream must be a mapping"},
		{"no name", strings.Replace(whole, "  name: ORDERS\n", "", 1), "4:3: projection-missing-key: the stream lacks name"},
		{"a bad name", strings.Replace(whole, "name: ORDERS", "name: orders.>", 1), "4:9: projection-bad-value: the stream's name"},
		{"a bad origin", line("origin: Orders"), "6:11: projection-bad-value: the origin"},
		{"no entity", strings.Replace(whole, "  entity: {type: {text: order}, id: data.id}\n", "", 1), "4:3: projection-missing-key: the stream lacks entity"},
		{"half an entity", strings.Replace(whole, ", id: data.id", "", 1), "6:11: projection-missing-key: an entity lacks id"},
		{"an unknown key", line("filter: x"), "6:3: projection-unknown-key: the stream has no key \"filter\""},
		{"a bad subject", line("subjects: [a..b]"), "6:14: projection-bad-value: \"a..b\" is no subject"},
		{"a > in the middle", line("subjects: 'a.>.b'"), "6:13: projection-bad-value"},
		{"half a star", line("subjects: 'a.b*'"), "6:13: projection-bad-value"},
		{"a subject twice", line("subjects: [a, a]"), "6:17: projection-duplicate-key"},
		{"the event in a mapping", line("id: event.id"), "6:7: projection-bad-expression: id: undeclared reference to 'event'"},
		{"the document in a mapping", line("id: doc.n"), "6:7: projection-bad-expression: id: undeclared reference to 'doc'"},
		{"a boolean as id", line("id: size(subject) > 1"), "6:7: projection-wrong-type: id gives a boolean"},
		{"an integer as type", strings.Replace(whole, "type: subject[1]", "type: size(subject)", 1), "5:9: projection-wrong-type: type gives an integer"},
		{"no path", line("data: data.a + data.b"), "6:9: projection-bad-value: data must be a path"},
		{"a path of something else", line("data: headers.x"), "6:9: projection-bad-value: data must be a path"},
		{"two units", line("time: {seconds: data.a, milliseconds: data.b}"), "6:9: projection-bad-value: time must have either"},
		{"no unit", line("time: {}"), "6:9: projection-bad-value: time must have either"},
		{"an unknown unit", line("time: {minutes: data.a}"), "6:10: projection-unknown-key: a time has no key"},
		{"an integer as time", line("time: size(subject)"), "6:9: projection-wrong-type: time gives an integer"},
		{"a text of seconds", line("time: {seconds: 'subject[0]'}"), "6:19: projection-wrong-type: time: seconds gives a string"},
		{"a float", line("id: string(1.5)"), "6:14: projection-not-deterministic: id: floats"},
		{"expire", strings.Replace(whole, "[{count: n}]", "[{count: n}, {expire: event.time}]", 1), "10:31: projection-unsupported: documents made of a stream"},
		{"the subject in a rule", strings.Replace(whole, "event: E", "event: E\n    when: subject[0] == 'a'", 1), "10:11: projection-bad-expression: when: undeclared reference to 'subject'"},
		{"an event where a message is wanted", whole + "tests: [{name: t, given: [{event: E, entity: x/k}]}]\n", "projection-unknown-key: a message has no key \"event\""},
		{"data and text", whole + "tests: [{name: t, given: [{subject: a, data: {}, text: x}]}]\n", "projection-bad-value: a message has either"},
		{"a message where an event is wanted", good + "tests: [{name: t, given: [{subject: a}]}]\n", "projection-unknown-key: an event has no key \"subject\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := declared.Parse("f.yaml", []byte(c.text))
			invalid, ok := errors.AsType[*declared.Invalid](err)
			if !ok || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %s", err, c.says)
			}
			for _, f := range invalid.Findings {
				if f.Line < 1 || f.Column < 1 {
					t.Errorf("no place: %+v", f)
				}
			}
		})
	}
}

func TestTheStreamIsPartOfTheMeaning(t *testing.T) {
	head, rest, _ := strings.Cut(orders, "stream:")
	_, tail, _ := strings.Cut(rest, "fields:")
	seen := map[string]string{}
	for name, text := range map[string]string{
		"as it is":      orders,
		"no stream":     head + "fields:" + tail,
		"name":          strings.Replace(orders, "name: ORDERS", "name: ORDERS2", 1),
		"origin":        strings.Replace(orders, "name: ORDERS", "name: ORDERS\n  origin: o", 1),
		"subjects":      strings.Replace(orders, `, "*.legacy"`, "", 1),
		"type":          strings.Replace(orders, "type: subject[1]", "type: subject[2]", 1),
		"a text":        strings.Replace(orders, "type: subject[1]", "type: {text: 'subject[1]'}", 1),
		"entity's type": strings.Replace(orders, "text: order}", "text: orders}", 1),
		"entity's id":   strings.Replace(orders, "id: data.order.id", "id: data.id", 1),
		"data":          strings.Replace(orders, "  data: data.order\n", "", 1),
		"time":          strings.Replace(orders, "  time: default(data.at, \"\")\n", "", 1),
		"unit":          strings.Replace(orders, "time: default(data.at, \"\")", "time: {seconds: 'default(data.at, 0)'}", 1),
		"id":            strings.Replace(orders, "  id: headers[\"X-Id\"]\n", "", 1),
	} {
		p := parse(t, text)
		for _, print := range []string{p.Meaning(), p.Definition().Fingerprint()} {
			if other := seen[print]; other != "" {
				t.Errorf("%q and %q have the fingerprint %s", name, other, print)
			}
			seen[print] = name
		}
	}
	if a, b := parse(t, orders), parse(t, "# a comment\n"+orders); a.Meaning() != b.Meaning() {
		t.Error("a comment is part of the meaning")
	}
}

func TestMessagesAreGivenInTests(t *testing.T) {
	text := orders + `tests:
  - name: an order
    given:
      - {subject: orders.placed.1, headers: {X-Id: a}, data: {order: {id: A, total: 3}}}
      - {subject: orders.placed.1, headers: {X-Id: b}, data: {order: {id: A, total: 4}}}
      - {subject: returns.placed, text: nonsense}
      - {subject: orders.placed.2}
      - {subject: orders.placed.3, text: nonsense}
    expect:
      A: {n: 2, id: b, total: 7}
    unrouted: 2
  - name: fails
    given: [{subject: orders.placed.1, headers: {X-Id: a}, data: {order: {id: A, total: 3}}}]
    expect: {A: {n: 2}}
`
	p, cases, err := declared.Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if differences := cases[0].Run(p); len(differences) > 0 {
		t.Errorf("%v", differences)
	}
	if differences := cases[1].Run(p); len(differences) != 1 || differences[0] != "A: n is 1, expected 2" {
		t.Errorf("%v", differences)
	}
}

func TestASampleOfAStreamIsOfMessages(t *testing.T) {
	sample := `{"subject":"orders.placed.1","headers":{"X-Id":"a"},"data":{"order":{"id":"A","total":3}},"sequence":40}
{"subject":"orders.placed.1","headers":{"X-Id":["b","c"]},"data":{"order":{"id":"A","total":1e2}}}
{"subject":"orders.placed.1","text":"not JSON"}
{"subject":"orders.placed.1","data_base64":"AAA="}
`
	p := parse(t, orders)
	var all []*events.Record
	for r, err := range p.Sample(strings.NewReader(sample)) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	const want = "A=1,a,ORDERS,3!41 on placed, legacy: add total: data.total is \"1e2\", which is not an integer of 64 bits; " +
		"?42 the payload is not JSON: the data at byte 0: not a value; true, false and null are the only words; ?43 the payload is not JSON: the data at byte 0: no value begins with this character"
	if got := fold(p, all...); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for text, says := range map[string]string{
		`{"entity":"order/A","type":"placed"}`: "message 1 of the sample has no subject",
		`{"subject":"a","headers":{"x":1}}`:    "a header is neither a text nor a list of texts",
		`{"subject":1}`:                        `Write each as {"subject":`,
	} {
		for _, err := range p.Sample(strings.NewReader(text)) {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: got %v", text, err)
			}
		}
	}
	for r, err := range parse(t, good).Sample(strings.NewReader(`{"entity":"x/k","type":"E"}`)) {
		if err != nil || r.Kind != events.KindEvent {
			t.Errorf("a sample of a log is of events: %+v, %v", r, err)
		}
	}
}
