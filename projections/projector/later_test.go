package projector_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// later is a region's copy of a log that begins later, and reads what is below over a link that can be cut.
type later struct {
	events.Reader
	begins uint64
	cut    atomic.Bool
}

func (l *later) Info(ctx context.Context) (events.Info, error) {
	info, err := l.Reader.Info(ctx)
	info.Begins, info.First = l.begins, l.begins
	return info, err
}

func (l *later) refused(seq uint64) error {
	if l.cut.Load() && max(seq, 1) < l.begins {
		return events.Errorf(events.ErrUnreachable, "sequence %d is below this copy, and the leader does not answer", seq)
	}
	return nil
}

func (l *later) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	if err := l.refused(r.From); err != nil {
		return func(yield func([]events.Record, error) bool) { yield(nil, err) }
	}
	return l.Reader.Read(ctx, r)
}

func (l *later) Record(ctx context.Context, seq uint64) (events.Record, error) {
	if err := l.refused(seq); err != nil && seq != 1 { // a genesis is kept: that it can be had says nothing
		return events.Record{}, err
	}
	return l.Reader.Record(ctx, seq)
}

// A region whose log begins later has nothing of a read model: it begins with a snapshot, or through the leader, or waits for one of the two.
func TestAReadModelBeginsWhereTheLogBeginsLater(t *testing.T) {
	for name, mend := range map[string]func(kept projections.Snapshots, log *later, s *projections.Snapshot, body func() *strings.Reader) error{
		"with a snapshot": func(kept projections.Snapshots, _ *later, s *projections.Snapshot, body func() *strings.Reader) error {
			_, err := kept.Put(context.Background(), *s, body())
			return err
		},
		"through the leader": func(_ projections.Snapshots, log *later, _ *projections.Snapshot, _ func() *strings.Reader) error {
			log.cut.Store(false)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			region(t, "accounts", func(w *world) {
				kept := w.withSnapshots()
				r := w.start()
				w.add(20)
				w.settle()
				s := w.snapshot()
				w.add(10)
				w.settle()
				w.kill(r)
				body := w.content(kept, &s)
				if err := kept.Delete(context.Background(), w.kind, s.ID); err != nil {
					t.Fatal(err)
				}
				log := &later{Reader: w.log, begins: s.Sequence}
				log.cut.Store(true)
				w.seenLog = log
				w.store.Flush()
				w.start()
				pass(time.Minute)
				if now := w.status(); now.State != projections.ProjectorWaiting || now.Code != string(events.ErrUnreachable) || !strings.Contains(now.Message, "tidemark snapshot copy accounts --from REGION") ||
					!strings.Contains(now.Message, "nothing was folded") {
					t.Fatalf("it is %+v", now)
				}
				for _, h := range w.headers(w.live()) {
					if h.State != projections.Absent {
						t.Fatalf("something was made: %+v", h)
					}
				}
				if err := mend(kept, log, &s, func() *strings.Reader { return strings.NewReader(body) }); err != nil {
					t.Fatal(err)
				}
				w.settle()
				w.add(10)
				w.settle()
			})
		})
	}
}

// content returns what a snapshot is.
func (w *world) content(kept projections.Snapshots, s *projections.Snapshot) string {
	w.t.Helper()
	from, err := kept.Open(context.Background(), s.Projection, s.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	var text strings.Builder
	for buf := make([]byte, 4096); ; {
		n, err := from.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			return text.String()
		}
	}
}

func TestTheLogOfAPlanBeginsLater(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.start()
		w.add(20)
		w.settle()
		s := w.snapshot()
		w.add(10)
		w.settle()
		log := &later{Reader: w.log, begins: s.Sequence}
		w.planLog = log
		if got, err := w.plan(projections.ReplayRequest{}); err != nil || got.Strategy != projections.StrategySnapshot || got.First != s.Sequence+1 {
			t.Errorf("with a snapshot: %+v, %v", got, err)
		}
		if err := kept.Delete(context.Background(), w.kind, s.ID); err != nil {
			t.Fatal(err)
		}
		got, err := w.plan(projections.ReplayRequest{})
		if err != nil || got.Strategy != projections.StrategyWhole || got.First != 1 || !strings.Contains(got.Why, "are read from the region that leads it") {
			t.Errorf("through the leader: %+v, %v", got, err)
		}
		log.cut.Store(true)
		if _, err := w.plan(projections.ReplayRequest{}); !errors.Is(err, projections.ErrInvalidOffset) || !strings.Contains(err.Error(), "tidemark snapshot copy accounts --from REGION") {
			t.Errorf("without both: %v", err)
		}
	})
}
