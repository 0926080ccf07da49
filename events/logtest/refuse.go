package logtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"tidemark.dev/events"
)

func refusalTests() []test {
	return []test{
		{"an invalid batch is refused with its code and writes nothing", invalidBatches},
		{"a thousand records are one append", func(s *subject) {
			b := events.Batch{Expect: map[events.Entity]events.Expectation{named(0): events.ExpectNone()}}
			for i := range events.MaxBatch - 1 {
				b.Events = append(b.Events, about(named(i%100), i))
			}
			b.Controls = []events.ControlWrite{{Control: events.Control{Name: "import.x"}, Expect: events.ExpectNone()}}
			r := s.append(b)
			if r.Last-r.First+1 != events.MaxBatch {
				s.Fatalf("receipt %+v", r)
			}
			records := s.read(events.Range{From: r.First})
			if len(records) != events.MaxBatch || records[0].Stamp.Tx != (events.Tx{Index: 1, Count: events.MaxBatch}) {
				s.Fatalf("%d records, the first %+v", len(records), records[0].Stamp.Tx)
			}
		}},
		{"the largest event and the largest batch are stored", func(s *subject) {
			var b events.Batch
			for i := range events.MaxBatchBytes / events.MaxDataBytes {
				e := about(named(i), i)
				e.ContentType, e.Data = "text/plain", bytes.Repeat([]byte{'a' + byte(i)}, events.MaxDataBytes)
				b.Events = append(b.Events, e)
			}
			alone := b.Events[0]
			alone.ID = events.NewID()
			s.one(alone)
			r := s.append(b)
			for i := range b.Events {
				if got := s.record(r.First + uint64(i)); !bytes.Equal(got.Event.Data, b.Events[i].Data) { //nolint:gosec // a small count
					s.Fatalf("event %d came back with %d bytes", i, len(got.Event.Data))
				}
			}
		}},
		{"a thousand and one records are refused", func(s *subject) {
			_ = s.refused(several(entity, events.MaxBatch+1), events.ErrTooLarge)
			b := several(entity, events.MaxBatch)
			b.Controls = []events.ControlWrite{{Control: events.Control{Name: "mark"}}}
			_ = s.refused(b, events.ErrTooLarge)
		}},
		{"an observed position that the log does not hold is refused", func(s *subject) {
			head := s.one(about(entity, 1))
			info := s.info()
			for name, point := range map[string]events.Point{
				"beyond the head":  {Origin: info.Origin, Lineage: info.Terms.Lineage, Term: 1, Sequence: head + 1_000_000},
				"another lineage":  {Origin: info.Origin, Lineage: "deadbeef", Term: 1, Sequence: 1},
				"a term to come":   {Origin: info.Origin, Lineage: info.Terms.Lineage, Term: 7, Sequence: head},
				"not a point":      {Origin: "A;o=", Lineage: "x", Term: 1, Sequence: 1},
				"elsewhere, no id": {Origin: "elsewhere", Lineage: "", Term: 1, Sequence: 1},
			} {
				e := about(entity, 2)
				e.Observed = events.At(point)
				s.Logf("case: %s", name)
				_ = s.refused(events.One(e, events.ExpectAny()), events.ErrImpossiblePosition)
			}
		}},
		{"an event of the future is refused", func(s *subject) {
			e := about(entity, 1)
			e.Time = time.Now().AddDate(10, 0, 0)
			_ = s.refused(events.One(e, events.ExpectAny()), events.ErrClockAhead)
		}},
		{"with an ended context nothing is queued", func(s *subject) {
			before := s.info().Last
			gone, cancel := context.WithCancel(s.ctx)
			cancel()
			if _, err := s.Log.Submit(gone, several(entity, 1)); err == nil {
				// There was room at once: then it is stored.
				s.append(several(entity, 1))
				return
			} else if !errors.Is(err, context.Canceled) {
				s.Fatalf("got %v", err)
			}
			if after := s.append(several(entity, 1)).Last; after != before+1 {
				s.Fatalf("the next append has sequence %d after %d", after, before)
			}
		}},
	}
}

