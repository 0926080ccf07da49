package natslog

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

func entryOf(t testing.TB, b events.Batch) *entry {
	t.Helper()
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	e, err := newEntry("us", b, new(events.Clock), func(uint64) events.Position { return events.Position{} }, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func single(t testing.TB, i int) *entry {
	return entryOf(t, events.One(about(entity(i), 0), events.ExpectAny()))
}

func TestAnEntryExpectsOfEachEntityOnce(t *testing.T) {
	for _, n := range []int{6, 40} { // few subjects are compared, many are hashed
		b := events.Batch{Expect: map[events.Entity]events.Expectation{entity(0): events.ExpectExactly(7), entity(1): events.ExpectNone()}}
		for i := range n {
			b.Events = append(b.Events, about(entity(i%3), i))
		}
		b.Controls = []events.ControlWrite{{Control: events.Control{Name: "import.x"}, Expect: events.ExpectExactly(5)}, {Control: events.Control{Name: "mark"}}}
		e := entryOf(t, b)
		var got []string
		for i := range e.messages {
			if v := headerOf(e.messages[i].Header, headerExpect); v != "" {
				got = append(got, e.messages[i].Subject+"="+v)
			}
		}
		wantText := []string{"evt.us.airport.A0=7", "evt.us.airport.A1=0", "ctl.us.import.x=5"}
		if len(got) != 3 || got[0] != wantText[0] || got[1] != wantText[1] || got[2] != wantText[2] {
			t.Errorf("got %v, want %v", got, wantText)
		}
		if len(e.keys) != 5 || len(e.expects) != 3 || e.expects[0].count != n/3+n%3 && e.expects[0].count != (n+2)/3 || e.simple() || !e.guarded() {
			t.Errorf("%d keys, expectations %+v", len(e.keys), e.expects)
		}
		ids := map[string]bool{}
		for i := range e.messages {
			ids[messageID(&e.messages[i])] = true
		}
		if len(ids) != n+2 || ids[""] {
			t.Errorf("%d ids for %d messages", len(ids), n+2)
		}
	}
}

func TestTheQueueKeepsTheOrderOfEachSubject(t *testing.T) {
	q := newQueue()
	a1, a2, b1 := single(t, 1), single(t, 1), single(t, 2)
	both := entryOf(t, events.Batch{Events: []events.Event{about(entity(1), 0), about(entity(2), 0)}})
	c1, a3 := single(t, 3), single(t, 1)
	for _, e := range []*entry{a1, a2, b1, both, c1, a3} {
		if !q.push(e) {
			t.Fatal("refused")
		}
	}
	expect := func(what string, want ...*entry) {
		t.Helper()
		for i := 0; ; i++ {
			got := q.takeCold()
			if got == nil {
				if h, together := q.takeHot(groupBounds()); len(h) > 0 {
					if len(h) != 1 || together {
						t.Fatalf("%s: %d hot entries", what, len(h))
					}
					got = h[0]
				}
			}
			if i == len(want) {
				if got != nil {
					t.Fatalf("%s: more is ready", what)
				}
				return
			}
			if got != want[i] {
				t.Fatalf("%s: entry %d is another one", what, i)
			}
		}
	}
	expect("at first", a1, b1, c1)
	q.done(b1)
	expect("b is free, a is not")
	q.done(a1)
	expect("a2 before both", a2)
	q.done(c1)
	q.done(a2)
	expect("both lanes are free", both)
	q.done(both)
	expect("the last", a3)
	q.done(a3)
	if q.holds() != 0 || len(q.lanes) != 0 {
		t.Errorf("%d entries and %d lanes are left", q.holds(), len(q.lanes))
	}
}

func TestBusyLanesShareABatch(t *testing.T) {
	q := newQueue()
	head := single(t, 1)
	q.push(head)
	if q.takeCold() != head {
		t.Fatal("the first is not ready")
	}
	var behind []*entry
	for range 2*minShare + 1 {
		e := single(t, 1)
		behind = append(behind, e)
		q.push(e)
	}
	exact := entryOf(t, events.One(about(entity(1), 0), events.ExpectNone()))
	q.push(exact)
	q.push(single(t, 1))
	if hot, _ := q.takeHot(groupBounds()); q.takeCold() != nil || hot != nil {
		t.Fatal("an entry overtook")
	}
	q.done(head)
	hot, together := q.takeHot(bounds{records: minShare + 2, bytes: 1 << 20})
	if len(hot) != minShare+2 || !together {
		t.Fatalf("%d share a batch: %t", len(hot), together)
	}
	for i, e := range hot {
		if e != behind[i] {
			t.Fatalf("entry %d is another one", i)
		}
		q.done(e)
	}
	rest, together := q.takeHot(groupBounds())
	if len(rest) != 1 || together { // too few to share: the others wait
		t.Fatalf("%d entries: %t", len(rest), together)
	}
	unsent := q.close()
	if q.push(single(t, 9)) || len(unsent) != len(behind)-len(hot)-1+2 {
		t.Errorf("%d were not sent", len(unsent))
	}
	for _, e := range unsent {
		q.done(e)
	}
	q.done(rest[0])
	if q.holds() != 0 || len(q.lanes) != 0 {
		t.Errorf("%d entries and %d lanes are left", q.holds(), len(q.lanes))
	}
}

func TestAnswers(t *testing.T) {
	domain := "us-east"
	a := &acks{stream: "EVT_us"}
	a.domain.Store(&domain)
	for range 2 { // the second time with what was learned
		for _, c := range []struct {
			data    string
			records int
			verdict verdict
			seq     uint64
		}{
			{`{"stream":"EVT_us","domain":"us-east","seq":1042}`, 1, stored, 1042},
			{`{"stream":"EVT_us","domain":"us-east","seq":18446744073709551615}`, 1, stored, 18446744073709551615},
			{`{"stream":"EVT_us","domain":"us-east","seq":1042,"duplicate": true}`, 1, duplicate, 1042},
			{`{"stream":"EVT_us","domain":"us-east","seq":1042,"batch":"x","count":3}`, 3, stored, 1042},
			{`{"stream":"EVT_us","domain":"us-east","seq":1042,"batch":"x","count":2}`, 3, doubtful, 0},
			{`{"stream":"EVT_us","domain":"us-east","seq":1042}`, 3, doubtful, 0},
			{`{"stream":"EVT_us","domain":"us-west","seq":1042}`, 1, doubtful, 0},
			{`{"stream":"EVT_us","seq":1042}`, 1, doubtful, 0},
			{`{"stream":"EVT_eu","domain":"us-east","seq":1042}`, 1, doubtful, 0},
			{`{"stream":"EVT_us","domain":"us-east","seq":`, 1, doubtful, 0},
			{`hello`, 1, doubtful, 0},
			{`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"EVT_us","domain":"us-east","seq":0}`, 1, conflicting, 0},
			{`{"error":{"code":400,"err_code":10201}}`, 2, known, 0},
			{`{"error":{"code":400,"err_code":10164}}`, 1, undecided, 0},
			{`{"error":{"code":409,"err_code":10158}}`, 1, undecided, 0},
			{`{"error":{"code":400,"err_code":10176}}`, 2, undecided, 0},
			{`{"error":{"code":400,"err_code":10054}}`, 1, refused, 0},
			{`{"error":{"code":503,"err_code":10023}}`, 1, unavailable, 0},
			{`{"error":{"code":500,"err_code":19999}}`, 1, unavailable, 0},
		} {
			got := a.read(&nats.Msg{Data: []byte(c.data)}, c.records)
			if got.verdict != c.verdict || got.sequence != c.seq || (got.verdict == stored || got.verdict == duplicate) != (got.err == nil) {
				t.Errorf("%s: %+v, want verdict %d at %d", c.data, got, c.verdict, c.seq)
			}
		}
	}
	if got := a.read(&nats.Msg{Header: nats.Header{"Status": {"503"}}}, 1); got.verdict != unavailable || !errors.Is(got.err, nats.ErrNoResponders) {
		t.Errorf("no responders: %+v", got)
	}
}

// TestAFlightDoesNotLandWhileItIsSent gives up flights while their messages are being written. Whoever is told of it changes the messages at
// once, which the race detector sees.
func TestAFlightDoesNotLandWhileItIsSent(t *testing.T) {
	l, err := natsapi.Connect(dial(t, startServer(t, nil).ClientURL()), "test", slog.New(slog.DiscardHandler), DefaultAttemptTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := newFlights(l, &acks{stream: "EVT_us"}, DefaultAttemptTimeout)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var group []*entry
		for i := range 500 {
			group = append(group, single(t, i))
		}
		landed := make(chan answer, 1)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					f.abandon()
				}
			}
		}()
		f.launch(group, func(a answer) {
			for _, e := range group {
				e.messages[0].Header[headerBatchID] = nil
			}
			landed <- a
		})
		<-landed
		close(stop)
		<-stopped
	}
}
