package memlog

import (
	"encoding/json"
	"slices"
	"time"

	"tidemark.dev/events"
)

// store is what a broker keeps of one stream. Readers hold on to its slices without a lock, so their elements
// are never changed: whoever cuts or changes the history makes new ones.
type store struct {
	origin   string
	entries  []entry             // the record with sequence s is entries[s-1]
	subjects map[string][]uint64 // the sequences of each subject
	ids      map[string]uint64   // the last sequence of each message id
	// forgotten is the sequence up to which the duplicate window is lost, whatever its time says.
	forgotten uint64
	terms     events.Terms
	foreign   error // the first record that contradicts the history; nil when none does
	deleted   bool
}

// entry is a stored message.
type entry struct {
	message events.Message
	time    time.Time
}

func newStore(origin string) store {
	return store{origin: origin, subjects: map[string][]uint64{}, ids: map[string]uint64{}}
}

// begin writes the genesis.
func (s *store) begin(l events.Lineage, clock *events.Clock, now time.Time) {
	s.control(events.ControlGenesis, events.Genesis{Format: events.GenesisFormat, Origin: s.origin, Lineage: l}, clock, now)
}

// control writes a control record of our own.
func (s *store) control(name string, content any, clock *events.Clock, now time.Time) {
	data, err := json.Marshal(content)
	if err != nil {
		panic(err) // genesis and term always marshal
	}
	at, err := clock.Now()
	if err != nil {
		at = events.TimestampAt(now)
	}
	c := events.Control{Name: name, Data: data}
	s.put(events.EncodeControl(s.origin, c, events.Stamp{Time: at, Hash: c.ContentHash()}), now)
}

// put stores a message and returns its sequence.
func (s *store) put(m events.Message, now time.Time) uint64 {
	s.entries = append(s.entries, entry{message: m, time: now})
	seq := s.last()
	s.subjects[m.Subject] = append(s.subjects[m.Subject], seq)
	if id := m.Header[events.HeaderMessageID]; len(id) > 0 {
		s.ids[id[0]] = seq
	}
	switch m.Subject {
	case events.ControlSubject(s.origin, events.ControlGenesis), events.ControlSubject(s.origin, events.ControlTerm):
		r, err := s.record(seq)
		if err == nil {
			err = s.terms.Apply(&r)
		}
		if err != nil && s.foreign == nil {
			s.foreign = err
		}
	}
	return seq
}

// replace makes the given entries the whole history.
func (s *store) replace(entries []entry) {
	fresh := newStore(s.origin)
	fresh.entries = make([]entry, 0, len(entries))
	for _, e := range entries {
		fresh.put(e.message, e.time)
	}
	fresh.forgotten = min(s.forgotten, fresh.last())
	*s = fresh
}

func (s *store) last() uint64 { return uint64(len(s.entries)) }

func (s *store) record(seq uint64) (events.Record, error) {
	var r events.Record
	e := s.entries[seq-1]
	err := events.Decode(&r, s.origin, seq, e.time, e.message)
	return r, err
}

// info describes the store, whatever its state.
func (s *store) info() events.Info {
	info := events.Info{Origin: s.origin, Terms: s.terms, First: 1, Last: s.last()}
	if n := len(s.entries); n > 0 {
		info.Time = s.entries[n-1].time
	}
	return info
}

func (s *store) lastOf(subject string) uint64 {
	if seqs := s.subjects[subject]; len(seqs) > 0 {
		return seqs[len(seqs)-1]
	}
	return 0
}

// append stores all of a job's messages, or none.
func (s *store) append(j *job, again bool, now time.Time, window time.Duration) (events.Receipt, error) {
	if s.deleted {
		return events.Receipt{}, noLog(s.origin)
	}
	if again {
		if first, ok := s.own(j.messages); ok {
			return s.receipt(first, first+uint64(len(j.messages))-1), nil
		}
	}
	known, err := s.known(j, func(seq uint64) bool {
		return seq > s.forgotten && now.Sub(s.entries[seq-1].time) < window
	})
	if err != nil {
		return events.Receipt{}, err
	}
	if len(known) > 0 && len(known) < len(j.batch.Events) {
		return events.Receipt{}, partly(j, known)
	}
	if len(known) > 0 {
		return s.duplicate(known), nil
	}
	if conflict := s.conflict(&j.batch); conflict != nil {
		// The events themselves may be what moved the entity: a retry after a lost reply, at any age.
		known, err := s.known(j, func(uint64) bool { return true })
		if err == nil && len(known) > 0 && len(known) == len(j.batch.Events) {
			return s.duplicate(known), nil
		}
		return events.Receipt{}, conflict
	}
	first := s.last() + 1
	for _, m := range j.messages {
		s.put(m, now)
	}
	return s.receipt(first, s.last()), nil
}

