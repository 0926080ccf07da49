package logtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tidemark.dev/events"
)

func identityTests() []test {
	return []test{
		{"a new log holds its genesis at sequence 1 and nothing else", func(s *subject) {
			info := s.info()
			if info.Origin != s.Log.Origin() || info.First != 1 || info.Last != 1 || info.Terms.Current() != 1 || !info.Terms.Lineage.Valid() {
				s.Fatalf("info: %+v", info)
			}
			r := s.record(1)
			var g events.Genesis
			if r.Kind != events.KindControl || r.Control.Name != events.ControlGenesis || json.Unmarshal(r.Control.Data, &g) != nil {
				s.Fatalf("the first record is %+v", r)
			}
			if want := (events.Genesis{Format: events.GenesisFormat, Origin: s.Log.Origin(), Lineage: info.Terms.Lineage}); g != want {
				s.Fatalf("the genesis is %+v, want %+v", g, want)
			}
			var terms events.Terms
			if err := terms.Apply(&r); err != nil || terms.Lineage != info.Terms.Lineage {
				s.Fatalf("the genesis gives the terms %+v, %v", terms, err)
			}
			last, err := s.Log.LastControl(s.ctx, events.ControlGenesis)
			if err != nil || last.Sequence != 1 {
				s.Fatalf("the last genesis: %+v, %v", last, err)
			}
			if !info.Time.Equal(r.Time) || r.Time.IsZero() {
				s.Fatalf("the head was stored at %v, its record says %v", info.Time, r.Time)
			}
		}},
		{"the info follows the head", func(s *subject) {
			seq := s.one(about(entity, 1))
			info := s.info()
			if info.Last != seq || info.First != 1 || !info.Time.Equal(s.record(seq).Time) {
				s.Fatalf("after sequence %d: %+v", seq, info)
			}
			want := events.At(events.Point{Origin: s.Log.Origin(), Lineage: info.Terms.Lineage, Term: 1, Sequence: seq})
			if !info.Head().Equal(want) {
				s.Fatalf("the head is %s, want %s", info.Head(), want)
			}
		}},
	}
}

