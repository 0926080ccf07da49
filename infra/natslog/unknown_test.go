package natslog

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tidemark.dev/events"
)

// modes are the ways to commit, each on the server it is meant for.
var modes = []struct {
	name   string
	server func(*server.Options)
	commit CommitMode
}{
	{"pipelined", nil, Pipelined},
	{"group commit", syncAlways, GroupCommit},
}

// lossy returns a log behind a proxy, and one that sees the server directly.
func lossy(t *testing.T, change func(*server.Options), cfg Config, o Options) (*proxy, *Log, *Log) {
	t.Helper()
	s := startServer(t, change)
	p := startProxy(t, s.ClientURL())
	direct := openLog(t, dial(t, s.ClientURL()), cfg, Options{})
	return p, reopen(t, dial(t, p.url()), cfg, o), direct
}

// exactlyOnce reads the whole log and fails the test unless it holds each event exactly once, and nothing else but the genesis.
func exactlyOnce(t *testing.T, l *Log, want map[string]bool) []events.Record {
	t.Helper()
	seen := map[string]int{}
	var out []events.Record
	for batch, err := range l.Read(within(t), events.Range{From: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch {
			if r.Kind == events.KindMalformed {
				t.Fatalf("sequence %d is malformed: %s", r.Sequence, r.Reason)
			}
			if r.Kind == events.KindEvent {
				seen[r.Event.ID]++
			}
			out = append(out, r)
		}
	}
	for id := range want {
		if seen[id] != 1 {
			t.Errorf("event %s is stored %d times", id, seen[id])
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d events are stored, %d were appended", len(seen), len(want))
	}
	return out
}

// kinds are appends of every sort. Each writes about entities of its own.
func kinds(l *Log, t *testing.T) []struct {
	name  string
	batch events.Batch
} {
	t.Helper()
	old := appendOne(t, l, about(entity(100), 0), events.ExpectAny()).Last
	several := func(first, n int, x map[events.Entity]events.Expectation) events.Batch {
		b := events.Batch{Expect: x}
		for i := range n {
			b.Events = append(b.Events, about(entity(first+i/2), i))
		}
		return b
	}
	control := events.ControlWrite{Control: events.Control{Name: "import.flights", Data: []byte("3")}}
	mixed := several(90, 3, nil)
	mixed.Controls = []events.ControlWrite{{Control: events.Control{Name: "import.trains", Data: []byte("4")}, Expect: events.ExpectNone()}}
	return []struct {
		name  string
		batch events.Batch
	}{
		{"one, any", events.One(about(entity(1), 1), events.ExpectAny())},
		{"one, none", events.One(about(entity(2), 1), events.ExpectNone())},
		{"one, exact", events.One(about(entity(100), 1), events.ExpectExactly(old))},
		{"several, any", several(10, 5, nil)},
		{"several, none", several(20, 5, map[events.Entity]events.Expectation{entity(20): events.ExpectNone(), entity(21): events.ExpectNone(), entity(22): events.ExpectNone()})},
		{"several, some", several(30, 5, map[events.Entity]events.Expectation{entity(31): events.ExpectNone()})},
		{"a control", events.Batch{Controls: []events.ControlWrite{control}}},
		{"events and a control", mixed},
	}
}

func TestLostReplyIsResolved(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			p, l, direct := lossy(t, mode.server, config, Options{Commit: mode.commit})
			for _, k := range kinds(direct, t) {
				for _, lost := range []string{"reply", "request"} {
					before := p.cuts.Load()
					b := k.batch
					b.Events = append([]events.Event(nil), b.Events...)
					if lost == "reply" {
						p.loseReply.Store(once(ackText))
					} else {
						// The same once more, about other entities, so that every expectation of none holds again.
						b = elsewhere(b)
						p.loseRequest.Store(once("HPUB "))
					}
					head := info(t, direct).Last
					r, err := l.Append(within(t), b)
					if err != nil {
						t.Fatalf("%s, lost %s: %v", k.name, lost, err)
					}
					n := uint64(len(b.Events) + len(b.Controls))
					if r.Duplicate || r.First != head+1 || r.Last != head+n || info(t, direct).Last != head+n {
						t.Errorf("%s, lost %s: receipt %+v after head %d; the head is now %d", k.name, lost, r, head, info(t, direct).Last)
					}
					if p.cuts.Load() != before+1 {
						t.Errorf("%s, lost %s: %d connections were cut", k.name, lost, p.cuts.Load()-before)
					}
				}
			}
		})
	}
}

