package marks_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections/marks"
)

// later is a copy of a log that begins later, and whose leader does not answer for what is below.
type later struct {
	events.Reader
	begins  uint64
	first   uint64 // 0: as it begins
	altered uint64 // a record that is another one here; 0: none is
	below   int    // how often what is below was asked for
}

func (l *later) Info(ctx context.Context) (events.Info, error) {
	info, err := l.Reader.Info(ctx)
	info.Begins, info.First = l.begins, max(l.first, l.begins)
	return info, err
}

func (l *later) refused(seq uint64) error {
	if max(seq, 1) >= l.begins {
		return nil
	}
	l.below++
	return events.Errorf(events.ErrUnreachable, "sequence %d is below this copy", seq)
}

func (l *later) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		if err := l.refused(r.From); err != nil {
			yield(nil, err)
			return
		}
		for records, err := range l.Reader.Read(ctx, r) {
			for i := range records {
				if records[i].Sequence == l.altered {
					records[i].Time = records[i].Time.Add(time.Nanosecond)
				}
			}
			if !yield(records, err) {
				return
			}
		}
	}
}

func (l *later) Record(ctx context.Context, seq uint64) (events.Record, error) {
	if err := l.refused(seq); err != nil {
		return events.Record{}, err
	}
	return l.Reader.Record(ctx, seq)
}

func (l *later) Controls(ctx context.Context, name string, from uint64) iter.Seq2[events.Record, error] {
	if err := l.refused(from); err != nil {
		return func(yield func(events.Record, error) bool) { yield(events.Record{}, err) }
	}
	return l.Reader.Controls(ctx, name, from)
}

// TestACopyThatBeginsLaterIsAuditedFromThere, wherever it begins; what is below is neither asked for nor called a hole.
func TestACopyThatBeginsLaterIsAuditedFromThere(t *testing.T) {
	for begins := uint64(1); begins < 30; begins++ {
		audited(t, func(s *site) {
			s.write(4) // marks at 7, 13, 19 and 25, each of which covers what is before it
			copied := &later{Reader: s.log, begins: begins}
			s.seen = copied
			a, _ := s.start()
			pass(time.Minute)
			s.clean(a)
			s.write(3)
			pass(time.Minute)
			s.clean(a)
			if now := s.state(); now.Full.IsZero() || now.Upto() != s.head()-1 {
				t.Errorf("from %d on: %+v", begins, now)
			}
			if copied.below > 0 {
				t.Errorf("from %d on: what is below was asked for %d times", begins, copied.below)
			}
		})
	}
}

// TestWhatIsWrongWithACopyThatBeginsLaterIsFound: each record that a mark covers which covers only what the copy holds.
func TestWhatIsWrongWithACopyThatBeginsLaterIsFound(t *testing.T) {
	const begins = 9
	for altered := uint64(14); altered < 25; altered++ { // up to 12 they are covered together with what is below
		audited(t, func(s *site) {
			s.write(4)
			s.seen = &later{Reader: s.log, begins: begins, altered: altered}
			a, _ := s.start()
			pass(time.Minute)
			from := uint64(13)
			if altered >= 19 {
				from = 19
			}
			s.want(a, marks.Altered, from, false)
		})
	}
	audited(t, func(s *site) {
		s.write(4)
		s.seen = &later{Reader: s.log, begins: begins, first: 12}
		a, _ := s.start()
		pass(time.Minute)
		if f := s.want(a, marks.Hole, begins, true); f.To != 11 {
			t.Errorf("%+v", f)
		}
	})
}