func appendTests() []test {
	return []test{
		{"appends are stored one after another without a hole", func(s *subject) {
			for i := range 5 {
				r := s.append(events.One(about(named(i), i), events.ExpectAny()))
				want := uint64(i) + 2 //nolint:gosec // a small count
				if r.First != want || r.Last != want || r.Duplicate || !r.Position.Equal(s.info().Position(want)) {
					s.Fatalf("receipt %+v, want sequence %d", r, want)
				}
			}
		}},
		{"an event reads back as it was written", readsBack},
		{"an event without payload, and one that is not JSON, read back", func(s *subject) {
			empty, binary := about(entity, 0), about(entity, 0)
			empty.Data = nil
			binary.ContentType, binary.Data = "application/octet-stream", []byte{0, '\r', '\n', 0xff, '{'}
			s.same(s.record(s.one(empty)).Event, empty)
			s.same(s.record(s.one(binary)).Event, binary)
		}},
		{"what the caller does with its buffer after the append changes nothing", func(s *subject) {
			e := about(entity, 7)
			want := bytes.Clone(e.Data)
			seq := s.one(e)
			clear(e.Data)
			if got := s.record(seq).Event.Data; !bytes.Equal(got, want) {
				s.Fatalf("stored %q, want %q", got, want)
			}
		}},
		{"expecting none creates an entity once", func(s *subject) {
			first := s.append(events.One(about(entity, 1), events.ExpectNone())).Last
			s.conflict(events.One(about(entity, 2), events.ExpectNone()), events.ConflictError{Entity: entity, Actual: first})
			s.append(events.One(about(named(1), 1), events.ExpectNone()))
		}},
		{"expecting an exact sequence succeeds only there", func(s *subject) {
			first := s.one(about(entity, 1))
			s.one(about(named(1), 1)) // the entity's last sequence is not the head
			second := s.append(events.One(about(entity, 2), events.ExpectExactly(first))).Last
			s.one(about(named(1), 2))
			s.conflict(events.One(about(entity, 3), events.ExpectExactly(first)), events.ConflictError{Entity: entity, Expected: first, Actual: second})
			s.conflict(events.One(about(entity, 3), events.ExpectExactly(second+1)), events.ConflictError{Entity: entity, Expected: second + 1, Actual: second})
			s.sequences(s.history(entity, 0), first, second)
		}},
		{"expecting a sequence of an entity that has none is a conflict with 0", func(s *subject) {
			s.conflict(events.One(about(entity, 1), events.ExpectExactly(1)), events.ConflictError{Entity: entity, Expected: 1})
		}},
		{"several events of one entity are stored together under one expectation", func(s *subject) {
			b := several(entity, 3)
			b.Expect = map[events.Entity]events.Expectation{entity: events.ExpectNone()}
			r := s.append(b)
			if r.Last-r.First != 2 || !r.Position.Equal(s.info().Position(r.Last)) {
				s.Fatalf("receipt %+v", r)
			}
			s.sequences(s.history(entity, 0), r.First, r.First+1, r.Last)
			again := several(entity, 2)
			again.Expect = map[events.Entity]events.Expectation{entity: events.ExpectExactly(r.Last)}
			s.append(again)
		}},
		{"several entities are stored together, each under its expectation", func(s *subject) {
			old := s.one(about(named(1), 0))
			b := events.Batch{
				Events: []events.Event{about(entity, 1), about(named(1), 1), about(named(2), 1), about(entity, 2)},
				Expect: map[events.Entity]events.Expectation{entity: events.ExpectNone(), named(1): events.ExpectExactly(old), named(2): events.ExpectAny()},
			}
			r := s.append(b)
			s.sequences(s.history(entity, 0), r.First, r.Last)
			s.sequences(s.history(named(1), 0), old, r.First+1)
		}},
		{"one expectation that does not hold refuses the whole batch", func(s *subject) {
			old := s.one(about(named(1), 0))
			b := events.Batch{
				Events: []events.Event{about(entity, 1), about(named(1), 1), about(named(2), 1)},
				Expect: map[events.Entity]events.Expectation{entity: events.ExpectNone(), named(1): events.ExpectNone(), named(2): events.ExpectNone()},
			}
			s.conflict(b, events.ConflictError{Entity: named(1), Actual: old})
			s.sequences(s.history(entity, 0))
			s.sequences(s.history(named(2), 0))
		}},
		{"a record alone has no transaction, the records of a batch know their place", places},
		{"control records follow the events of their batch", controlsFollow},
		{"a control record is compared and set by its own name", controlsCompare},
		{"control records alone are stored together or not at all", controlsTogether},
		{"an expected sequence becomes the observed position", func(s *subject) {
			first := s.append(events.One(about(entity, 1), events.ExpectNone())).Last
			if got := s.record(first).Event.Observed; !got.IsZero() {
				s.Errorf("an entity's first event observed %s", got)
			}
			b := several(entity, 2)
			b.Expect = map[events.Entity]events.Expectation{entity: events.ExpectExactly(first)}
			b.Events = append(b.Events, about(named(1), 1))
			r := s.append(b)
			want := s.info().Position(first)
			for seq := r.First; seq < r.Last; seq++ {
				if got := s.record(seq); !got.Event.Observed.Equal(want) || !got.Stamp.Observed.Equal(want) {
					s.Errorf("sequence %d observed %s, want %s", seq, got.Event.Observed, want)
				}
			}
			if got := s.record(r.Last).Event.Observed; !got.IsZero() {
				s.Errorf("an event without expectation observed %s", got)
			}
		}},
		{"an observed position that the writer gives is kept", func(s *subject) {
			first := s.one(about(entity, 1))
			e := about(entity, 2)
			e.Observed = s.info().Position(1).With(events.Point{Origin: "elsewhere", Lineage: "0c0ffee0", Term: 3, Sequence: 99})
			r := s.append(events.One(e, events.ExpectExactly(first)))
			if got := s.record(r.Last).Event.Observed; !got.Equal(e.Observed) {
				s.Fatalf("observed %s, want %s", got, e.Observed)
			}
		}},
		{"a waiter that gives up does not stop the append", func(s *subject) {
			b := events.One(about(entity, 1), events.ExpectNone())
			p, err := s.Log.Submit(s.ctx, b)
			if err != nil {
				s.Fatal(err)
			}
			gone, cancel := context.WithCancel(s.ctx)
			cancel()
			if _, err := p.Wait(gone); err != nil {
				s.code(err, events.ErrUnknownOutcome)
			}
			first, err := p.Wait(s.ctx)
			if err != nil {
				s.Fatal(err)
			}
			<-p.Done()
			if again := s.append(b); !again.Duplicate || again.Last != first.Last {
				s.Fatalf("%+v, then again %+v", first, again)
			}
		}},
	}
}