// own finds the very attempt of ours that was stored without our knowing: no two attempts share a stamp.
func (s *store) own(messages []events.Message) (first uint64, ok bool) {
	stamp := messages[0].Header[events.HeaderStamp][0]
	for _, seq := range slices.Backward(s.subjects[messages[0].Subject]) {
		if h := s.entries[seq-1].message.Header[events.HeaderStamp]; len(h) > 0 && h[0] == stamp {
			return seq, true
		}
	}
	return 0, false
}

// known returns, by index, the sequences of those events of a job that are in the log already, among those that count. It
// returns ErrIDConflict when one of them has other content.
func (s *store) known(j *job, counts func(seq uint64) bool) (map[int]uint64, error) {
	var known map[int]uint64
	for i := range j.batch.Events {
		m := &j.messages[i]
		seq := s.ids[m.Header[events.HeaderMessageID][0]]
		if seq == 0 || !counts(seq) {
			continue
		}
		e := &j.batch.Events[i]
		if !s.same(seq, m, e) {
			return nil, events.Errorf(events.ErrIDConflict, "the event %q of source %q is in the log at sequence %d with other content; nothing was written",
				e.ID, e.Source, seq).Hint("Give the new event an id of its own.")
		}
		if known == nil {
			known = map[int]uint64{}
		}
		known[i] = seq
	}
	return known, nil
}

// same reports whether the record at seq is the event.
func (s *store) same(seq uint64, m *events.Message, e *events.Event) bool {
	r, _ := s.record(seq) // of a damaged record, the hash tells what it was
	if r.Kind == events.KindMalformed || r.Subject != m.Subject {
		return false
	}
	if r.Stamp.Hash.IsZero() {
		return r.Event.ContentHash() == e.ContentHash()
	}
	return r.Stamp.Hash == e.ContentHash()
}

// conflict returns the first expectation that does not hold, or nil.
func (s *store) conflict(b *events.Batch) error {
	for i := 0; len(b.Expect) > 0 && i < len(b.Events); i++ {
		entity := b.Events[i].Entity
		if want, exact := b.Expect[entity].Sequence(); exact {
			if actual := s.lastOf(events.EventSubject(s.origin, entity)); actual != want {
				return &events.ConflictError{Entity: entity, Expected: want, Actual: actual}
			}
		}
	}
	for i := range b.Controls {
		c := &b.Controls[i]
		if want, exact := c.Expect.Sequence(); exact {
			if actual := s.lastOf(events.ControlSubject(s.origin, c.Name)); actual != want {
				return &events.ConflictError{Control: c.Name, Expected: want, Actual: actual}
			}
		}
	}
	return nil
}

func (s *store) receipt(first, last uint64) events.Receipt {
	return events.Receipt{Position: s.info().Position(last), First: first, Last: last}
}

func (s *store) duplicate(known map[int]uint64) events.Receipt {
	first, last := s.last(), uint64(0)
	for _, seq := range known {
		first, last = min(first, seq), max(last, seq)
	}
	r := s.receipt(first, last)
	r.Duplicate = true
	return r
}

func partly(j *job, known map[int]uint64) error {
	for i := range j.batch.Events {
		if seq, ok := known[i]; ok {
			e := &j.batch.Events[i]
			return events.Errorf(events.ErrIDConflict, "%d of the append's %d events are in the log already, first the event %q of source %q at sequence %d; nothing was written",
				len(known), len(j.batch.Events), e.ID, e.Source, seq).Hint("Append the others without them.")
		}
	}
	return nil
}

func noLog(origin string) error {
	return events.Errorf(events.ErrNoLog, "the log of origin %s does not exist", origin)
}