// elsewhere returns the batch with new ids, about other entities and control records, without exact sequences.
func elsewhere(b events.Batch) events.Batch {
	out := events.Batch{Expect: map[events.Entity]events.Expectation{}}
	for _, e := range b.Events {
		x, exact := b.Expect[e.Entity].Sequence()
		e.Entity.ID, e.ID = "other"+e.Entity.ID, events.NewID()
		if exact && x == 0 {
			out.Expect[e.Entity] = events.ExpectNone()
		}
		out.Events = append(out.Events, e)
	}
	for _, c := range b.Controls {
		c.Name += ".other"
		out.Controls = append(out.Controls, c)
	}
	return out
}

func info(t *testing.T, l *Log) events.Info {
	t.Helper()
	i, err := l.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestEveryEventOnceThroughACuttingProxy counts: of N appends, whatever is cut, each is stored exactly once, at the sequence its receipt says,
// and the appends of an entity in order.
func TestEveryEventOnceThroughACuttingProxy(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			p, l, direct := lossy(t, mode.server, config, Options{Commit: mode.commit})
			cutSometimes(p)
			const writers, rounds = 8, 40
			var mu sync.Mutex
			want, at := map[string]bool{}, map[string]uint64{}
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(w)))
					var last uint64
					for i := range rounds {
						b := randomBatch(random, w, i, last)
						r, err := l.Append(within(t), b)
						if err != nil || r.Duplicate {
							t.Errorf("append %d of writer %d: %+v, %v", i, w, r, err)
							return
						}
						mu.Lock()
						for j, e := range b.Events {
							want[e.ID], at[e.ID] = true, r.First+uint64(j)
							if e.Entity == entity(w) {
								last = r.First + uint64(j)
							}
						}
						mu.Unlock()
					}
				})
			}
			all.Wait()
			p.loseReply.Store(nil)
			p.loseRequest.Store(nil)
			for _, r := range exactlyOnce(t, direct, want) {
				if r.Sequence != at[r.Event.ID] {
					t.Errorf("event %s is at sequence %d, its receipt said %d", r.Event.ID, r.Sequence, at[r.Event.ID])
				}
			}
			t.Logf("%d events, %d connections cut", len(want), p.cuts.Load())
			if p.cuts.Load() < 10 {
				t.Errorf("only %d connections were cut: the test tests nothing", p.cuts.Load())
			}
		})
	}
}

func cutSometimes(p *proxy) {
	var mu sync.Mutex
	var last time.Time // a connection lives long enough for a large batch to pass
	random := rand.New(rand.NewPCG(7, 7))
	lose := func(text string, share float64) *func([]byte) bool {
		f := func(data []byte) bool {
			if !bytes.Contains(data, []byte(text)) {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			if random.Float64() >= share || time.Since(last) < 20*time.Millisecond {
				return false
			}
			last = time.Now()
			return true
		}
		return &f
	}
	p.loseReply.Store(lose(ackText, 0.06))
	p.loseRequest.Store(lose("HPUB evt.", 0.04))
}

func randomBatch(random *rand.Rand, w, i int, last uint64) events.Batch {
	b := events.Batch{Events: []events.Event{about(entity(w), i)}, Expect: map[events.Entity]events.Expectation{}}
	if random.IntN(2) == 0 {
		b.Expect[entity(w)] = events.ExpectExactly(last)
	}
	if random.IntN(4) == 0 {
		for j := range 1 + random.IntN(5) {
			b.Events = append(b.Events, about(entity(1_000+random.IntN(20)), j))
		}
	}
	return b
}

// TestPipelinedOrderSurvivesCuts submits without waiting, so that many appends of an entity wait behind one in doubt.
func TestPipelinedOrderSurvivesCuts(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			p, l, direct := lossy(t, mode.server, config, Options{Commit: mode.commit})
			cutSometimes(p)
			const n, entities = 2_000, 40
			want := map[string]bool{}
			var pending []*events.Pending
			for i := range n {
				e := about(entity(i%entities), i)
				want[e.ID] = true
				submitted, err := l.Submit(within(t), events.One(e, events.ExpectAny()))
				if err != nil {
					t.Fatal(err)
				}
				pending = append(pending, submitted)
			}
			for i, submitted := range pending {
				if r, err := submitted.Wait(within(t)); err != nil || r.Duplicate {
					t.Fatalf("append %d: %+v, %v", i, r, err)
				}
			}
			p.loseReply.Store(nil)
			p.loseRequest.Store(nil)
			order := map[events.Entity]int{}
			for _, r := range exactlyOnce(t, direct, want) {
				if got, last := number(t, r), order[r.Event.Entity]; got < last {
					t.Fatalf("%s: append %d is stored after %d", r.Event.Entity, got, last)
				}
				order[r.Event.Entity] = number(t, r)
			}
			t.Logf("%d events, %d connections cut", n, p.cuts.Load())
			if p.cuts.Load() < 5 {
				t.Errorf("only %d connections were cut: the test tests nothing", p.cuts.Load())
			}
		})
	}
}