func invalidBatches(s *subject) {
	good := about(entity, 1)
	with := func(change func(*events.Event)) events.Batch {
		e := about(entity, 1)
		change(&e)
		return events.Batch{Events: []events.Event{about(named(1), 1), e}}
	}
	control := func(name string, data []byte) events.Batch {
		return events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: name, Data: data}}}}
	}
	for _, c := range []struct {
		name  string
		batch events.Batch
		code  events.Code
	}{
		{"empty", events.Batch{}, events.ErrInvalidBatch},
		{"expects of an entity without event", events.Batch{
			Events: []events.Event{good}, Expect: map[events.Entity]events.Expectation{named(1): events.ExpectNone()},
		}, events.ErrInvalidBatch},
		{"one id twice", events.Batch{Events: []events.Event{good, good}}, events.ErrInvalidBatch},
		{"no id", with(func(e *events.Event) { e.ID = "" }), events.ErrInvalidEvent},
		{"CRLF in the source", with(func(e *events.Event) { e.Source = "a\r\nNats-Msg-Id: x" }), events.ErrInvalidEvent},
		{"blank in the type", with(func(e *events.Event) { e.Type = "Flight Departed" }), events.ErrInvalidEvent},
		{"an extension of ours", with(func(e *events.Event) { e.Extensions = map[string]string{"tm": "1"} }), events.ErrInvalidEvent},
		{"no entity", with(func(e *events.Event) { e.Entity = events.Entity{} }), events.ErrInvalidEntity},
		{"dotted type of entity", with(func(e *events.Event) { e.Entity.Type = "air.port" }), events.ErrInvalidEntity},
		{"not JSON", with(func(e *events.Event) { e.Data = []byte("{") }), events.ErrInvalidData},
		{"repeated key", with(func(e *events.Event) { e.Data = []byte(`{"a":1,"a":2}`) }), events.ErrInvalidData},
		{"too large an event", with(func(e *events.Event) {
			e.ContentType, e.Data = "text/plain", make([]byte, events.MaxDataBytes+1)
		}), events.ErrTooLarge},
		{"too large a batch", func() events.Batch {
			b := several(entity, 9)
			for i := range b.Events {
				b.Events[i].ContentType, b.Events[i].Data = "text/plain", make([]byte, events.MaxDataBytes)
			}
			return b
		}(), events.ErrTooLarge},
		{"control without name", control("", nil), events.ErrInvalidBatch},
		{"control with a wildcard", control("a.*", nil), events.ErrInvalidBatch},
		{"control with a long name", control(strings.Repeat("a", 300), nil), events.ErrInvalidBatch},
		{"too large a control", control("mark", make([]byte, events.MaxDataBytes+1)), events.ErrTooLarge},
	} {
		s.Logf("case: %s", c.name)
		_ = s.refused(c.batch, c.code)
	}
}

func closeTests() []test {
	return []test{
		{"a closed log refuses every use and can be closed again", func(s *subject) {
			s.one(about(entity, 1))
			s.Close()
			s.Close()
			_, err := s.Log.Submit(s.ctx, several(entity, 1))
			s.code(err, events.ErrClosed)
			_, err = s.Log.Info(s.ctx)
			s.code(err, events.ErrClosed)
			_, err = s.Log.Record(s.ctx, 1)
			s.code(err, events.ErrClosed)
			_, err = s.Log.LastControl(s.ctx, events.ControlGenesis)
			s.code(err, events.ErrClosed)
			for _, err := range s.Log.Read(s.ctx, events.Range{}) {
				s.code(err, events.ErrClosed)
			}
			for _, err := range s.Log.History(s.ctx, entity, 0) {
				s.code(err, events.ErrClosed)
			}
		}},
		{"closing ends a reader that follows", func(s *subject) {
			r := s.reader()
			reading := r.start(s.ctx, events.Range{Follow: true})
			s.sequences(r.next(reading), 1)
			s.Close()
			s.code(r.end(reading), events.ErrClosed)
		}},
		{"every append that was submitted gets an outcome when the log closes", func(s *subject) {
			var pending []*events.Pending
			for i := range 200 {
				p, err := s.Log.Submit(s.ctx, several(named(i%7), 1))
				if err != nil {
					s.Fatal(err)
				}
				pending = append(pending, p)
			}
			s.Close()
			for _, p := range pending {
				if _, err := p.Wait(s.ctx); err != nil {
					s.code(err, events.ErrClosed, events.ErrUnknownOutcome)
				}
				select {
				case <-p.Done():
				default:
					s.Fatal("an append has no outcome")
				}
			}
		}},
	}
}
