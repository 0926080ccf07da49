// Package logtest is the conformance suite of the Log port: what log.go, batch.go and mutate.go promise, as tests with the names of the
// promises. Every adapter passes it, the one in memory too.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"tidemark.dev/events"
)

// patience bounds every wait of a test. Nothing waits that long when the log works.
const patience = 30 * time.Second

// Subject is a log under test. It holds its genesis and nothing else, and nobody else uses it.
type Subject struct {
	Log events.Log

	// ExpireDuplicates lets the duplicate window of all that is stored pass. nil: what happens beyond the window is not tested.
	ExpireDuplicates func()
	// StoreRaw stores a message as any client of the broker could, and returns its sequence. nil: foreign messages are not tested.
	StoreRaw func(subject string, header map[string][]string, data []byte) uint64
	// Close closes the log. nil: closing is not tested.
	Close func()
}

// test is one promise.
type test struct {
	name string
	run  func(*subject)
}

// subject is a Subject within one test.
type subject struct {
	*testing.T
	Subject
	ctx context.Context //nolint:containedctx // lives as long as the test
}

// Run runs the suite. open is called once for each test, and once more to see which hooks there are.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	hooks := open(t)
	run := func(group string, tests []test) {
		t.Run(group, func(t *testing.T) {
			for _, c := range tests {
				t.Run(c.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					s := &subject{T: t, Subject: open(t), ctx: ctx}
					if info := s.info(); info.Last != 1 {
						t.Fatalf("the subject is not fresh: its head is %s", info.Head())
					}
					c.run(s)
				})
			}
		})
	}
	run("Identity", identityTests())
	run("Append", appendTests())
	run("Refusal", refusalTests())
	run("Order", orderTests())
	run("Duplicate", duplicateTests())
	run("Read", readTests())
	run("Entity", entityTests())
	run("Mutate", mutateTests())
	for _, optional := range []struct {
		hook    string
		present bool
		tests   []test
	}{
		{"ExpireDuplicates", hooks.ExpireDuplicates != nil, windowTests()},
		{"StoreRaw", hooks.StoreRaw != nil, foreignTests()},
		{"Close", hooks.Close != nil, closeTests()},
	} {
		if optional.present {
			run(optional.hook, optional.tests)
		} else {
			t.Logf("not tested: the subject has no %s", optional.hook)
		}
	}
}

// entity is the one that most tests write about.
var entity = events.Entity{Type: "airport", ID: "ORD"}

func named(i int) events.Entity { return events.Entity{Type: "airport", ID: "A" + strconv.Itoa(i)} }

// about returns a new event.
func about(e events.Entity, n int) events.Event {
	return events.Event{
		ID: events.NewID(), Source: "urn:tidemark:logtest", Type: "Counted", Entity: e, Data: fmt.Appendf(nil, `{"n":%d}`, n),
	}
}

// several returns a batch of n new events about one entity.
func several(e events.Entity, n int) events.Batch {
	var b events.Batch
	for i := range n {
		b.Events = append(b.Events, about(e, i))
	}
	return b
}

// append appends and fails the test on any error.
func (s *subject) append(b events.Batch) events.Receipt {
	s.Helper()
	r, err := s.Log.Append(s.ctx, b)
	if err != nil {
		s.Fatalf("append: %v", err)
	}
	return r
}

// one appends a single event without expectation.
func (s *subject) one(e events.Event) uint64 {
	s.Helper()
	return s.append(events.One(e, events.ExpectAny())).Last
}

// refused appends, and fails the test unless the error has the code and nothing was written.
func (s *subject) refused(b events.Batch, codes ...events.Code) error {
	s.Helper()
	before := s.info().Last
	r, err := s.Log.Append(s.ctx, b)
	s.code(err, codes...)
	if r.Last != 0 || !r.Position.IsZero() {
		s.Errorf("a refused append has the receipt %+v", r)
	}
	if after := s.info().Last; after != before {
		s.Fatalf("a refused append moved the head from %d to %d", before, after)
	}
	return err
}

// conflict is refused with the details of a conflict.
func (s *subject) conflict(b events.Batch, want events.ConflictError) {
	s.Helper()
	err := s.refused(b, events.ErrConflict)
	got, ok := errors.AsType[*events.ConflictError](err)
	if !ok || *got != want {
		s.Fatalf("got %v, want %v", err, &want)
	}
}

func (s *subject) code(err error, codes ...events.Code) {
	s.Helper()
	wantCode(s.T, err, codes...)
}

// wantCode fails the test unless the error has one of the codes.
func wantCode(t *testing.T, err error, codes ...events.Code) {
	t.Helper()
	for _, code := range codes {
		if got, _ := events.CodeOf(err); got == code && errors.Is(err, code) {
			return
		}
	}
	t.Fatalf("got %v, want %v", err, codes)
}

func (s *subject) info() events.Info {
	s.Helper()
	info, err := s.Log.Info(s.ctx)
	if err != nil {
		s.Fatalf("info: %v", err)
	}
	return info
}

func (s *subject) record(seq uint64) events.Record {
	s.Helper()
	r, err := s.Log.Record(s.ctx, seq)
	if err != nil {
		s.Fatalf("record %d: %v", seq, err)
	}
	return r
}

// read collects a range.
func (s *subject) read(r events.Range) []events.Record {
	s.Helper()
	return s.reader().read(r)
}

// history collects an entity's records.
func (s *subject) history(e events.Entity, from uint64) []events.Record {
	s.Helper()
	var out []events.Record
	for r, err := range s.Log.History(s.ctx, e, from) {
		if err != nil {
			s.Fatalf("history of %q: %v", e, err)
		}
		out = append(out, r)
	}
	return out
}

// sequences fails the test unless the records have exactly these sequences.
func (s *subject) sequences(records []events.Record, want ...uint64) {
	s.Helper()
	sequences(s.T, records, want...)
}

func sequences(t *testing.T, records []events.Record, want ...uint64) {
	t.Helper()
	ok := len(records) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = records[i].Sequence == want[i]
	}
	if !ok {
		got := make([]uint64, len(records))
		for i := range records {
			got[i] = records[i].Sequence
		}
		t.Fatalf("got the sequences %v, want %v", got, want)
	}
}

// same fails the test unless two events say the same.
func (s *subject) same(got, want events.Event) {
	s.Helper()
	if !got.Time.Equal(want.Time) || !got.Observed.Equal(want.Observed) {
		s.Errorf("got time %v and observed %v, want %v and %v", got.Time, got.Observed, want.Time, want.Observed)
	}
	if g, w := text(got), text(want); g != w {
		s.Errorf("got  %s\nwant %s", g, w)
	}
}

func text(e events.Event) string {
	return fmt.Sprintf("%q %q %q %q %q %q %v %q", e.ID, e.Source, e.Type, e.Entity, e.ContentType, e.Schema, e.Extensions, e.Data)
}
