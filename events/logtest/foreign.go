package logtest

import (
	"strings"

	"tidemark.dev/events"
)

func cloudEvent(change func(map[string][]string)) map[string][]string {
	h := map[string][]string{"ce-id": {events.NewID()}, "ce-source": {"urn:other"}, "ce-specversion": {"1.0"}, "ce-type": {"Departed"}}
	if change != nil {
		change(h)
	}
	return h
}

func set(name, value string) func(map[string][]string) {
	return func(h map[string][]string) { h[name] = []string{value} }
}

func foreignTests() []test {
	return []test{
		{"a CloudEvent of any client is an event", foreignEvent},
		{"a message that is not an event is malformed, says why, and keeps its sequence", malformed},
		{"the payload of another client's event is not judged", func(s *subject) {
			for _, data := range []string{"", "hello", `{"a":1,"a":2}`, "[1e400]"} {
				r := s.record(s.StoreRaw(events.EventSubject(s.Log.Origin(), entity), cloudEvent(nil), []byte(data)))
				if r.Kind != events.KindEvent || string(r.Event.Data) != data {
					s.Errorf("%q: %+v", data, r)
				}
			}
		}},
		{"a record under another subject than an entity's is malformed", func(s *subject) {
			origin := s.Log.Origin()
			for _, rest := range []string{".airport.O%52D", ".airport.a.b", ".airport.%2e", ".airport.%FF", ".air%20port.ORD", ".airport", "." + strings.Repeat("t", 65) + ".ORD"} {
				seq := s.StoreRaw("evt."+origin+rest, cloudEvent(nil), []byte(`{}`))
				r := s.record(seq)
				if r.Kind != events.KindMalformed || !r.Event.Entity.IsZero() || r.Reason == "" || r.Subject != "evt."+origin+rest {
					s.Errorf("%s: %+v", rest, r)
				}
			}
			s.contiguous(s.info().Last)
		}},
		{"an entity's history and expectations count its malformed records", func(s *subject) {
			first := s.one(about(entity, 1))
			seq := s.StoreRaw(events.EventSubject(s.Log.Origin(), entity), nil, []byte("hello"))
			s.conflict(events.One(about(entity, 2), events.ExpectExactly(first)), events.ConflictError{Entity: entity, Expected: first, Actual: seq})
			second := s.append(events.One(about(entity, 2), events.ExpectExactly(seq))).Last
			s.sequences(s.history(entity, 0), first, seq, second)
			state := 0
			if _, err := events.Mutate(s.ctx, s.Log, entity, sum, func(n int) ([]events.Event, error) {
				state = n
				return []events.Event{about(entity, 3)}, nil
			}); err != nil || state != 3 {
				s.Fatalf("decided on %d: %v", state, err)
			}
		}},
		{"an id that another client's message has taken is an id conflict", func(s *subject) {
			e := about(entity, 1)
			for _, subject := range []string{events.EventSubject(s.Log.Origin(), entity), events.EventSubject(s.Log.Origin(), named(1))} {
				s.StoreRaw(subject, map[string][]string{events.HeaderMessageID: {e.MessageID()}}, e.Data)
				_ = s.refused(events.One(e, events.ExpectAny()), events.ErrIDConflict)
				e = about(entity, 2)
			}
		}},
		{"an event that another client has stored is a duplicate", func(s *subject) {
			e := about(entity, 1)
			m := events.EncodeEvent(s.Log.Origin(), &e, events.Stamp{})
			delete(m.Header, events.HeaderStamp)
			seq := s.StoreRaw(m.Subject, m.Header, m.Data)
			s.duplicate(events.One(e, events.ExpectAny()), events.Receipt{First: seq, Last: seq, Position: s.info().Position(seq)})
			e.Data = []byte(`{"n":2}`)
			_ = s.refused(events.One(e, events.ExpectAny()), events.ErrIDConflict)
		}},
		{"a control record without our header is a control record", func(s *subject) {
			seq := s.StoreRaw(events.ControlSubject(s.Log.Origin(), "mark"), nil, []byte("x"))
			r, err := s.Log.LastControl(s.ctx, "mark")
			if err != nil || r.Sequence != seq || string(r.Control.Data) != "x" || !r.Stamp.Hash.IsZero() {
				s.Fatalf("%+v, %v", r, err)
			}
		}},
		{"content that does not match its hash is damaged, wherever it is read", func(s *subject) {
			first := s.one(about(entity, 1))
			e := about(entity, 2)
			m := events.EncodeEvent(s.Log.Origin(), &e, events.Stamp{Time: 1, Hash: e.ContentHash()})
			seq := s.StoreRaw(m.Subject, m.Header, []byte(`{"n":3}`))
			s.one(about(entity, 4))
			_, err := s.Log.Record(s.ctx, seq)
			s.code(err, events.ErrDamaged)
			var got []events.Record
			var last error
			for batch, err := range s.Log.Read(s.ctx, events.Range{}) {
				got, last = append(got, batch...), err
			}
			s.code(last, events.ErrDamaged)
			s.sequences(got, 1, first) // all that comes before it
			last = nil
			for _, err := range s.Log.History(s.ctx, entity, 0) {
				last = err
			}
			s.code(last, events.ErrDamaged)
			c := events.Control{Name: "mark", Data: []byte("x")}
			m = events.EncodeControl(s.Log.Origin(), c, events.Stamp{Time: 1, Hash: c.ContentHash()})
			s.StoreRaw(m.Subject, m.Header, []byte("y"))
			last = nil
			for _, err := range s.Log.Controls(s.ctx, "mark", 0) {
				last = err
			}
			s.code(last, events.ErrDamaged)
		}},
	}
}

