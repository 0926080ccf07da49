package events

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// departed is a valid event with every attribute.
func departed() Event {
	return Event{
		ID: "e1", Source: "urn:test", Type: "FlightDeparted", Entity: Entity{"airport", "ORD"}, Time: noon(), ContentType: "application/json",
		Schema: "https://example.com/schema", Extensions: map[string]string{"tenant": "acme"}, Data: []byte(`{"n":1}`),
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Event)
		code   Code // empty: nothing is wrong
	}{
		"as it is":                     {func(*Event) {}, ""},
		"the least there can be":       {func(e *Event) { *e = Event{ID: "1", Source: "s", Type: "T", Entity: e.Entity} }, ""},
		"too large":                    {func(e *Event) { e.ContentType, e.Data = "text/plain", make([]byte, MaxDataBytes+1) }, ErrTooLarge},
		"as large as can be":           {func(e *Event) { e.ContentType, e.Data = "text/plain", make([]byte, MaxDataBytes) }, ""},
		"empty entity id":              {func(e *Event) { e.Entity.ID = "" }, ErrInvalidEntity},
		"dotted entity id":             {func(e *Event) { e.Entity.ID = "a.b" }, ""},
		"starred entity id":            {func(e *Event) { e.Entity.ID = "*" }, ""},
		"greater-than entity id":       {func(e *Event) { e.Entity.ID = ">" }, ""},
		"blank entity id":              {func(e *Event) { e.Entity.ID = " " }, ""},
		"CR/LF in the entity id":       {func(e *Event) { e.Entity.ID = "a\r\nb" }, ""},
		"NUL in the entity id":         {func(e *Event) { e.Entity.ID = "a\x00b" }, ""},
		"{} as entity id":              {func(e *Event) { e.Entity.ID = "{}" }, ""},
		"entity id that is not UTF-8":  {func(e *Event) { e.Entity.ID = "a\xffb" }, ErrInvalidEntity},
		"entity id of 1 kB":            {func(e *Event) { e.Entity.ID = strings.Repeat("*", MaxIDBytes) }, ""},
		"entity id of 4 kB":            {func(e *Event) { e.Entity.ID = strings.Repeat("x", 4_096) }, ErrInvalidEntity},
		"no entity type":               {func(e *Event) { e.Entity.Type = "" }, ErrInvalidEntity},
		"dotted entity type":           {func(e *Event) { e.Entity.Type = "a.b" }, ErrInvalidEntity},
		"starred entity type":          {func(e *Event) { e.Entity.Type = "*" }, ErrInvalidEntity},
		"entity type with an umlaut":   {func(e *Event) { e.Entity.Type = "Flüge" }, ErrInvalidEntity},
		"long entity type":             {func(e *Event) { e.Entity.Type = strings.Repeat("t", MaxTypeBytes+1) }, ErrInvalidEntity},
		"no id":                        {func(e *Event) { e.ID = "" }, ErrInvalidEvent},
		"long id":                      {func(e *Event) { e.ID = strings.Repeat("x", MaxEventIDBytes+1) }, ErrTooLarge},
		"CR/LF in the id":              {func(e *Event) { e.ID = "a\r\nNats-Expected-Last-Sequence: 0" }, ErrInvalidEvent},
		"NUL in the id":                {func(e *Event) { e.ID = "\x00" }, ErrInvalidEvent},
		"DEL in the id":                {func(e *Event) { e.ID = "\x7f" }, ErrInvalidEvent},
		"C1 control in the id":         {func(e *Event) { e.ID = "a\u0085b" }, ErrInvalidEvent},
		"hard blank in the id":         {func(e *Event) { e.ID = "a\u00a0b" }, ""},
		"last control in the id":       {func(e *Event) { e.ID = "a\u009fb" }, ErrInvalidEvent},
		"id that is not UTF-8":         {func(e *Event) { e.ID = "\xff" }, ErrInvalidEvent},
		"blank at the id's end":        {func(e *Event) { e.ID = "a " }, ErrInvalidEvent},
		"no source":                    {func(e *Event) { e.Source = "" }, ErrInvalidEvent},
		"long source":                  {func(e *Event) { e.Source = strings.Repeat("x", MaxSourceBytes+1) }, ErrTooLarge},
		"no type":                      {func(e *Event) { e.Type = "" }, ErrInvalidEvent},
		"type with a blank":            {func(e *Event) { e.Type = "Flight Departed" }, ErrInvalidEvent},
		"long type":                    {func(e *Event) { e.Type = strings.Repeat("T", MaxEventTypeBytes+1) }, ErrInvalidEvent},
		"content type with CR/LF":      {func(e *Event) { e.ContentType = "text/plain\r\n" }, ErrInvalidEvent},
		"schema with a tab":            {func(e *Event) { e.Schema = "a\tb" }, ErrInvalidEvent},
		"extension clashing with ce-":  {func(e *Event) { e.Extensions["source"] = "x" }, ErrInvalidEvent},
		"extension clashing with tm":   {func(e *Event) { e.Extensions["tm"] = "x" }, ErrInvalidEvent},
		"extension of ours to come":    {func(e *Event) { e.Extensions["tmnew"] = "x" }, ErrInvalidEvent},
		"extension called Nats-Msg-Id": {func(e *Event) { e.Extensions["Nats-Msg-Id"] = "x" }, ErrInvalidEvent},
		"extension without name":       {func(e *Event) { e.Extensions[""] = "x" }, ErrInvalidEvent},
		"extension with a long name":   {func(e *Event) { e.Extensions[strings.Repeat("a", 21)] = "x" }, ErrInvalidEvent},
		"extension without value":      {func(e *Event) { e.Extensions["a"] = "" }, ErrInvalidEvent},
		"extension with CR/LF":         {func(e *Event) { e.Extensions["a"] = "\r\n" }, ErrInvalidEvent},
		"extension with a long value":  {func(e *Event) { e.Extensions["a"] = strings.Repeat("x", MaxAttributeBytes+1) }, ErrTooLarge},
		"too many extensions": {func(e *Event) {
			for i := range MaxExtensions + 1 {
				e.Extensions[fmt.Sprintf("x%d", i)] = "x"
			}
		}, ErrTooLarge},
		"year 10000":                   {func(e *Event) { e.Time = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) }, ErrInvalidEvent},
		"year 10000 in UTC only":       {func(e *Event) { e.Time = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200)) }, ErrInvalidEvent},
		"year 0 in UTC only":           {func(e *Event) { e.Time = time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("", 7200)) }, ErrInvalidEvent},
		"invalid JSON":                 {func(e *Event) { e.Data = []byte(`{"n":}`) }, ErrInvalidData},
		"deep nesting":                 {func(e *Event) { e.Data = []byte(strings.Repeat("[", 100_000)) }, ErrInvalidData},
		"duplicate keys":               {func(e *Event) { e.Data = []byte(`{"n":1,"n":2}`) }, ErrInvalidData},
		"1e400":                        {func(e *Event) { e.Data = []byte(`{"n":1e400}`) }, ErrInvalidData},
		"JSON that is not UTF-8":       {func(e *Event) { e.Data = []byte("{\"n\":\"\xff\"}") }, ErrInvalidData},
		"JSON without content type":    {func(e *Event) { e.ContentType, e.Data = "", []byte("hello") }, ErrInvalidData},
		"JSON by its suffix":           {func(e *Event) { e.ContentType, e.Data = "Application/X+JSON ; a=b", []byte("hello") }, ErrInvalidData},
		"text that is not JSON":        {func(e *Event) { e.ContentType, e.Data = "text/plain", []byte("hello\xff") }, ""},
		"empty JSON":                   {func(e *Event) { e.Data = nil }, ""},
		"observed nowhere":             {func(e *Event) { e.Observed = At(Point{}) }, ErrImpossiblePosition},
		"observed with a forged point": {func(e *Event) { e.Observed = At(Point{"us@1:1;k=x", ours, 1, 1}) }, ErrImpossiblePosition},
		"observed without lineage":     {func(e *Event) { e.Observed = At(Point{"us", "", 1, 1}) }, ErrImpossiblePosition},
		"observed in term 0":           {func(e *Event) { e.Observed = At(Point{"us", ours, 0, 1}) }, ErrImpossiblePosition},
		"observed too much": {func(e *Event) {
			for i := range maxPoints + 1 {
				e.Observed = e.Observed.With(Point{fmt.Sprintf("o%d", i), ours, 1, 1})
			}
		}, ErrImpossiblePosition},
		"observed elsewhere": {func(e *Event) { e.Observed = At(Point{"eu", ours, 1, 1}) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := departed()
			c.change(&e)
			err := e.Validate()
			if code, _ := CodeOf(err); code != c.code || err != nil && !errors.Is(err, c.code) {
				t.Fatalf("got %v, want %q", err, c.code)
			}
			if err != nil && len(err.Error()) > 600 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if err == nil { // then it survives the wire
				decoded(t, e)
			}
		})
	}
}