func readsBack(s *subject) {
	e := events.Event{
		ID: "Ä \"1\" % 100", Source: "urn:a:b?c=d#e f", Type: "Flight.Departed_v2-x", Entity: events.Entity{Type: "flight-leg", ID: "UA 1/2"},
		Time:        time.Date(2024, 2, 29, 23, 59, 59, 123_456_789, time.FixedZone("", 2*60*60)),
		ContentType: "application/vnd.x+json; charset=utf-8", Schema: "https://example.com/s?a=ü",
		Extensions: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "Zoë & co", "n1": "%41"},
		Data:       []byte(` {"a" : 1}`),
	}
	before := time.Now().Add(-time.Minute)
	r := s.append(events.One(e, events.ExpectNone()))
	got := s.record(r.Last)
	s.same(got.Event, e)
	if got.Kind != events.KindEvent || got.Sequence != r.Last || got.Reason != "" || got.Time.IsZero() {
		s.Errorf("record %+v", got)
	}
	if got.Stamp.Hash != e.ContentHash() || got.Stamp.Time == 0 || got.Stamp.Time.Time().Before(before) && got.Stamp.Time.Time().Before(got.Time.Add(-time.Minute)) {
		s.Errorf("stamp %+v at %s", got.Stamp, got.Time)
	}
	if got.Subject != events.EventSubject(s.Log.Origin(), e.Entity) || got.Event.Time.Location() != time.UTC {
		s.Errorf("subject %q, time %s", got.Subject, got.Event.Time)
	}
}

func places(s *subject) {
	if tx := s.record(s.one(about(entity, 1))).Stamp.Tx; !tx.Alone() || tx != (events.Tx{}) {
		s.Errorf("a record alone is %+v", tx)
	}
	b := several(entity, 4)
	b.Controls = []events.ControlWrite{{Control: events.Control{Name: "import.x", Data: []byte("1")}}}
	r := s.append(b)
	var last events.Timestamp
	for i, record := range s.read(events.Range{From: r.First}) {
		if want := (events.Tx{Index: uint16(i + 1), Count: 5}); record.Stamp.Tx != want { //nolint:gosec // a small count
			s.Errorf("record %d is %+v, want %+v", i, record.Stamp.Tx, want)
		}
		if record.Stamp.Time <= last {
			s.Errorf("record %d has the timestamp %d after %d", i, record.Stamp.Time, last)
		}
		last = record.Stamp.Time
	}
}