func foreignEvent(s *subject) {
	subject := events.EventSubject(s.Log.Origin(), entity)
	seq := s.StoreRaw(subject, map[string][]string{
		"Ce-Id": {"7"}, "CE-SOURCE": {"urn:other%20one"}, "ce-SpecVersion": {"1.0"}, "ce-type": {"Departed"}, "ce-time": {"2024-03-09T14:22:41+02:00"},
		"Content-Type": {"text/plain"}, "ce-dataschema": {`"a\"b"`}, "Ce-Tenant": {"Zo%c3%ab"}, "ce-traceparent": {"00-aa"}, "X-Other": {"ignored"}, "ce-subject": {"ignored"},
	}, []byte("not JSON"))
	want := about(entity, 0)
	want.ID, want.Source, want.Type, want.ContentType, want.Schema, want.Data = "7", "urn:other one", "Departed", "text/plain", `a"b`, []byte("not JSON")
	want.Extensions = map[string]string{"tenant": "Zoë", "traceparent": "00-aa"}
	r := s.record(seq)
	want.Time = r.Event.Time
	s.same(r.Event, want)
	if r.Kind != events.KindEvent || r.Event.Time.Format("15:04:05Z07:00") != "12:22:41Z" || r.Stamp.Time != 0 || !r.Stamp.Hash.IsZero() || !r.Stamp.Tx.Alone() {
		s.Fatalf("%+v", r)
	}
}

func malformed(s *subject) {
	subject := events.EventSubject(s.Log.Origin(), entity)
	for _, c := range []struct {
		header map[string][]string
		data   string
		reason string
	}{
		{nil, `{"plain":"JSON"}`, "ce-specversion"},
		{cloudEvent(set("ce-specversion", "0.3")), `{}`, "ce-specversion"},
		{cloudEvent(set("ce-id", "")), `{}`, "ce-id"},
		{cloudEvent(set("ce-id", strings.Repeat("x", events.MaxEventIDBytes+1))), `{}`, "ce-id"},
		{cloudEvent(set("ce-source", "")), `{}`, "ce-source"},
		{cloudEvent(set("ce-source", "a%0D%0Ab")), `{}`, "source"},
		{cloudEvent(set("ce-source", "a%zz")), `{}`, "ce-source"},
		{cloudEvent(set("ce-source", "a%FF")), `{}`, "ce-source"},
		{cloudEvent(set("ce-type", "not a type")), `{}`, "ce-type"},
		{cloudEvent(set("ce-time", "yesterday")), `{}`, "ce-time"},
		{cloudEvent(set("ce-tenant", "a%00b")), `{}`, "tenant"},
		{cloudEvent(set("tm", "2;what is this")), `{}`, "tm header"},
		{map[string][]string{"content-type": {"application/cloudevents+json"}}, `{"id":"1"}`, "structured"},
	} {
		seq := s.StoreRaw(subject, c.header, []byte(c.data))
		r := s.record(seq)
		if r.Kind != events.KindMalformed || !strings.Contains(r.Reason, c.reason) || r.Event.Entity != entity || string(r.Event.Data) != c.data || r.Event.ID != "" {
			s.Errorf("%v %s: want a reason with %q: %+v", c.header, c.data, c.reason, r)
		}
	}
	records := s.read(events.Range{From: 2})
	next := s.one(about(entity, 1))
	if len(records) != 13 || records[12].Sequence != 14 || next != 15 {
		s.Fatalf("%d records, the next is %d", len(records), next)
	}
}
