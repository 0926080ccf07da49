package logtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"tidemark.dev/events"
)

// ReaderSubject is a reader under test, of a log or of a stream that is not ours. What it reads holds one record, with sequence 1, and nobody else uses it.
type ReaderSubject struct {
	Reader events.Reader
	// Store stores so many more records.
	Store func(n int)
	// Close closes the reader. nil: closing is not tested.
	Close func()
}

// RunReader runs the part of the suite that is about reading alone. open is called once for each test.
func RunReader(t *testing.T, open func(t *testing.T) ReaderSubject) {
	t.Helper()
	for _, c := range readerTests() {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s := &readerSubject{T: t, ReaderSubject: open(t), ctx: ctx}
			if info, err := s.Reader.Info(ctx); err != nil || info.Last != 1 {
				t.Fatalf("the subject is not fresh: it is %+v, %v", info, err)
			}
			c.run(s)
		})
	}
}

// readerTest is one promise of a reader.
type readerTest struct {
	name string
	run  func(*readerSubject)
}

// readerSubject is a ReaderSubject within one test.
type readerSubject struct {
	*testing.T
	ReaderSubject
	ctx context.Context //nolint:containedctx // lives as long as the test
}

// reader returns the log as a reader.
func (s *subject) reader() *readerSubject {
	return &readerSubject{T: s.T, ctx: s.ctx, ReaderSubject: ReaderSubject{
		Reader: s.Log, Store: func(n int) { s.append(several(entity, n)) }, Close: s.Close,
	}}
}

