package query_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

func strong(wait time.Duration) query.Options { return query.Options{Strong: true, Wait: wait} }

func TestAStrongReadSeesWhateverWasAcknowledgedBeforeItBegan(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		for range 300 { // the head that is known is always an old one
			at := r.depart("ORD")
			a, err := r.get("A001", strong(0))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := a.Position.Point("us"); got.Sequence < sequence(at) {
				t.Fatalf("a strong read after %s is of %s", at, a.Position)
			}
			pass(3 * time.Millisecond)
		}
	})
}

func sequence(p events.Position) uint64 {
	point, _ := p.Point("us")
	return point.Sequence
}

func TestAStrongReadThatIsNotReachedInTimeSaysWhatIs(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		r.end()
		r.depart("ORD")
		for wait, least := range map[time.Duration]time.Duration{-1: 0, time.Second: time.Second, 0: query.DefaultWait} {
			began := time.Now()
			a, err := r.get("A001", strong(wait))
			wants(t, err, projections.ErrNotReached)
			if waited := time.Since(began); waited < least || waited > least+30*time.Millisecond {
				t.Errorf("with a wait of %s it waited %s", wait, waited)
			}
			var behind *query.Behind
			if !errors.As(err, &behind) || !behind.Position.Equal(at) || !a.Position.Equal(at) || a.Document.Values != nil {
				t.Errorf("the answer is %+v with %v", a, err)
			}
		}
	})
}

func TestAStrongReadWithoutALeaderIsAnErrorAndNeverAnAnswer(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		if _, err := r.get("A001", strong(0)); err != nil {
			t.Fatal(err)
		}
		r.asked.hangs.Store(true)
		began := time.Now()
		for _, err := range r.bothWays(strong(0)) {
			wants(t, err, events.ErrUnreachable)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("three reads took %s", took)
		}
		r.asked.hangs.Store(false)
		r.log.Unreachable(-1)
		for _, err := range r.bothWays(strong(0)) {
			wants(t, err, events.ErrUnreachable)
		}
		r.log.Unreachable(0)
		if _, err := r.get("A001", strong(0)); err != nil {
			t.Error(err)
		}
	})
}

func TestAReadIsAskedForOneWayOnly(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		for _, err := range r.bothWays(query.Options{Strong: true, AtLeast: at}) {
			wants(t, err, projections.ErrInvalidQuery)
		}
	})
}

// leader is one that answers from afar: after a while, when its gate is open.
type leader struct {
	mu    sync.Mutex
	now   events.Position
	err   error
	takes time.Duration
	asked int
}

func (l *leader) Head(ctx context.Context) (events.Position, error) {
	l.mu.Lock()
	l.asked++
	now, err, takes := l.now, l.err, l.takes
	l.mu.Unlock()
	select {
	case <-time.After(takes):
		return now, err
	case <-ctx.Done():
		return events.Position{}, context.Cause(ctx)
	}
}

func (l *leader) set(p events.Position, err error, takes time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.err, l.takes = p, err, takes
}

func (l *leader) questions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// mirroring makes the region's reader one of a region that mirrors.
func (r *region) mirroring() (*leader, *copied) {
	l, c := &leader{}, &copied{events.Replication{State: events.CopyFollows, Leader: "far"}}
	r.reader = query.New("us", r.store, r.kv, query.NewCopyHeads(r.asked, c, l))
	return l, c
}

func TestAStrongReadInARegionThatMirrorsAsksTheLeaderAndWaitsForTheCopy(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		l, _ := r.mirroring()
		l.set(at, nil, 200*time.Millisecond)
		a, err := r.get("A001", strong(0))
		if err != nil || !a.Position.Equal(at) {
			t.Errorf("the answer is %+v, %v", a, err)
		}
		point, _ := at.Point("us")
		point.Sequence += 2 // the leader has two events that the copy has not
		l.set(events.At(point), nil, 200*time.Millisecond)
		a, err = r.get("A001", strong(time.Second))
		wants(t, err, projections.ErrNotReached)
		if !a.Position.Equal(at) {
			t.Errorf("the answer is %+v", a)
		}
		time.AfterFunc(time.Second, func() {
			r.depart("ORD")
			r.depart("A001")
		})
		if a, err = r.get("A001", strong(0)); err != nil || sequence(a.Position) != point.Sequence {
			t.Errorf("the answer is %+v, %v", a, err)
		}
	})
}

