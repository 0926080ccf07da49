package clustertest_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
)

const (
	// writers write at the same time: a third without expectations, a third that expects its own last write, a third batches of both kinds.
	writers = 6
	// sharedKeys are written by all who expect nothing.
	sharedKeys = 10
	// wrongEvery is how often a writer expects what is not so, and must be refused.
	wrongEvery = 10
	// repeats bounds how often an append of unknown outcome is made again, and repeatEvery how fast.
	repeats     = 100
	repeatEvery = 100 * time.Millisecond
)

// place is where an acknowledged event stands, and what it says.
type place struct {
	seq  uint64
	data []byte
}

// ledger holds what was acknowledged and what was refused.
type ledger struct {
	r *region
	// written is the highest acknowledged sequence.
	written atomic.Uint64
	acks    atomic.Int64
	doubts  atomic.Int64 // how often an append was of unknown outcome, and made again

	mu      sync.Mutex
	acked   map[string]place
	refused map[string]events.Code
	unknown map[string]bool

	stop []func()
}

// write begins to write, until the ledger is closed.
func (r *region) write() *ledger {
	l := &ledger{r: r, acked: make(map[string]place), refused: make(map[string]events.Code), unknown: make(map[string]bool)}
	for w := range writers {
		l.stop = append(l.stop, background(r.t, func(ctx context.Context) { l.writer(ctx, w) }))
	}
	return l
}

func (l *ledger) keys() []string {
	var keys []string
	for i := range sharedKeys {
		keys = append(keys, fmt.Sprint("shared", i))
	}
	for w := range writers {
		keys = append(keys, own(w))
	}
	return append(keys, "nobody") // about which nothing is ever said
}

func own(w int) string { return fmt.Sprint("own", w) }

func (l *ledger) writer(ctx context.Context, w int) {
	var last uint64 // of its own entity
	for i := 0; ctx.Err() == nil; i++ {
		mine, shared := about(own(w), i), about(fmt.Sprint("shared", (w+i)%sharedKeys), i)
		b := events.Batch{Events: []events.Event{shared}}
		expect := map[events.Entity]events.Expectation{mine.Entity: events.ExpectExactly(last)}
		switch w % 3 {
		case 1:
			b = events.Batch{Events: []events.Event{mine}, Expect: expect}
		case 2:
			b = events.Batch{Events: []events.Event{shared, mine, about(own(w), i+1)}, Expect: expect}
		}
		if wrong := w%3 != 0 && last > 0 && i%wrongEvery == 0; wrong {
			b.Expect = map[events.Entity]events.Expectation{mine.Entity: events.ExpectNone()}
			if l.append(b, events.ErrConflict) {
				l.r.t.Errorf("writer %d: an append that expected nothing of %s was accepted", w, own(w))
			}
			continue
		}
		if l.append(b, "") && w%3 != 0 {
			last = l.place(b.Events[len(b.Events)-1].ID).seq
		}
	}
}

func (l *ledger) place(id string) place {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked[id]
}

// append appends, and notes what came of it. An append of unknown outcome is made again until something definite is said. wanted is the refusal
// that is right; without one only a server that cannot be reached may refuse.
func (l *ledger) append(b events.Batch, wanted events.Code) bool {
	tick := time.NewTicker(repeatEvery)
	defer tick.Stop()
	for try := 0; try < repeats; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		receipt, err := l.r.log.Append(ctx, b)
		cancel()
		switch code := codeOf(err); {
		case err == nil:
			if receipt.Duplicate && try == 0 {
				l.r.t.Errorf("a new append is called a duplicate, at %s", receipt.Position)
			}
			l.note(b, receipt)
			return true
		case code == events.ErrUnknownOutcome, code == events.ErrUnreachable && try > 0:
			// That a later attempt did not leave says nothing about the first.
			l.doubts.Add(1)
			<-tick.C
			continue
		case code != wanted && code != events.ErrUnreachable:
			l.r.t.Errorf("an append was refused: %v", err)
		}
		l.refuse(b, codeOf(err))
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range b.Events {
		l.unknown[e.ID] = true
	}
	return false
}