func readerTests() []readerTest {
	return []readerTest{
		{"a range is read in order from its first to its last sequence", func(s *readerSubject) {
			s.Store(9)
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
				sequences(s.T, s.read(c.r), want...)
			}
		}},
		{"an empty range yields nothing", func(s *readerSubject) {
			s.Store(3)
			for _, r := range []events.Range{{From: 5}, {From: 5, To: 9}, {From: 3, To: 2}, {From: 4, To: 2, Follow: true}} {
				s.Logf("case: %+v", r)
				sequences(s.T, s.read(r))
			}
		}},
		{"reading from beyond the next sequence is a foreign history", func(s *readerSubject) {
			s.Store(3)
			for _, r := range []events.Range{{From: 6}, {From: 6, Follow: true}, {From: 1_000_000, To: 1_000_001}} {
				s.Logf("case: %+v", r)
				steps := 0
				for batch, err := range s.Reader.Read(s.ctx, r) {
					steps++
					wantCode(s.T, err, events.ErrForeignHistory)
					if len(batch) != 0 {
						s.Errorf("%d records beside the error", len(batch))
					}
				}
				if steps != 1 {
					s.Errorf("%d steps", steps)
				}
			}
		}},
		{"no step yields more than the range's batch", func(s *readerSubject) {
			s.Store(20)
			for batch, err := range s.Reader.Read(s.ctx, events.Range{Batch: 6}) {
				if err != nil || len(batch) == 0 || len(batch) > 6 {
					s.Fatalf("%d records, %v", len(batch), err)
				}
			}
		}},
		{"a record copied from a step stays as it was", func(s *readerSubject) {
			s.Store(10)
			var kept []events.Record
			for batch, err := range s.Reader.Read(s.ctx, events.Range{From: 2, Batch: 1}) {
				if err != nil {
					s.Fatal(err)
				}
				kept = append(kept, batch...)
			}
			sequences(s.T, kept, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
			for i := range kept {
				s.stored(&kept[i])
			}
		}},
		{"a reader may stop at any step and read again", func(s *readerSubject) {
			s.Store(9)
			for range 3 {
				reading := s.Reader.Read(s.ctx, events.Range{From: 3, Batch: 2, Follow: true})
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
		{"a reader that follows to a sequence waits for it and ends", func(s *readerSubject) {
			reading := s.start(s.ctx, events.Range{From: 2, To: 6, Follow: true})
			for range 8 {
				s.Store(1)
			}
			var got []events.Record
			for len(got) < 5 {
				got = append(got, s.next(reading)...)
			}
			sequences(s.T, got, 2, 3, 4, 5, 6)
			if err := s.end(reading); err != nil {
				s.Fatalf("the reading ended with %v", err)
			}
		}},
		{"an ended context ends every reading with its cause", endedReading},
		{"Record and Read tell the same", func(s *readerSubject) {
			s.Store(3)
			read := s.read(events.Range{})
			sequences(s.T, read, 1, 2, 3, 4)
			for i := range read {
				s.stored(&read[i])
			}
		}},
		{"a sequence that is not there is not found", func(s *readerSubject) {
			s.Store(1)
			for _, seq := range []uint64{0, 3, 1 << 40} {
				_, err := s.Reader.Record(s.ctx, seq)
				wantCode(s.T, err, events.ErrNotFound)
			}
		}},
		{"a reader that was closed says so", func(s *readerSubject) {
			if s.Close == nil {
				s.Log("not tested: the subject has no Close")
				return
			}
			s.Store(3)
			reading := s.start(s.ctx, events.Range{Follow: true})
			for got := 0; got < 4; {
				got += len(s.next(reading))
			}
			s.Close()
			wantCode(s.T, s.end(reading), events.ErrClosed)
			_, err := s.Reader.Info(s.ctx)
			wantCode(s.T, err, events.ErrClosed)
			_, err = s.Reader.Record(s.ctx, 1)
			wantCode(s.T, err, events.ErrClosed)
			for _, err := range s.Reader.Read(s.ctx, events.Range{}) {
				wantCode(s.T, err, events.ErrClosed)
			}
		}},
	}
}

// read collects a range.
func (s *readerSubject) read(r events.Range) []events.Record {
	s.Helper()
	var out []events.Record
	for batch, err := range s.Reader.Read(s.ctx, r) {
		if err != nil {
			s.Fatalf("read %+v: %v", r, err)
		}
		if len(batch) == 0 {
			s.Fatalf("read %+v yielded nothing", r)
		}
		out = append(out, batch...)
	}
	return out
}

// stored fails the test unless a record that was read is the one that is stored.
func (s *readerSubject) stored(r *events.Record) {
	s.Helper()
	want, err := s.Reader.Record(s.ctx, r.Sequence)
	if err != nil {
		s.Fatalf("record %d: %v", r.Sequence, err)
	}
	if r.Fingerprint() != want.Fingerprint() || r.Kind != want.Kind || r.Subject != want.Subject || !r.Time.Equal(want.Time) || r.Stamp.Time != want.Stamp.Time ||
		text(r.Event) != text(want.Event) || r.Control.Name != want.Control.Name || !slices.Equal(r.Control.Data, want.Control.Data) {
		s.Errorf("sequence %d: read %+v, stored %+v", r.Sequence, *r, want)
	}
}

func follows(s *readerSubject) {
	s.Store(3)
	ctx, stop := context.WithCancelCause(s.ctx)
	stopped := errors.New("stopped by the test")
	reading := s.start(ctx, events.Range{From: 2, Follow: true})
	var got []events.Record
	for len(got) < 3 {
		got = append(got, s.next(reading)...)
	}
	sequences(s.T, got, 2, 3, 4)
	for seq := range uint64(5) {
		s.Store(1)
		sequences(s.T, s.next(reading), 5+seq) // it does not wait for a full batch
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

func (s *readerSubject) start(ctx context.Context, r events.Range) reading {
	c := reading{steps: make(chan []events.Record), ended: make(chan error, 1)}
	go func() {
		for batch, err := range s.Reader.Read(ctx, r) {
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

func (s *readerSubject) next(r reading) []events.Record {
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

func (s *readerSubject) end(r reading) error {
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

func endedReading(s *readerSubject) {
	s.Store(9)
	cause := errors.New("ended by the test")
	ctx, end := context.WithCancelCause(s.ctx)
	defer end(nil)
	steps := 0
	var last error
	for batch, err := range s.Reader.Read(ctx, events.Range{Batch: 2, Follow: true}) {
		if steps++; steps == 1 && err == nil && len(batch) > 0 {
			end(cause) // what was fetched already may still be yielded
		}
		last = err
	}
	if !errors.Is(last, cause) {
		s.Errorf("Read: %v after %d steps", last, steps)
	}
	if _, err := s.Reader.Info(ctx); !errors.Is(err, cause) {
		s.Errorf("Info: %v", err)
	}
	if _, err := s.Reader.Record(ctx, 1); !errors.Is(err, cause) {
		s.Errorf("Record: %v", err)
	}
}
