package logtest

import (
	"slices"
	"strings"

	"tidemark.dev/events"
)

// nasty are ids that break what takes them for more than bytes.
func nasty() []string {
	return []string{
		"*", ">", ".", "..", "a.b", "a.*.b", "a.>", ">.a", " ", " a ", "a b", "\t", "\r\n", "a\r\nNats-Msg-Id: b", "\x00", "a\x00b", "{}", "{id}", "{{.}}",
		"%", "%2E", "%2e", "%25", "a/b", "/", "\\", "\"", "'", "$JS.API", "$", "_INBOX", "-", "~", "é", "e\u0301", "日本", "😀", "\u200b", "\u202e", "\ufeff", "\u00a0", "A", "a",
		strings.Repeat("x", events.MaxIDBytes), strings.Repeat(".", events.MaxIDBytes), strings.Repeat("é", events.MaxIDBytes/2),
	}
}

func entityTests() []test {
	return []test{
		{"every id round-trips and is told from every other", func(s *subject) {
			seqs := map[string][2]uint64{}
			for i, id := range nasty() {
				e := events.Entity{Type: "airport", ID: id}
				first := s.append(events.One(about(e, i), events.ExpectNone())).Last
				seqs[id] = [2]uint64{first, 0}
			}
			for i, id := range nasty() {
				e := events.Entity{Type: "airport", ID: id}
				second := s.append(events.One(about(e, i), events.ExpectExactly(seqs[id][0]))).Last
				seqs[id] = [2]uint64{seqs[id][0], second}
			}
			for _, id := range nasty() {
				e := events.Entity{Type: "airport", ID: id}
				records := s.history(e, 0)
				s.Logf("case: %.40q", id)
				s.sequences(records, seqs[id][0], seqs[id][1])
				for _, r := range records {
					if r.Event.Entity != e {
						s.Errorf("stored as %q", r.Event.Entity)
					}
				}
			}
			for _, r := range s.read(events.Range{From: 2}) {
				if r.Kind != events.KindEvent || !slices.Contains([]uint64{seqs[r.Event.Entity.ID][0], seqs[r.Event.Entity.ID][1]}, r.Sequence) {
					s.Errorf("sequence %d is of %.40q", r.Sequence, r.Event.Entity)
				}
			}
		}},
		{"the same id of another type is another entity", func(s *subject) {
			other := events.Entity{Type: "gate", ID: entity.ID}
			first := s.append(events.One(about(entity, 1), events.ExpectNone())).Last
			second := s.append(events.One(about(other, 1), events.ExpectNone())).Last
			s.sequences(s.history(entity, 0), first)
			s.sequences(s.history(other, 0), second)
		}},
		{"a history begins at the sequence asked for", func(s *subject) {
			var seqs []uint64
			for i := range 5 {
				seqs = append(seqs, s.one(about(entity, i)))
				s.one(about(named(1), i))
			}
			s.sequences(s.history(entity, 0), seqs...)
			s.sequences(s.history(entity, seqs[2]), seqs[2:]...)
			s.sequences(s.history(entity, seqs[2]+1), seqs[3:]...)
			s.sequences(s.history(entity, seqs[4]+1))
			s.sequences(s.history(entity, 1<<40))
		}},
		{"a history can be long", func(s *subject) {
			for range 3 {
				s.append(several(entity, events.MaxBatch))
			}
			if got := len(s.history(entity, 0)); got != 3*events.MaxBatch {
				s.Fatalf("%d records", got)
			}
		}},
		{"a history may be left early", func(s *subject) {
			s.append(several(entity, 5))
			for r, err := range s.Log.History(s.ctx, entity, 0) {
				if err != nil || r.Sequence != 2 {
					s.Fatalf("%+v, %v", r, err)
				}
				break
			}
		}},
		{"an entity without events has an empty history", func(s *subject) {
			s.one(about(entity, 1))
			s.sequences(s.history(named(1), 0))
		}},
		{"an impossible entity is refused", func(s *subject) {
			for _, e := range []events.Entity{
				{},
				{Type: "airport"},
				{ID: "ORD"},
				{Type: "air.port", ID: "ORD"},
				{Type: "*", ID: "ORD"},
				{Type: strings.Repeat("t", events.MaxTypeBytes+1), ID: "ORD"},
				{Type: "airport", ID: "\xff"},
				{Type: "airport", ID: strings.Repeat("x", events.MaxIDBytes+1)},
				{Type: "airport", ID: strings.Repeat("x", 4_096)},
			} {
				s.Logf("case: %.40q", e)
				_ = s.refused(events.One(about(e, 1), events.ExpectAny()), events.ErrInvalidEntity)
				steps := 0
				for _, err := range s.Log.History(s.ctx, e, 0) {
					steps++
					s.code(err, events.ErrInvalidEntity)
				}
				if steps != 1 {
					s.Errorf("%d steps", steps)
				}
			}
		}},
	}
}