// TestUnknownOutcomeIsReported cuts the answer and keeps the connection down.
func TestUnknownOutcomeIsReported(t *testing.T) {
	for _, c := range []struct {
		name    string
		window  time.Duration
		resolve time.Duration
		expect  events.Expectation
		healing bool
		want    events.Code // empty: success
	}{
		{"an append without expectation is given up while the servers still know its id", 400 * time.Millisecond, patience, events.ExpectAny(), true, events.ErrUnknownOutcome},
		{"an append with an expectation is pursued beyond the window", 400 * time.Millisecond, patience, events.ExpectNone(), true, ""},
		{"an append with an expectation is given up after ResolveFor", time.Minute, time.Second, events.ExpectNone(), false, events.ErrUnknownOutcome},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Origin: "us", DuplicateWindow: c.window}
			p, l, direct := lossy(t, nil, cfg, Options{ResolveFor: c.resolve, AttemptTimeout: 500 * time.Millisecond})
			e, after := about(entity(1), 1), about(entity(2), 2)
			healed := make(chan struct{})
			healing := sync.OnceFunc(func() {
				time.AfterFunc(700*time.Millisecond, func() { p.loseReply.Store(nil); p.cut(false); close(healed) })
			})
			down := func(data []byte) bool {
				if !bytes.Contains(data, []byte(ackText)) {
					return false
				}
				p.mu.Lock()
				p.refuse = true
				p.mu.Unlock()
				if c.healing {
					healing()
				}
				return true
			}
			p.loseReply.Store(&down)
			r, err := l.Append(within(t), events.One(e, c.expect))
			if c.healing { // what was given up must not be stored again now
				<-healed
				eventually(t, "the log writes again", func() bool {
					_, err := l.Append(within(t), events.One(after, events.ExpectNone())) // which never stores it twice
					return err == nil
				})
			}
			if c.want == "" {
				if err != nil || r.Duplicate || r.Last != 2 {
					t.Fatalf("%+v, %v", r, err)
				}
			} else {
				wantCode(t, err, c.want)
			}
			want := map[string]bool{e.ID: true}
			if c.healing {
				want[after.ID] = true
			}
			exactlyOnce(t, direct, want)
		})
	}
}

// TestNothingIsSentLater cuts the connection before the append and brings it back after the answer: what was said not to be written must
// not be written by a buffer that is flushed late.
func TestNothingIsSentLater(t *testing.T) {
	p, l, direct := lossy(t, nil, config, Options{AttemptTimeout: 300 * time.Millisecond})
	if l.writer.api.Link.Conn().Opts.ReconnectBufSize >= 0 {
		t.Error("the client library keeps what is published without a connection")
	}
	p.cut(true)
	eventually(t, "the log notices", func() bool { return l.writer.api.Link.Present().IsOver() })
	_, err := l.Append(within(t), events.One(about(entity(1), 1), events.ExpectAny()))
	wantCode(t, err, events.ErrUnreachable)
	p.cut(false)
	after := about(entity(2), 2)
	eventually(t, "the log writes again", func() bool {
		_, err = l.Append(within(t), events.One(after, events.ExpectAny()))
		return err == nil
	})
	exactlyOnce(t, direct, map[string]bool{after.ID: true})
}