func TestOfSeveralWrongExtensionsAlwaysTheSameIsTold(t *testing.T) {
	e := departed()
	for _, name := range []string{"A", "B", "C", "D", "E", "F"} {
		e.Extensions[name] = "x"
	}
	want := e.Validate().Error()
	for range 50 {
		if got := e.Validate().Error(); got != want {
			t.Fatalf("%s, then %s", want, got)
		}
	}
}

func TestContentHashSeparatesEveryField(t *testing.T) {
	// Each pair of neighbours as they are hashed: moving a byte from one to the other must change the hash.
	fields := []func(*Event) *string{
		func(e *Event) *string { return &e.Entity.Type },
		func(e *Event) *string { return &e.Entity.ID },
		func(e *Event) *string { return &e.ID },
		func(e *Event) *string { return &e.Source },
		func(e *Event) *string { return &e.Type },
		func(e *Event) *string { return &e.ContentType },
		func(e *Event) *string { return &e.Schema },
	}
	base := departed()
	base.Extensions = nil
	want := base.ContentHash()
	for i := range fields {
		for j := range fields {
			if i == j {
				continue
			}
			e := base
			from, to := fields[i](&e), fields[j](&e)
			last := (*from)[len(*from)-1:]
			*from, *to = (*from)[:len(*from)-1], last+*to
			if e.ContentHash() == want {
				t.Errorf("a byte moved from field %d to %d unnoticed", i, j)
			}
		}
	}
	withData := func(e Event, data string, extensions map[string]string) Hash {
		e.Data, e.Extensions = []byte(data), extensions
		return e.ContentHash()
	}
	variants := []Hash{
		withData(base, "", nil),
		withData(base, "ab", nil),
		withData(base, "a", map[string]string{"x": "b"}),
		withData(base, "", map[string]string{"x": "ab"}),
		withData(base, "", map[string]string{"xa": "b"}),
		withData(base, "", map[string]string{"x": "a", "b": "c"}),
		withData(base, "", map[string]string{"x": "a\x01b\x01c"}),
		withData(base, "\x01x\x02ab\x00", nil),
		withData(base, "\x00", nil),
	}
	for i, h := range variants {
		if slices.Index(variants, h) != i {
			t.Errorf("variants %d and %d have one hash", slices.Index(variants, h), i)
		}
	}
}

