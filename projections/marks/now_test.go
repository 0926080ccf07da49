package marks_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections/marks"
)

// rivals is a log in which somebody else writes a mark before each of our first appends.
type rivals struct {
	events.Log
	left int
}

func (r *rivals) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	if r.left > 0 {
		r.left--
		if _, err := marks.New(r.Log, marks.Options{}).Now(ctx); err != nil {
			return events.Receipt{}, err
		}
	}
	return r.Log.Append(ctx, b)
}

// follow checks that the marks of a log are numbered, cover everything between them, and have the chain of it.
func follow(t *testing.T, log events.Log) int {
	t.Helper()
	list := all(t, log)
	var before events.Mark
	for i := range list {
		m, _ := events.MarkOf(&list[i])
		chain, ok := m.Covers(list[i].Sequence)
		want, err := marks.ChainOf(t.Context(), log, m.After, m.Upto)
		if err != nil {
			t.Fatal(err)
		}
		if !ok || m.Number != before.Number+1 || m.After != before.Upto || chain != want {
			t.Errorf("the mark at %d is %+v, and the one before is %+v", list[i].Sequence, m, before)
		}
		before = m
	}
	return len(list)
}

func TestAMarkIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		w := marks.New(log, marks.Options{})
		for range 3 {
			publish(t, log)
			at, err := w.Now(t.Context())
			if list := all(t, log); err != nil || at.Points()[0].Sequence != list[len(list)-1].Sequence {
				t.Errorf("the mark is at %s, %v", at, err)
			}
		}
		if _, err := w.Now(t.Context()); err != nil { // nobody wrote meanwhile
			t.Error(err)
		}
		if n := follow(t, log); n != 4 {
			t.Errorf("there are %d marks", n)
		}
	})
}

func TestAMarkIsWrittenAfterThoseOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		publish(t, log)
		if at, err := marks.New(&rivals{log, 3}, marks.Options{}).Now(t.Context()); err != nil || at.Points()[0].Sequence != 6 {
			t.Errorf("the mark is at %s, %v", at, err)
		}
		if _, err := marks.New(&rivals{log, 1_000}, marks.Options{}).Now(t.Context()); !errors.Is(err, events.ErrConflict) {
			t.Errorf("against others without end: %v", err)
		}
		follow(t, log)
	})
}

func TestAMarkWhoseAnswerIsLostIsLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		publish(t, log)
		log.LoseReplies(100)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := marks.New(log, marks.Options{}).Now(ctx); err != nil && !errors.Is(err, events.ErrUnknownOutcome) {
			t.Error(err)
		}
		log.LoseReplies(0)
		if _, err := marks.New(log, marks.Options{}).Now(ctx); err != nil {
			t.Error(err)
		}
		if follow(t, log) < 2 {
			t.Error("there are too few marks")
		}
		log.Unreachable(-1)
		if _, err := marks.New(log, marks.Options{}).Now(ctx); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("without a log: %v", err)
		}
	})
}
