package logtest

import (
	"context"
	"errors"

	"tidemark.dev/events"
)

// readTests are the promises of a reader, and what a log promises beyond them.
func readTests() []test {
	var all []test
	for _, c := range readerTests() {
		all = append(all, test{c.name, func(s *subject) { c.run(s.reader()) }})
	}
	return append(all, []test{
		{"an ended context ends every look-up with its cause", endedContext},
		{"what was appended is read", func(s *subject) {
			b := several(entity, 10)
			s.append(b)
			var kept []events.Record
			for batch, err := range s.Log.Read(s.ctx, events.Range{From: 2, Batch: 1}) {
				if err != nil {
					s.Fatal(err)
				}
				kept = append(kept, batch...)
			}
			s.sequences(kept, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
			for i := range kept {
				s.same(kept[i].Event, b.Events[i])
			}
		}},
		{"Record, Read and History tell the same", func(s *subject) {
			b := several(entity, 3)
			b.Expect = map[events.Entity]events.Expectation{entity: events.ExpectNone()}
			s.append(b)
			read, history := s.read(events.Range{From: 2}), s.history(entity, 0)
			for i := range read {
				r := s.record(read[i].Sequence)
				want := r.Fingerprint()
				if read[i].Fingerprint() != want || history[i].Fingerprint() != want || r.Stamp.Time != read[i].Stamp.Time || !r.Time.Equal(history[i].Time) {
					s.Errorf("sequence %d: %+v, %+v, %+v", r.Sequence, r, read[i], history[i])
				}
				s.same(read[i].Event, r.Event)
				s.same(history[i].Event, r.Event)
			}
		}},
		{"a control record that is not there is not found", func(s *subject) {
			s.one(about(entity, 1))
			for _, name := range []string{"mark", "import.x", "*", ">", ""} {
				_, err := s.Log.LastControl(s.ctx, name)
				s.code(err, events.ErrNotFound)
			}
		}},
		{"the last control record is the newest of its own name", func(s *subject) {
			for _, name := range []string{"import.a", "import.b", "import.a", "import.a.b"} {
				s.append(events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: name, Data: []byte(name)}}}})
			}
			for name, want := range map[string]uint64{"import.a": 4, "import.b": 3, "import.a.b": 5} {
				r, err := s.Log.LastControl(s.ctx, name)
				if err != nil || r.Sequence != want || r.Control.Name != name {
					s.Errorf("%s: %+v, %v", name, r, err)
				}
			}
			_, err := s.Log.LastControl(s.ctx, "import")
			s.code(err, events.ErrNotFound)
		}},
		{"the control records of a name come in order, and no others", func(s *subject) {
			for _, name := range []string{"skip.a", "skip.b", "skip.a", "skip.a.b", "skip.a"} {
				s.append(events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: name, Data: []byte(name)}}}})
			}
			s.one(about(entity, 1))
			for _, c := range []struct {
				name string
				from uint64
				want []uint64
			}{
				{"skip.a", 0, []uint64{2, 4, 6}}, {"skip.a", 2, []uint64{2, 4, 6}}, {"skip.a", 3, []uint64{4, 6}}, {"skip.a", 7, nil}, {"skip.b", 0, []uint64{3}},
				{"skip.a.b", 0, []uint64{5}}, {"skip", 0, nil}, {"skip.*", 0, nil}, {"skip.>", 0, nil}, {"", 0, nil}, {"airport.ORD", 0, nil},
			} {
				s.Logf("case: %s from %d", c.name, c.from)
				list := s.controls(c.name, c.from)
				s.sequences(list, c.want...)
				for i := range list {
					if list[i].Kind != events.KindControl || list[i].Control.Name != c.name || string(list[i].Control.Data) != c.name {
						s.Errorf("%+v", list[i])
					}
				}
			}
		}},
		{"the control records of a name can be many, and be left early", func(s *subject) {
			var all []*events.Pending
			for range 515 { // more than one answer of a broker holds
				p, err := s.Log.Submit(s.ctx, events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: "mark"}}}})
				if err != nil {
					s.Fatal(err)
				}
				all = append(all, p)
			}
			for _, p := range all {
				if _, err := p.Wait(s.ctx); err != nil {
					s.Fatal(err)
				}
			}
			if got := s.controls("mark", 0); len(got) != 515 || got[514].Sequence != 516 {
				s.Fatalf("%d records", len(got))
			}
			for r, err := range s.Log.Controls(s.ctx, "mark", 3) {
				if err != nil || r.Sequence != 3 {
					s.Fatalf("%+v, %v", r, err)
				}
				break
			}
		}},
	}...)
}

// controls returns the control records of a name.
func (s *subject) controls(name string, from uint64) []events.Record {
	s.Helper()
	var out []events.Record
	for r, err := range s.Log.Controls(s.ctx, name, from) {
		if err != nil {
			s.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func endedContext(s *subject) {
	s.append(several(entity, 9))
	cause := errors.New("ended by the test")
	ctx, end := context.WithCancelCause(s.ctx)
	end(cause)
	var last error
	for _, err := range s.Log.History(ctx, entity, 0) {
		last = err
	}
	if !errors.Is(last, cause) {
		s.Errorf("History: %v", last)
	}
	if _, err := s.Log.LastControl(ctx, events.ControlGenesis); !errors.Is(err, cause) {
		s.Errorf("LastControl: %v", err)
	}
	last = nil
	for _, err := range s.Log.Controls(ctx, events.ControlGenesis, 0) {
		last = err
	}
	if !errors.Is(last, cause) {
		s.Errorf("Controls: %v", last)
	}
}
