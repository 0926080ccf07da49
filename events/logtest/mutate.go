package logtest

import (
	"errors"
	"fmt"
	"sync"

	"tidemark.dev/events"
)

// sum folds the numbers of an entity's events.
func sum(state int, r events.Record) (int, error) { return state + number(r), nil }

func mutateTests() []test {
	add := func(n int) func(int) ([]events.Event, error) {
		return func(int) ([]events.Event, error) {
			e := about(events.Entity{}, n)
			e.ID = ""
			return []events.Event{e}, nil
		}
	}
	return []test{
		{"Mutate decides on the folded state and fills in entity and id", func(s *subject) {
			for i := range 3 {
				s.one(about(entity, i+1))
				s.one(about(named(1), 100))
			}
			var state int
			r, err := events.Mutate(s.ctx, s.Log, entity, sum, func(n int) ([]events.Event, error) {
				state = n
				return add(4)(n)
			})
			if err != nil || state != 6 {
				s.Fatalf("decided on %d: %v", state, err)
			}
			got := s.record(r.Last)
			if got.Event.Entity != entity || got.Event.ID == "" || number(got) != 4 || r.Last != s.info().Last {
				s.Fatalf("stored %+v", got)
			}
		}},
		{"Mutate begins an entity from nothing", func(s *subject) {
			r, err := events.Mutate(s.ctx, s.Log, entity, sum, add(1))
			if err != nil {
				s.Fatal(err)
			}
			s.sequences(s.history(entity, 0), r.Last)
		}},
		{"Mutate that decides nothing writes nothing", func(s *subject) {
			r, err := events.Mutate(s.ctx, s.Log, entity, sum, func(int) ([]events.Event, error) { return nil, nil })
			if err != nil || r.Last != 0 || s.info().Last != 1 {
				s.Fatalf("%+v, %v", r, err)
			}
		}},
		{"Mutate decides again after a conflict, on what is new", func(s *subject) {
			s.one(about(entity, 1))
			var states []int
			r, err := events.Mutate(s.ctx, s.Log, entity, sum, func(n int) ([]events.Event, error) {
				states = append(states, n)
				if len(states) < 4 {
					s.one(about(entity, 10))
				}
				return add(n)(n)
			})
			if err != nil || fmt.Sprint(states) != "[1 11 21 31]" || number(s.record(r.Last)) != 31 {
				s.Fatalf("decided on %v: %v", states, err)
			}
		}},
		{"Mutate may return the same slice at every decision", func(s *subject) {
			e := about(events.Entity{}, 1)
			e.ID = ""
			shared := []events.Event{e}
			rounds := 0
			decide := func(int) ([]events.Event, error) {
				if rounds++; rounds == 1 {
					s.one(about(entity, 10))
				}
				return shared, nil
			}
			for range 2 {
				if _, err := events.Mutate(s.ctx, s.Log, entity, sum, decide); err != nil {
					s.Fatal(err)
				}
			}
			if shared[0].ID != "" || !shared[0].Entity.IsZero() || len(s.history(entity, 0)) != 3 {
				s.Fatalf("%+v", shared[0])
			}
		}},
		{"Mutate gives up with the conflict after its attempts", func(s *subject) {
			rounds := 0
			_, err := events.Mutate(s.ctx, s.Log, entity, sum, func(int) ([]events.Event, error) {
				rounds++
				s.one(about(entity, 1))
				return add(2)(0)
			})
			s.code(err, events.ErrConflict)
			if rounds != events.MaxMutateAttempts || len(s.history(entity, 0)) != rounds {
				s.Fatalf("decided %d times", rounds)
			}
		}},
		{"an error of fold or decide is returned as it is and nothing is written", func(s *subject) {
			last := s.one(about(entity, 1))
			broken := errors.New("broken")
			_, err := events.Mutate(s.ctx, s.Log, entity, func(int, events.Record) (int, error) { return 0, broken }, add(1))
			if err != broken { //nolint:errorlint // as it is
				s.Errorf("fold: %v", err)
			}
			_, err = events.Mutate(s.ctx, s.Log, entity, sum, func(int) ([]events.Event, error) { return []events.Event{about(entity, 2)}, broken })
			if err != broken { //nolint:errorlint // as it is
				s.Errorf("decide: %v", err)
			}
			if s.info().Last != last {
				s.Error("something was written")
			}
		}},
		{"Mutate refuses a decision that nothing would guard", func(s *subject) {
			_, err := events.Mutate(s.ctx, s.Log, entity, sum, func(int) ([]events.Event, error) { return []events.Event{about(named(1), 2)}, nil })
			s.code(err, events.ErrInvalidBatch)
		}},
		{"concurrent counters lose no step", concurrentCounters},
	}
}

func concurrentCounters(s *subject) {
	const writers, steps = 6, 15
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < steps && s.ctx.Err() == nil; {
				_, err := events.Mutate(s.ctx, s.Log, entity,
					func(_ int, r events.Record) (int, error) { return number(r), nil },
					func(n int) ([]events.Event, error) { return []events.Event{about(entity, n+1)}, nil })
				switch {
				case err == nil:
					done++
				case !errors.Is(err, events.ErrConflict): // the others were faster all the time: again
					s.Errorf("mutate: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	records := s.history(entity, 0)
	if len(records) != writers*steps {
		s.Fatalf("%d events, want %d", len(records), writers*steps)
	}
	for i, r := range records {
		if number(r) != i+1 {
			s.Fatalf("step %d wrote %d", i+1, number(r))
		}
	}
}