func TestALeaderThatDoesNotAnswerOrIsOfAnotherHistoryGivesNoStrongRead(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		l, c := r.mirroring()
		l.set(events.Position{}, events.Errorf(events.ErrUnreachable, "region far cannot be reached"), 0)
		_, err := r.get("A001", strong(0))
		wants(t, err, events.ErrUnreachable)

		l.set(at, nil, time.Hour)
		for wait, most := range map[time.Duration]time.Duration{0: 3 * time.Second, time.Minute: 3 * time.Second, time.Second: time.Second, -1: 3 * time.Second} {
			began := time.Now()
			_, err = r.get("A001", strong(wait))
			wants(t, err, events.ErrUnreachable)
			if took := time.Since(began); took != most {
				t.Errorf("with a wait of %s it took %s", wait, took)
			}
		}
		point, _ := at.Point("us")
		point.Lineage = "ffff"
		l.set(events.At(point), nil, 0)
		_, err = r.get("A001", strong(0))
		wants(t, err, events.ErrForeignHistory)

		r.reader = query.New("us", r.store, r.kv, query.NewCopyHeads(r.asked, c, nil))
		_, err = r.get("A001", strong(0))
		wants(t, err, events.ErrUnreachable) // the copy's own head would be no answer
		if !strings.Contains(err.Error(), "far") {
			t.Errorf("it does not name the leader: %v", err)
		}
		if _, err := r.reader.Get(context.Background(), "nothing", "ORD", strong(0)); !errors.Is(err, projections.ErrUnknownProjection) {
			t.Errorf("got %v", err)
		}
	})
}

// Reads that begin while a question is under way share the next one: the head that this one brings may be older than they are.
func TestStrongReadsShareAQuestionThatBeginsAfterTheyDid(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		l, _ := r.mirroring()
		l.set(at, nil, 100*time.Millisecond)
		var reads sync.WaitGroup
		read := func() {
			reads.Go(func() {
				if _, err := r.get("A001", strong(0)); err != nil {
					t.Error(err)
				}
			})
		}
		read()
		pass(50 * time.Millisecond)
		for range 100 {
			read()
		}
		reads.Wait()
		if n := l.questions(); n != 2 {
			t.Errorf("101 reads asked %d times", n)
		}
		// One who gives up says nothing about the leader to those who wait with it.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		go func() { _, _ = r.reader.Get(ctx, "airports", "A001", strong(0)) }()
		synctest.Wait()
		read()
		reads.Wait()
	})
}

func TestAReadThatWaitsForAnIdlePartitionIsAnsweredAtOnce(t *testing.T) {
	inQuietRegion(t, func(r *region) {
		r.depart("A001")
		r.until(func() bool { // all partitions of a new read model are live, wherever they are
			_, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
			return err == nil
		})
		for i := range 50 {
			at := r.depart(fmt.Sprintf("A%03d", i))
			began := time.Now()
			o := query.Options{AtLeast: at}
			if i%2 == 0 {
				o = strong(0)
			}
			for _, err := range append(r.bothWays(o), r.lookup(o, "A001", "A002", "A003", "ORD")) {
				if err != nil && !errors.Is(err, projections.ErrNoDocument) {
					t.Fatal(err)
				}
			}
			if took := time.Since(began); took != 0 { // by the clock of the bubble: nobody slept
				t.Fatalf("it took %s", took)
			}
		}
	})
}

func (r *region) lookup(o query.Options, keys ...string) error {
	_, err := r.reader.Lookup(context.Background(), "airports", keys, o)
	return err
}

func TestReadsThatWaitGetThereWithoutSignalsToo(t *testing.T) {
	inQuietRegion(t, func(r *region) {
		r.depart("A001")
		r.until(func() bool {
			_, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
			return err == nil
		})
		// A demand that is lost is posted again.
		r.signals.Lose(true)
		at := r.depart("ORD")
		time.AfterFunc(time.Second, func() { r.signals.Lose(false) })
		if _, err := r.get("A001", query.Options{AtLeast: at}); err != nil {
			t.Error(err)
		}
		// A notice that is lost costs a look.
		hold := make(chan struct{})
		r.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpCommit {
				<-hold
			}
		})
		at = r.depart("ORD")
		time.AfterFunc(time.Second, func() {
			r.signals.Lose(true)
			close(hold)
		})
		began := time.Now()
		if _, err := r.get("ORD", query.Options{AtLeast: at}); err != nil || time.Since(began) > 1100*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// TestAReadThatWaitsForLongDoesNotAskAllTheTime: neither the store nor the projector.
func TestAReadThatWaitsForLongDoesNotAskAllTheTime(t *testing.T) {
	inQuietRegion(t, func(r *region) {
		r.depart("A001")
		r.until(func() bool {
			_, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
			return err == nil
		})
		beyond := events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 1_000_000})
		looks := r.store.Calls(memstore.OpGet)
		demands, _ := r.signals.Sent()
		_, err := r.get("A001", query.Options{AtLeast: beyond, Wait: time.Minute})
		wants(t, err, projections.ErrNotReached)
		now, _ := r.signals.Sent()
		if looks = r.store.Calls(memstore.OpGet) - looks; looks > 700 || looks < 500 {
			t.Errorf("in a minute it looked %d times", looks)
		}
		if demands = now - demands; demands > 70 || demands < 50 {
			t.Errorf("in a minute it posted %d demands", demands)
		}
	})
}
