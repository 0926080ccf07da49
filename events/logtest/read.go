package logtest

import (
	"context"
	"errors"
	"slices"

	"tidemark.dev/events"
)

func readTests() []test {
	return []test{
		{"a range is read in order from its first to its last sequence", func(s *subject) {
			s.append(several(entity, 9))
			for _, c := range []struct {
				r           events.Range
				first, last uint64
			}{
				{events.Range{}, 1, 10}, {events.Range{From: 1}, 1, 10}, {events.Range{From: 4}, 4, 10}, {events.Range{To: 3}, 1, 3},
				{events.Range{From: 4, To: 7}, 4, 7}, {events.Range{From: 10, To: 10}, 10, 10}, {events.Range{From: 8, To: 99}, 8, 10},
				{events.Range{From: 4, To: 7, Follow: true}, 4, 7}, {events.Range{From: 4, To: 7, Batch: 3}, 4, 7},
			} {
				var want []uint64
				for seq := c.first; seq <= c.last; seq++ {
					want = append(want, seq)
				}
				s.Logf("case: %+v", c.r)
				s.sequences(s.read(c.r), want...)
			}
		}},
		{"an empty range yields nothing", func(s *subject) {
			s.append(several(entity, 3))
			for _, r := range []events.Range{{From: 5}, {From: 5, To: 9}, {From: 3, To: 2}, {From: 4, To: 2, Follow: true}} {
				s.Logf("case: %+v", r)
				s.sequences(s.read(r))
			}
		}},
		{"reading from beyond the next sequence is a foreign history", func(s *subject) {
			s.append(several(entity, 3))
			for _, r := range []events.Range{{From: 6}, {From: 6, Follow: true}, {From: 1_000_000, To: 1_000_001}} {
				s.Logf("case: %+v", r)
				steps := 0
				for batch, err := range s.Log.Read(s.ctx, r) {
					steps++
					s.code(err, events.ErrForeignHistory)
					if len(batch) != 0 {
						s.Errorf("%d records beside the error", len(batch))
					}
				}
				if steps != 1 {
					s.Errorf("%d steps", steps)
				}
			}
		}},
		{"no step yields more than the range's batch", func(s *subject) {
			s.append(several(entity, 20))
			for batch, err := range s.Log.Read(s.ctx, events.Range{Batch: 6}) {
				if err != nil || len(batch) == 0 || len(batch) > 6 {
					s.Fatalf("%d records, %v", len(batch), err)
				}
			}
		}},
		{"a record copied from a step stays as it was", func(s *subject) {
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
		{"a reader may stop at any step and read again", func(s *subject) {
			s.append(several(entity, 9))
			for range 3 {
				reading := s.Log.Read(s.ctx, events.Range{From: 3, Batch: 2, Follow: true})
				for range 2 {
					for batch, err := range reading {
						if err != nil || batch[0].Sequence != 3 {
							s.Fatalf("%+v, %v", batch, err)
						}
						break
					}
				}
			}
		}},
		{"a reader that follows sees what is stored later", follows},
		{"a reader that follows to a sequence waits for it and ends", func(s *subject) {
			reading := s.start(s.ctx, events.Range{From: 2, To: 6, Follow: true})
			for i := range 8 {
				s.one(about(entity, i))
			}
			var got []events.Record
			for len(got) < 5 {
				got = append(got, s.next(reading)...)
			}
			s.sequences(got, 2, 3, 4, 5, 6)
			if err := s.end(reading); err != nil {
				s.Fatalf("the reading ended with %v", err)
			}
		}},
		{"an ended context ends every reading with its cause", endedContext},
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
		{"a record that is not there is not found", func(s *subject) {
			last := s.one(about(entity, 1))
			for _, seq := range []uint64{0, last + 1, 1 << 40} {
				_, err := s.Log.Record(s.ctx, seq)
				s.code(err, events.ErrNotFound)
			}
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
	}
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

func follows(s *subject) {
	s.append(several(entity, 3))
	ctx, stop := context.WithCancelCause(s.ctx)
	stopped := errors.New("stopped by the test")
	reading := s.start(ctx, events.Range{From: 2, Follow: true})
	var got []events.Record
	for len(got) < 3 {
		got = append(got, s.next(reading)...)
	}
	s.sequences(got, 2, 3, 4)
	for i := range 5 {
		seq := s.one(about(named(i), i))
		s.sequences(s.next(reading), seq) // it does not wait for a full batch
	}
	stop(stopped)
	if err := s.end(reading); !errors.Is(err, stopped) {
		s.Fatalf("the reading ended with %v", err)
	}
}

// reading is a Read in a goroutine of its own.
type reading struct {
	steps chan []events.Record
	ended chan error
}

func (s *subject) start(ctx context.Context, r events.Range) reading {
	c := reading{steps: make(chan []events.Record), ended: make(chan error, 1)}
	go func() {
		for batch, err := range s.Log.Read(ctx, r) {
			if err != nil {
				c.ended <- err
				return
			}
			select {
			case c.steps <- slices.Clone(batch):
			case <-ctx.Done():
			}
		}
		c.ended <- nil
	}()
	return c
}

func (s *subject) next(r reading) []events.Record {
	s.Helper()
	select {
	case got := <-r.steps:
		return got
	case err := <-r.ended:
		s.Fatalf("the reading ended too early: %v", err)
	case <-s.ctx.Done():
		s.Fatal("nothing was read in time")
	}
	return nil
}

func (s *subject) end(r reading) error {
	s.Helper()
	select {
	case got := <-r.steps:
		s.Fatalf("the reading goes on with %+v", got)
	case err := <-r.ended:
		return err
	case <-s.ctx.Done():
		s.Fatal("the reading did not end in time")
	}
	return nil
}

func endedContext(s *subject) {
	s.append(several(entity, 9))
	cause := errors.New("ended by the test")
	ctx, end := context.WithCancelCause(s.ctx)
	defer end(nil)
	steps := 0
	var last error
	for batch, err := range s.Log.Read(ctx, events.Range{Batch: 2, Follow: true}) {
		if steps++; steps == 1 && err == nil && len(batch) > 0 {
			end(cause) // what was fetched already may still be yielded
		}
		last = err
	}
	if !errors.Is(last, cause) {
		s.Errorf("Read: %v after %d steps", last, steps)
	}
	last = nil
	for _, err := range s.Log.History(ctx, entity, 0) {
		last = err
	}
	if !errors.Is(last, cause) {
		s.Errorf("History: %v", last)
	}
	if _, err := s.Log.Info(ctx); !errors.Is(err, cause) {
		s.Errorf("Info: %v", err)
	}
	if _, err := s.Log.Record(ctx, 1); !errors.Is(err, cause) {
		s.Errorf("Record: %v", err)
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
