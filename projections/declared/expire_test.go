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

// expiring returns a file with the field n (int), and one rule for E.
func expiring(do string) string {
	return "projection: p\nversion: 1\nfields: {n: int}\non:\n  - event: E\n    do:\n      " + do + "\n"
}

// at returns an event that happened at a time.
func at(text, data string) events.Event {
	e := said(data)
	e.Time, _ = time.Parse(time.RFC3339Nano, text)
	return e
}

func TestADocumentSaysWhenItExpires(t *testing.T) {
	for _, c := range []struct{ name, do, time, data, want string }{
		{"a duration", `[{expire: event.time + duration("24h")}]`, "2001-01-01T10:00:00.5+01:00", ``, "k=0,2001-01-02T09:00:00.500000000Z"},
		{"over a month and a leap day", `[{expire: event.time + duration("720h")}]`, "2004-02-15T00:00:00Z", ``, "k=0,2004-03-16T00:00:00.000000000Z"},
		{"minus", `[{expire: event.time - duration("1ns")}]`, "2001-01-01T00:00:00Z", ``, "k=0,2000-12-31T23:59:59.999999999Z"},
		{"a time of the data", `[{expire: timestamp(data.until)}]`, "", `{"until":"2001-01-01T00:00:00+02:00"}`, "k=0,2000-12-31T22:00:00.000000000Z"},
		{"a duration of the data", `[{expire: event.time + duration(string(data.ttl) + "s")}]`, "2001-01-01T00:00:00Z", `{"ttl":90}`, "k=0,2001-01-01T00:01:30.000000000Z"},
		{"a choice", `[{expire: "data.vip ? event.time + duration('48h') : event.time + duration('1h')"}]`, "2001-01-01T00:00:00Z", `{"vip":true}`, "k=0,2001-01-03T00:00:00.000000000Z"},
		{"never", `[{expire: event.time}, {expire: never}]`, "2001-01-01T00:00:00Z", ``, "k=0,"},
		{"unset", `[{expire: event.time}, {unset: expires}]`, "2001-01-01T00:00:00Z", ``, "k=0,"},
		{"under a condition", `[{expire: event.time, when: data.x}, {count: n}]`, "2001-01-01T00:00:00Z", `{"x":false}`, "k=1,"},
		{"beside other verbs", `[{count: n, expire: event.time}]`, "2001-01-01T00:00:00Z", ``, "k=1,2001-01-01T00:00:00.000000000Z"},
		{"a later step sees it", `[{expire: event.time}, {expire: timestamp(doc.expires) + duration("1h"), when: doc.expires != ""}, {count: n, when: timestamp(doc.expires) > event.time}]`,
			"2001-01-01T00:00:00Z", ``, "k=1,2001-01-01T01:00:00.000000000Z"},
		{"the last moment", `[{expire: event.time}]`, "9999-12-31T23:59:59.999999999Z", ``, "k=0,9999-12-31T23:59:59.999999999Z"},
		{"no time", `[{expire: event.time + duration("1h")}]`, "", ``, `k=0,!1 on E: expire: event.time + duration('1h'): event.time is missing`},
		{"before 1970", `[{expire: event.time - duration("1h")}]`, "1970-01-01T00:00:00Z", ``, `k=0,!1 on E: expire: event.time - duration('1h'): the time is outside of the years 1970 to 9999`},
		{"after 9999", `[{expire: event.time + duration("1h")}]`, "9999-12-31T23:30:00Z", ``, `k=0,!1 on E: expire: event.time + duration('1h'): a time out of range`},
		{"a duration beyond 64 bits", `[{expire: event.time + (duration("2000000h") + duration("2000000h"))}]`, "2001-01-01T00:00:00Z", ``,
			`k=0,!1 on E: expire: event.time + (duration('2000000h') + duration('2000000h')): an integer overflow`},
		{"a text", `[{expire: data.until}]`, "", `{"until":"2001-01-01T00:00:00Z"}`, "k=0,!1 on E: expire: the value is a string, and a time is wanted"},
		{"no duration", `[{expire: event.time + duration(data.ttl)}]`, "2001-01-01T00:00:00Z", `{"ttl":"soon"}`, "k=0,!1 on E: expire: event.time + duration(data.ttl): a value cannot be converted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(t, expiring(c.do))
			if got := show(declared.Fold(p, one(at(c.time, c.data)))); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if d := p.Definition(); d.Expires != "expires" || d.Fields[1] != (projections.Field{Name: "expires", Kind: projections.KindString}) {
				t.Errorf("the definition is %+v", d)
			}
		})
	}
	if d := parse(t, expiring("[{count: n}]")).Definition(); d.Expires != "" || len(d.Fields) != 1 {
		t.Errorf("without the step it is %+v", d)
	}
	if _, _, err := declared.Parse("f", []byte(strings.Replace(expiring("[{count: n}]"), "n: int", "n: int, expires: int", 1))); err != nil {
		t.Errorf("without the step a field cannot have the name: %v", err)
	}
}

