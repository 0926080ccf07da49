package logtest

import (
	"strings"

	"tidemark.dev/events"
)

func duplicateTests() []test {
	return []test{
		{"the same event again is a duplicate with the same place", func(s *subject) {
			b := events.One(about(entity, 1), events.ExpectAny())
			first := s.append(b)
			s.one(about(entity, 2))
			s.duplicate(b, first)
		}},
		{"the same event again is a duplicate though its expectation no longer holds", func(s *subject) {
			none := events.One(about(entity, 1), events.ExpectNone())
			first := s.append(none)
			exact := events.One(about(entity, 2), events.ExpectExactly(first.Last))
			second := s.append(exact)
			s.duplicate(none, first)
			s.duplicate(exact, second)
			s.sequences(s.history(entity, 0), first.Last, second.Last)
		}},
		{"the same batch again is a duplicate", func(s *subject) {
			b := several(entity, 3)
			b.Events = append(b.Events, about(named(1), 1))
			b.Expect = map[events.Entity]events.Expectation{entity: events.ExpectNone(), named(1): events.ExpectNone()}
			b.Controls = []events.ControlWrite{{Control: events.Control{Name: "import.x", Data: []byte("4")}, Expect: events.ExpectNone()}}
			first := s.append(b)
			first.Last-- // a duplicate is told by its events
			first.Position = s.info().Position(first.Last)
			s.duplicate(b, first)
		}},
		{"events appended one by one are a duplicate as a batch", func(s *subject) {
			b := several(entity, 3)
			first := s.one(b.Events[2])
			s.one(about(named(1), 1))
			s.one(b.Events[0])
			last := s.one(b.Events[1])
			s.duplicate(b, events.Receipt{First: first, Last: last, Position: s.info().Position(last)})
		}},
		{"what may differ between two attempts does not make other content", func(s *subject) {
			e := about(entity, 1)
			e.Extensions = map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
			first := s.append(events.One(e, events.ExpectAny()))
			e.Extensions = nil
			e.Observed = s.info().Position(1)
			s.duplicate(events.One(e, events.ExpectAny()), first)
		}},
		{"the same id with other content is an id conflict", func(s *subject) {
			e := about(entity, 1)
			s.one(e)
			e.Data = []byte(`{"n":2}`)
			err := s.refused(events.One(e, events.ExpectAny()), events.ErrIDConflict)
			if !strings.Contains(err.Error(), e.ID) {
				s.Errorf("the error does not name the event: %v", err)
			}
		}},
		{"the same id about another entity is an id conflict", func(s *subject) {
			e := about(entity, 1)
			s.one(e)
			e.Entity = named(1)
			_ = s.refused(events.One(e, events.ExpectAny()), events.ErrIDConflict)
			_ = s.refused(events.One(e, events.ExpectNone()), events.ErrIDConflict)
		}},
		{"the same id with other content and an expectation that does not hold is refused", func(s *subject) {
			e := about(entity, 1)
			s.append(events.One(e, events.ExpectNone()))
			e.Data = []byte(`{"n":2}`)
			_ = s.refused(events.One(e, events.ExpectNone()), events.ErrIDConflict, events.ErrConflict)
		}},
		{"the same id from another source is another event", func(s *subject) {
			e := about(entity, 1)
			first := s.one(e)
			e.Source = "urn:elsewhere"
			if second := s.one(e); second != first+1 {
				s.Fatalf("sequence %d after %d", second, first)
			}
		}},
		{"a batch that is stored in part is an id conflict that names a stored event", func(s *subject) {
			b := several(entity, 3)
			s.one(b.Events[1])
			err := s.refused(b, events.ErrIDConflict)
			if !strings.Contains(err.Error(), b.Events[1].ID) || strings.Contains(err.Error(), b.Events[0].ID) {
				s.Errorf("the error does not name event %s: %v", b.Events[1].ID, err)
			}
		}},
		{"a batch with one event of other content is an id conflict", func(s *subject) {
			b := several(entity, 2)
			s.append(b)
			b.Events[1].Data = []byte(`{"n":99}`)
			_ = s.refused(b, events.ErrIDConflict)
		}},
		{"a conflict does not make the refused event known", func(s *subject) {
			first := s.one(about(entity, 1))
			e := about(entity, 2)
			_ = s.refused(events.One(e, events.ExpectNone()), events.ErrConflict)
			if r := s.append(events.One(e, events.ExpectExactly(first))); r.Duplicate {
				s.Fatalf("receipt %+v", r)
			}
		}},
		{"duplicates that are pipelined with the first attempt are duplicates", func(s *subject) {
			b := events.One(about(entity, 1), events.ExpectNone())
			var pending []*events.Pending
			for range 20 {
				p, err := s.Log.Submit(s.ctx, b)
				if err != nil {
					s.Fatal(err)
				}
				pending = append(pending, p)
			}
			stored := 0
			for _, p := range pending {
				r, err := p.Wait(s.ctx)
				if err != nil || r.Last != 2 {
					s.Fatalf("%+v, %v", r, err)
				}
				if !r.Duplicate {
					stored++
				}
			}
			if stored != 1 || s.info().Last != 2 {
				s.Fatalf("stored %d times, the head is %d", stored, s.info().Last)
			}
		}},
	}
}

// duplicate appends and fails the test unless the answer is a duplicate at the place of first, and nothing was written.
func (s *subject) duplicate(b events.Batch, first events.Receipt) {
	s.Helper()
	before := s.info().Last
	r := s.append(b)
	if !r.Duplicate || r.First != first.First || r.Last != first.Last || !r.Position.Equal(first.Position) {
		s.Fatalf("got %+v, want the duplicate of %+v", r, first)
	}
	if after := s.info().Last; after != before {
		s.Fatalf("a duplicate moved the head from %d to %d", before, after)
	}
}

func windowTests() []test {
	return []test{
		{"beyond the window an append without expectation is stored a second time", func(s *subject) {
			b := events.One(about(entity, 1), events.ExpectAny())
			first := s.append(b)
			s.ExpireDuplicates()
			second := s.append(b)
			if second.Duplicate || second.Last <= first.Last {
				s.Fatalf("%+v, then %+v", first, second)
			}
			s.duplicate(b, second)
		}},
		{"beyond the window an append with an expectation is still a duplicate", func(s *subject) {
			none := events.One(about(entity, 1), events.ExpectNone())
			first := s.append(none)
			exact := events.One(about(entity, 2), events.ExpectExactly(first.Last))
			second := s.append(exact)
			s.one(about(entity, 3))
			s.ExpireDuplicates()
			s.duplicate(none, first)
			s.duplicate(exact, second)
		}},
		{"beyond the window a batch with expectations of all its entities is still a duplicate", func(s *subject) {
			old := s.one(about(named(1), 0))
			b := several(entity, 2)
			b.Events = append(b.Events, about(named(1), 1))
			b.Expect = map[events.Entity]events.Expectation{entity: events.ExpectNone(), named(1): events.ExpectExactly(old)}
			first := s.append(b)
			s.ExpireDuplicates()
			s.duplicate(b, first)
		}},
		{"beyond the window another event with the same expectation is a conflict", func(s *subject) {
			first := s.append(events.One(about(entity, 1), events.ExpectNone())).Last
			s.ExpireDuplicates()
			s.conflict(events.One(about(entity, 1), events.ExpectNone()), events.ConflictError{Entity: entity, Actual: first})
		}},
	}
}
