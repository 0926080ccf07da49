package importer_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/importer"
)

func TestAMapWithAMistakeIsRefusedWithItsLine(t *testing.T) {
	const good = "name: a\nsource: urn:a\nevents:\n  - type: T\n    entity: t/{a}\n"
	if _, err := importer.ParseMap([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, says string }{
		{"empty", "", "empty"},
		{"only a comment", "# nothing\n", "empty"},
		{"not YAML", "name: [", "not YAML"},
		{"a list", "- a\n", "line 1: the map must be a mapping"},
		{"two documents", good + "---\nname: b\n", "more than one"},
		{"an unknown key", good + "colour: red\n", `line 6: the map has no key "colour"`},
		{"an unknown key of an event", good + "    when: now\n", `line 6: an event has no key "when"`},
		{"a key twice", good + "name: b\n", "line 6: the map has the key name twice"},
		{"no source", "name: a\nevents:\n  - {type: T, entity: t/x}\n", "lacks the key source"},
		{"no events", "name: a\nsource: urn:a\nevents: []\n", "line 3: events must be a list"},
		{"no type", "name: a\nsource: urn:a\nevents:\n  - entity: t/x\n", "line 4: an event lacks the key type"},
		{"a bad name", strings.Replace(good, "name: a", "name: a b", 1), "line 1: the name"},
		{"a bad source", strings.Replace(good, "urn:a", `"urn:a\n"`, 1), "control character"},
		{"a bad type", strings.Replace(good, "type: T", "type: a b", 1), "not an event type"},
		{"a bad entity", strings.Replace(good, "t/{a}", "nothing", 1), "is not an entity"},
		{"an open brace", strings.Replace(good, "t/{a}", `"t/{a"`, 1), "line 5: entity:"},
		{"a lonely brace", strings.Replace(good, "t/{a}", `"t/a}"`, 1), "brace without its partner"},
		{"an empty path", strings.Replace(good, "t/{a}", `"t/{}"`, 1), "not a path"},
		{"a list for a text", strings.Replace(good, "type: T", "type: [T]", 1), "line 4: type must be a text"},
		{"a null", strings.Replace(good, "type: T", "type: ~", 1), "line 4: type must be a text"},
		{"a time without layout", good + "    time: {field: a}\n", "line 6: time lacks the key layout"},
		{"empty data", good + "    data: {}\n", "line 6: data must be a mapping"},
		{"an anchor", strings.Replace(good, "type: T", "type: &x T", 1), "anchors and aliases"},
		{"too large", good + "# " + strings.Repeat("x", importer.MaxMapBytes), "over the bound"},
		{"a bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nname: *b\n", "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := importer.ParseMap([]byte(c.text))
			if !errors.Is(err, importer.ErrInvalidMap) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestAMapsHashIsThatOfItsMeaning(t *testing.T) {
	a := parse(t, "name: a\nsource: urn:a\nevents:\n  - type: T\n    entity: t/{a}\n")
	b := parse(t, "# the same\nevents: [{entity: 't/{a}', type: T}]\nsource: urn:a\nname: \"a\"\n")
	c := parse(t, "name: a\nsource: urn:a\nevents:\n  - type: T\n    entity: t/{b}\n")
	if a.Hash() != b.Hash() || a.Hash() == c.Hash() {
		t.Errorf("the hashes are %s, %s and %s; want the first two equal and the third another", a.Hash(), b.Hash(), c.Hash())
	}
}

func TestFieldsTimesAndIDsComeFromTheLine(t *testing.T) {
	m := parse(t, `
name: nested
source: urn:test
events:
  - type: "{kind}"
    entity: thing/{{{at.id}}}/{at.ok}
    id: "{at.id}-{n}"
    time: {field: when, layout: "2006/01/02 15:04"}
    data: {n: n, deep: at}
`)
	log := newLog(t)
	run(t, log, m, `{"kind":"Seen","at":{"id":"ü/1","ok":true},"n":1.50,"when":"2001/02/03 04:05"}`, importer.Options{})
	r, err := log.Record(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	e := r.Event
	want := events.Entity{Type: "thing", ID: "{ü/1}/true"}
	if e.Type != "Seen" || e.Entity != want || e.ID != "ü/1-1.50" || !e.Time.Equal(time.Date(2001, 2, 3, 4, 5, 0, 0, time.UTC)) {
		t.Errorf("the event is %+v", e)
	}
	if got := string(e.Data); got != `{"n":1.50,"deep":{"id":"ü/1","ok":true}}` {
		t.Errorf("the data is %s", got)
	}
	refused(t, log, parse(t, "name: x\nsource: urn:x\nevents:\n  - type: T\n    entity: t/{a}\n    time: {field: b, layout: '2006'}\n"),
		`{"a":1,"b":"soon"}`, importer.ErrInvalidLine, `line 1: event 1: time: the field b is "soon"`)
}

func FuzzAnyMapIsReadOrRefused(f *testing.F) {
	f.Add(twoEvents, flightLines(1))
	f.Add("name: a\nsource: b\nevents:\n  - {type: '{a.b}', entity: 'x/{{{c}', id: '{}'}\n", `{"a":{"b":1}}`)
	f.Fuzz(func(t *testing.T, text, line string) {
		m, err := importer.ParseMap([]byte(text))
		if err != nil {
			if !errors.Is(err, importer.ErrInvalidMap) {
				t.Fatalf("the error has another code: %v", err)
			}
			return
		}
		_, err = importer.Run(t.Context(), newLog(t), m, strings.NewReader(line), importer.Options{})
		if err != nil && !errors.Is(err, importer.ErrInvalidLine) {
			t.Fatalf("the error has another code: %v", err)
		}
	})
}