func (l *ledger) note(b events.Batch, receipt events.Receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range b.Events {
		l.acked[e.ID] = place{receipt.First + uint64(i), e.Data}
	}
	l.acks.Add(1)
	for {
		now := l.written.Load()
		if receipt.Last <= now || l.written.CompareAndSwap(now, receipt.Last) {
			return
		}
	}
}

func (l *ledger) refuse(b events.Batch, code events.Code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range b.Events {
		l.refused[e.ID] = code
	}
}

// more waits until n more appends are acknowledged.
func (l *ledger) more(n int64) {
	l.r.t.Helper()
	until := l.acks.Load() + n
	eventually(l.r.t, fmt.Sprintf("%d more appends are acknowledged", n), func() bool { return l.acks.Load() >= until })
}

// close ends the writing.
func (l *ledger) close() {
	for _, stop := range l.stop {
		stop()
	}
}

// weigh compares what was said to the writers with what the log holds.
func (l *ledger) weigh(t testing.TB, h history) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	stored := make(map[string]int)
	lost, moved := 0, 0
	for _, record := range h.records {
		if record.Kind == events.KindEvent {
			stored[record.Event.ID]++
		}
	}
	for id, at := range l.acked {
		record := h.records[at.seq]
		switch {
		case stored[id] != 1:
			lost++
			t.Errorf("the acknowledged event %s is stored %d times", id, stored[id])
		case record.Event.ID != id || !bytes.Equal(record.Event.Data, at.data):
			moved++
			t.Errorf("the event %s was acknowledged at %d, where %s stands", id, at.seq, record.Event.ID)
		}
	}
	codes := make(map[events.Code]int)
	for id, code := range l.refused {
		codes[code]++
		if stored[id] != 0 {
			t.Errorf("the event %s was refused with %s and is stored %d times", id, code, stored[id])
		}
	}
	unknown := 0
	for id := range l.unknown {
		unknown += stored[id]
		if stored[id] > 1 {
			t.Errorf("the event %s of unknown outcome is stored %d times", id, stored[id])
		}
	}
	if len(stored) != len(l.acked)+unknown {
		t.Errorf("%d events are stored; %d were acknowledged, and %d are of unknown outcome", len(stored), len(l.acked), unknown)
	}
	var refused []string
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		refused = append(refused, fmt.Sprintf("%d %s", codes[code], code))
	}
	t.Logf("%d events acknowledged: lost or doubled %d, elsewhere or changed %d; refused: %s; made again: %d; unknown: %d",
		len(l.acked), lost, moved, strings.Join(refused, ", "), l.doubts.Load(), len(l.unknown))
}

// followers read the log from its beginning as it grows, and see every sequence once.
type followers struct {
	heads [2]atomic.Uint64
	stop  []func()
}

func (r *region) follow() *followers {
	f := &followers{}
	for i := range f.heads {
		f.stop = append(f.stop, background(r.t, func(ctx context.Context) {
			for records, err := range r.log.Read(ctx, events.Range{Follow: true, Batch: 100 * (1 + i)}) {
				if err != nil {
					if ctx.Err() == nil {
						r.t.Errorf("reader %d ended: %v", i, err)
					}
					return
				}
				for _, record := range records {
					if before := f.heads[i].Load(); record.Sequence != before+1 {
						r.t.Errorf("reader %d was given %d after %d", i, record.Sequence, before)
					}
					f.heads[i].Store(record.Sequence)
				}
			}
		}))
	}
	return f
}

// reach waits until every reader has seen a sequence, and ends them.
func (f *followers) reach(t testing.TB, seq uint64) {
	t.Helper()
	for i := range f.heads {
		eventually(t, fmt.Sprintf("reader %d reaches %d", i, seq), func() bool { return f.heads[i].Load() >= seq })
	}
	for _, stop := range f.stop {
		stop()
	}
	t.Logf("%d readers saw each of %d sequences once", len(f.heads), seq)
}