func TestContentHashIsOfWhatTheProducerSaid(t *testing.T) {
	base := departed()
	want := base.ContentHash()
	for name, change := range map[string]func(*Event){
		"observed":              func(e *Event) { e.Observed = At(Point{"us", ours, 1, 1}) },
		"traceparent":           func(e *Event) { e.Extensions["traceparent"] = "00-aa" },
		"tracestate":            func(e *Event) { e.Extensions["tracestate"] = "a=b" },
		"default content type":  func(e *Event) { e.ContentType = "" },
		"the same time, abroad": func(e *Event) { e.Time = e.Time.In(time.FixedZone("", 3600)) },
	} {
		e := departed()
		if change(&e); e.ContentHash() != want {
			t.Errorf("%s changes the hash", name)
		}
	}
	for name, change := range map[string]func(*Event){
		"time":            func(e *Event) { e.Time = e.Time.Add(1) },
		"no time":         func(e *Event) { e.Time = time.Time{} },
		"extension":       func(e *Event) { e.Extensions["tenant"] = "acmf" },
		"extension added": func(e *Event) { e.Extensions["a"] = "b" },
		"no extension":    func(e *Event) { e.Extensions = nil },
		"one bit":         func(e *Event) { e.Data = []byte(`{"n":3}`) },
		"no data":         func(e *Event) { e.Data = nil },
	} {
		e := departed()
		if change(&e); e.ContentHash() == want {
			t.Errorf("%s does not change the hash", name)
		}
	}
}

