package logtest

import (
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"

	"tidemark.dev/events"
)

func orderTests() []test {
	return []test{
		{"pipelined appends of one goroutine keep their order for each entity", pipelined},
		{"pipelined batches keep their order among single appends", func(s *subject) {
			var pending []*events.Pending
			for i := range 300 {
				b := several(entity, 1+i%3)
				b.Events = append(b.Events, about(named(i%5), i))
				p, err := s.Log.Submit(s.ctx, b)
				if err != nil {
					s.Fatal(err)
				}
				pending = append(pending, p)
			}
			var last uint64
			for i, p := range pending {
				r, err := p.Wait(s.ctx)
				if err != nil {
					s.Fatal(err)
				}
				if r.First <= last || r.Last-r.First != uint64(1+i%3) { //nolint:gosec // a small count
					s.Fatalf("append %d has receipt %+v after sequence %d", i, r, last)
				}
				last = r.Last
			}
		}},
		{"of concurrent exact appends to one entity exactly one wins each round", oneWinner},
		{"concurrent appends to different entities all succeed", func(s *subject) {
			var all sync.WaitGroup
			failed := make(chan error, 8)
			for w := range 8 {
				all.Go(func() {
					var last uint64
					for i := range 25 {
						r, err := s.Log.Append(s.ctx, events.One(about(named(w), i), events.ExpectExactly(last)))
						if err != nil {
							failed <- err
							return
						}
						last = r.Last
					}
				})
			}
			all.Wait()
			close(failed)
			for err := range failed {
				s.Fatalf("nobody else touched the entity: %v", err)
			}
			for w := range 8 {
				s.counts(s.history(named(w), 0), 25)
			}
			s.contiguous(1 + 8*25)
		}},
		{"an append that began after another was acknowledged is stored behind it", func(s *subject) {
			var last uint64
			for i := range 50 {
				seq := s.one(about(named(i%3), i))
				if seq <= last {
					s.Fatalf("sequence %d after %d", seq, last)
				}
				last = seq
			}
		}},
	}
}

func pipelined(s *subject) {
	const appends, entities = 5_000, 50
	pending := make([]*events.Pending, appends)
	for i := range appends {
		p, err := s.Log.Submit(s.ctx, events.One(about(named(i%entities), i/entities), events.ExpectAny()))
		if err != nil {
			s.Fatal(err)
		}
		pending[i] = p
	}
	seen := make(map[uint64]bool, appends)
	for i, p := range pending {
		r, err := p.Wait(s.ctx)
		if err != nil || seen[r.Last] || r.Duplicate {
			s.Fatalf("append %d: %+v, %v", i, r, err)
		}
		seen[r.Last] = true
	}
	for i := range entities {
		s.counts(s.history(named(i), 0), appends/entities)
	}
	s.contiguous(1 + appends)
}

// counts fails the test unless the records' payloads count from 0 to n-1.
func (s *subject) counts(records []events.Record, n int) {
	s.Helper()
	if len(records) != n {
		s.Fatalf("%d records, want %d", len(records), n)
	}
	var last uint64
	for i := range records {
		if got := number(records[i]); got != i || records[i].Sequence <= last {
			s.Fatalf("record %d has the number %d and sequence %d after %d", i, got, records[i].Sequence, last)
		}
		last = records[i].Sequence
	}
}

// contiguous fails the test unless the log holds the sequences 1..n.
func (s *subject) contiguous(n uint64) {
	s.Helper()
	records := s.read(events.Range{})
	if uint64(len(records)) != n {
		s.Fatalf("the log has %d records, want %d", len(records), n)
	}
	for i := range records {
		if records[i].Sequence != uint64(i)+1 { //nolint:gosec // an index
			s.Fatalf("record %d has sequence %d", i, records[i].Sequence)
		}
	}
}

func number(r events.Record) int {
	var v struct{ N int }
	if json.Unmarshal(r.Event.Data, &v) != nil {
		return -1
	}
	return v.N
}

func oneWinner(s *subject) {
	const writers, rounds = 8, 20
	var last uint64
	for round := range rounds {
		var all sync.WaitGroup
		var won atomic.Uint64
		for range writers {
			all.Go(func() {
				r, err := s.Log.Append(s.ctx, events.One(about(entity, round), events.ExpectExactly(last)))
				switch {
				case err == nil && !won.CompareAndSwap(0, r.Last):
					s.Errorf("round %d: both %d and %d won", round, won.Load(), r.Last)
				case err != nil && !errors.Is(err, events.ErrConflict):
					s.Errorf("round %d: %v", round, err)
				}
			})
		}
		all.Wait()
		if last = won.Load(); last == 0 {
			s.Fatalf("round %d: nobody won", round)
		}
	}
	s.counts(s.history(entity, 0), rounds)
}