const holds = `
projection: holds
version: 1
fields: {seat: string, changes: int}
on:
  - event: [Held, Prolonged]
    do:
      - {count: changes, expire: event.time + duration("1h")}
      - {add: {changes: data.by}, when: has(data.by)}
  - {event: Sold, do: [{expire: never}]}
tests:
  - name: a hold lasts an hour, and until a mark says so
    given:
      - {event: Held, entity: seat/1A, time: 2001-01-01T10:00:00Z}
      - {mark: 2001-01-01T10:59:59.999999999Z}
      - {event: Held, entity: seat/1B, time: 2001-01-01T12:00:00Z}
    expect:
      1A: {changes: 1, expires: 2001-01-01T11:00:00Z}
      1B: {expires: "2001-01-01T13:00:00.000000000Z"}
  - name: a mark of that time removes it, and only it
    given:
      - {event: Held, entity: seat/1A, time: 2001-01-01T10:00:00Z}
      - {event: Held, entity: seat/1B, time: 2001-01-01T10:00:01Z}
      - {event: Held, entity: seat/1C, time: 2001-01-01T10:00:00Z}
      - {event: Sold, entity: seat/1C}
      - {mark: 2001-01-01T12:00:00+01:00}
    expect:
      1B: {changes: 1}
      1C: {changes: 1, expires: never}
  - name: what comes after a mark begins from nothing
    given:
      - {event: Held, entity: seat/1A, time: 2001-01-01T10:00:00Z}
      - {event: Held, entity: seat/1A, time: 2001-01-01T10:00:00Z}
      - {mark: 2001-01-02T00:00:00Z}
      - {event: Sold, entity: seat/1A}
    expect:
      1A: {changes: 0, expires: ""}
  - name: a parked document stays
    given:
      - {event: Held, entity: seat/1A, time: 2001-01-01T10:00:00Z}
      - {event: Prolonged, entity: seat/1A, time: 2001-01-01T10:30:00Z, data: {by: 1.5}}
      - {mark: 2001-01-02T00:00:00Z}
    parked:
      1A: data.by is
`

func TestMarksRemoveWhatHasExpired(t *testing.T) {
	p, cases, err := declared.Parse("f.yaml", []byte(holds))
	if err != nil || len(cases) != 4 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		if differences := c.Run(p); len(differences) > 0 {
			t.Errorf("%s: %v", c.Name, differences)
		}
	}
	// and each of them can fail
	for _, change := range [][2]string{{"10:59:59.999999999Z", "11:00:00Z"}, {"12:00:00+01:00", "11:59:00+01:00"}, {"changes: 0, ", "changes: 1, "}, {"data: {by: 1.5}", "data: {by: 2}"}, {"expires: never", "expires: 2001-01-01T11:00:00Z"}} {
		p, cases, err := declared.Parse("f.yaml", []byte(strings.Replace(holds, change[0], change[1], 1)))
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, c := range cases {
			if len(c.Run(p)) > 0 {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("with %s %d cases fail", change[1], failed)
		}
	}
}

func TestAMarkIsPartOfASample(t *testing.T) {
	const sample = `{"entity":"seat/1A","type":"Held","time":"2001-01-01T10:00:00Z"}
{"mark":"2001-01-01T11:00:00Z"}
{"entity":"seat/1B","type":"Held","time":"2001-01-01T10:00:00Z"}`
	var all []*events.Record
	for r, err := range declared.ReadSample(strings.NewReader(sample)) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	if got := show(declared.Fold(parse(t, holds), slices.Values(all))); got != "1B=,1,2001-01-01T11:00:00.000000000Z" || len(all) != 3 || all[2].Sequence != 3 {
		t.Errorf("got %s of %d", got, len(all))
	}
}

func TestAStoredExpiryIsReadBackOrRefused(t *testing.T) {
	s := parse(t, holds).NewState()
	for _, good := range []string{"", "2001-01-01T11:00:00.000000000Z"} {
		if err := s.SetFields([]string{"", "1", good}); err != nil || s.AppendFields(nil)[2] != good {
			t.Errorf("%s is read as %v, %v", good, s.AppendFields(nil), err)
		}
	}
	for _, bad := range []string{"never", "2001-01-01T11:00:00Z", "2001-01-01T11:00:00.000000000+00:00", "1901-01-01T11:00:00.000000000Z"} {
		if s.SetFields([]string{"", "1", bad}) == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

type seat struct {
	Until string `json:"until"`
}

func TestAProjectionInGoExpiresByTheSameRule(t *testing.T) {
	p, err := projections.New("holds", 1, projections.On("x", "E", func(h seat, e projections.Event[struct{ Raw string }]) (seat, error) {
		if h.Until = e.Data.Raw; h.Until == "" {
			h.Until, _ = projections.FormatExpiry(e.Event.Time.Add(time.Hour))
		}
		return h, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ExpiresBy("never"); !errors.Is(err, projections.ErrInvalidProjection) {
		t.Errorf("a field that is not there: %v", err)
	}
	with, err := p.ExpiresBy("until")
	if err != nil || p.Definition().Expires != "" || with.Definition().Fingerprint() == p.Definition().Fingerprint() {
		t.Fatalf("it is %+v and was %+v, %v", with.Definition(), p.Definition(), err)
	}
	mark := &events.Record{Sequence: 2, Kind: events.KindControl, Time: time.Date(2001, 1, 1, 1, 0, 0, 0, time.UTC), Control: events.Control{
		Name: events.ControlMark, Data: []byte(`{"time":"2001-01-01T01:00:00Z"}`),
	}}
	log := []*events.Record{{Sequence: 1, Kind: events.KindEvent, Event: at("2001-01-01T00:00:00Z", "{}")}, mark}
	if got := show(declared.Fold(with, slices.Values(log))); got != "" {
		t.Errorf("after the mark there is %s", got)
	}
	if got := show(declared.Fold(p, slices.Values(log))); got != "k=2001-01-01T01:00:00.000000000Z" {
		t.Errorf("of one whose documents do not expire there is %s", got)
	}
	if got := show(declared.Fold(with, one(at("2001-01-01T00:00:00Z", `{"Raw":"tomorrow"}`)))); !strings.HasPrefix(got, "k=!1 the field until is neither") {
		t.Errorf("a text that is no time: %s", got)
	}
}