// An event larger than the buffer on the stack is hashed in another way, to the same value.
func TestContentHashDoesNotDependOnTheBuffer(t *testing.T) {
	seen := map[Hash]int{}
	for n := 700; n < 1_300; n++ {
		e := departed()
		e.Data = []byte(`"` + strings.Repeat("x", n) + `"`)
		h := e.ContentHash()
		if other, twice := seen[h]; twice {
			t.Fatalf("%d and %d bytes have one hash", n, other)
		}
		seen[h] = n
		whole := appendSized(nil, e.Entity.Type)
		for _, s := range []string{e.Entity.ID, e.ID, e.Source, e.Type, "2024-03-09T12:00:00Z", JSONContentType, e.Schema, "tenant", "acme"} {
			whole = appendSized(whole, s)
		}
		whole = append(append(whole, 0), e.Data...)
		if want := hashOf(whole); h != want {
			t.Fatalf("%d bytes: %s, want %s", n, h, want)
		}
	}
}

func TestNewIDsAreUniqueAndOrderedByTime(t *testing.T) {
	seen := map[string]bool{}
	last := ""
	for range 10_000 {
		id := NewID()
		if len(id) != 36 || id[14] != '7' || !strings.ContainsRune("89ab", rune(id[19])) || seen[id] {
			t.Fatalf("%q", id)
		}
		if id[:13] < last {
			t.Fatalf("%q after %q", id, last)
		}
		seen[id], last = true, id[:13]
	}
}

func TestMessageIDIsOfSourceAndID(t *testing.T) {
	a := Event{Source: "ab", ID: "c", Type: "T", Data: []byte("1")}
	b := Event{Source: "a", ID: "bc"}
	c := Event{Source: "ab", ID: "c", Entity: Entity{"x", "y"}}
	if a.MessageID() == b.MessageID() || a.MessageID() != c.MessageID() || len(a.MessageID()) != hashText {
		t.Errorf("%s, %s, %s", a.MessageID(), b.MessageID(), c.MessageID())
	}
}

func TestEntityText(t *testing.T) {
	for text, want := range map[string]Entity{"airport/ORD": {"airport", "ORD"}, "leg/UA/1/2": {"leg", "UA/1/2"}, "a//": {"a", "/"}} {
		if got, err := ParseEntity(text); err != nil || got != want || got.String() != text || got.IsZero() {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "airport", "/ORD", "airport/", "air port/ORD", "a/\xff"} {
		if got, err := ParseEntity(text); !errors.Is(err, ErrInvalidEntity) {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
}

// decoded encodes a valid event, decodes it and fails the test unless it is the same.
func decoded(t testing.TB, e Event) Record {
	t.Helper()
	stamp := Stamp{Time: TimestampAt(noon()), Hash: e.ContentHash(), Observed: e.Observed}
	m := EncodeEvent("us", &e, stamp)
	var r Record
	if err := Decode(&r, "us", 7, noon(), m); err != nil || r.Kind != KindEvent {
		t.Fatalf("%s: %v %q", text(m), err, r.Reason)
	}
	want := e
	if want.ContentType == JSONContentType {
		want.ContentType = ""
	}
	want.Time = want.Time.UTC()
	if len(want.Extensions) == 0 {
		want.Extensions = nil
	}
	if !reflect.DeepEqual(r.Event, want) {
		t.Fatalf("got  %+v\nwant %+v", r.Event, want)
	}
	if !reflect.DeepEqual(r.Stamp, stamp) || r.Sequence != 7 || !r.Time.Equal(noon()) || r.Subject != m.Subject {
		t.Fatalf("got %+v", r)
	}
	return r
}