func controlsFollow(s *subject) {
	b := several(entity, 2)
	b.Controls = []events.ControlWrite{
		{Control: events.Control{Name: "import.flights", Data: []byte(`{"line":2}`)}, Expect: events.ExpectNone()},
		{Control: events.Control{Name: "mark", Data: nil}},
	}
	r := s.append(b)
	records := s.read(events.Range{From: r.First})
	s.sequences(records, r.First, r.First+1, r.First+2, r.Last)
	for i, want := range []string{"import.flights", "mark"} {
		c := records[2+i]
		if c.Kind != events.KindControl || c.Control.Name != want || !bytes.Equal(c.Control.Data, b.Controls[i].Data) || c.Stamp.Hash != c.Control.ContentHash() {
			s.Errorf("control %+v, want %s", c, want)
		}
	}
	alone := s.append(events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: "mark", Data: []byte("x")}, Expect: events.ExpectExactly(r.Last)}}})
	last, err := s.Log.LastControl(s.ctx, "mark")
	if err != nil || last.Sequence != alone.Last || string(last.Control.Data) != "x" {
		s.Fatalf("the last mark is %+v, %v, want sequence %d", last, err, alone.Last)
	}
}

func controlsCompare(s *subject) {
	cursor := func(n int, x events.Expectation) events.ControlWrite {
		return events.ControlWrite{Control: events.Control{Name: "import.flights", Data: fmt.Appendf(nil, "%d", n)}, Expect: x}
	}
	first := s.append(events.Batch{Controls: []events.ControlWrite{cursor(1, events.ExpectNone())}}).Last
	b := several(entity, 2)
	b.Controls = []events.ControlWrite{cursor(2, events.ExpectNone())}
	s.conflict(b, events.ConflictError{Control: "import.flights", Actual: first})
	s.sequences(s.history(entity, 0))
	b.Controls = []events.ControlWrite{cursor(2, events.ExpectExactly(first))}
	second := s.append(b).Last
	s.conflict(events.Batch{Controls: []events.ControlWrite{cursor(3, events.ExpectExactly(first))}},
		events.ConflictError{Control: "import.flights", Expected: first, Actual: second})
}

// controlsTogether: control records alone, large ones too, are stored next to each other, or none of them is, whichever expectation does not hold.
func controlsTogether(s *subject) {
	large := bytes.Repeat([]byte("x"), 512<<10)
	both := func(text string, definition, catalog events.Expectation) events.Batch {
		return events.Batch{Controls: []events.ControlWrite{
			{Control: events.Control{Name: "definition.a", Data: append([]byte(text), large...)}, Expect: definition},
			{Control: events.Control{Name: "catalog", Data: []byte(text)}, Expect: catalog},
		}}
	}
	first := s.append(both("1", events.ExpectNone(), events.ExpectNone()))
	if first.Last != first.First+1 {
		s.Fatalf("they are stored from %d to %d", first.First, first.Last)
	}
	records := s.read(events.Range{From: first.First})
	s.sequences(records, first.First, first.Last)
	if tx := records[1].Stamp.Tx; tx != (events.Tx{Index: 2, Count: 2}) || records[0].Control.Name != "definition.a" || len(records[0].Control.Data) != len(large)+1 {
		s.Errorf("the last is %+v", tx)
	}
	s.conflict(both("2", events.ExpectNone(), events.ExpectExactly(first.Last)), events.ConflictError{Control: "definition.a", Actual: first.First})
	s.conflict(both("2", events.ExpectExactly(first.First), events.ExpectExactly(first.First)), events.ConflictError{Control: "catalog", Expected: first.First, Actual: first.Last})
	for name, seq := range map[string]uint64{"definition.a": first.First, "catalog": first.Last} {
		if last, err := s.Log.LastControl(s.ctx, name); err != nil || last.Sequence != seq {
			s.Errorf("after conflicts the last %s is at %d, %v, want %d", name, last.Sequence, err, seq)
		}
	}
	if second := s.append(both("2", events.ExpectExactly(first.First), events.ExpectExactly(first.Last))); second.First != first.Last+1 {
		s.Errorf("the next are stored at %d", second.First)
	}
}
