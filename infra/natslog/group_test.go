package natslog

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// TestNobodySeesAnothersConflict submits appends that share batches, among them some that must be refused.
func TestNobodySeesAnothersConflict(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(*server.Options)
		commit CommitMode
	}{{"group commit", syncAlways, GroupCommit}, {"pipelined", nil, Pipelined}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nc := dial(t, startServer(t, c.server).ClientURL())
			l := openLog(t, nc, config, Options{Commit: c.commit})
			known := about(entity(1_000), 0)
			first := appendOne(t, l, known, events.ExpectAny()).Last
			changed := known
			changed.Data = []byte(`{"n":7}`)
			type submitted struct {
				*events.Pending
				want events.Code
				dup  bool
			}
			var all []submitted
			submit := func(b events.Batch, want events.Code, dup bool) {
				t.Helper()
				p, err := l.Submit(within(t), b)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, submitted{p, want, dup})
			}
			for i := range 300 {
				switch i % 100 {
				case 20:
					submit(events.One(about(entity(1_000), i), events.ExpectNone()), events.ErrConflict, false)
				case 40:
					submit(events.One(known, events.ExpectAny()), "", true)
				case 60:
					submit(events.One(changed, events.ExpectAny()), events.ErrIDConflict, false)
				case 80:
					submit(events.Batch{Events: []events.Event{about(entity(i), i), known}}, events.ErrIDConflict, false)
				default:
					submit(events.One(about(entity(i%50), i), events.ExpectAny()), "", false)
				}
			}
			for i, p := range all {
				r, err := p.Wait(within(t))
				switch {
				case p.want != "":
					if code, _ := events.CodeOf(err); code != p.want {
						t.Errorf("append %d: got %v, want %s", i, err, p.want)
					}
				case err != nil || r.Duplicate != p.dup || p.dup && r.Last != first:
					t.Errorf("append %d: %+v, %v", i, r, err)
				}
			}
			counts := map[events.Entity]int{}
			for batch, err := range l.Read(within(t), events.Range{}) {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range batch {
					if r.Kind == events.KindEvent {
						if n, last := number(t, r), counts[r.Event.Entity]; n < last {
							t.Errorf("%s: %d after %d", r.Event.Entity, n, last)
						}
						counts[r.Event.Entity] = number(t, r)
					}
				}
			}
			if shared := sharedBatches(t, l); shared == 0 {
				t.Error("no two appends shared a batch: the test tests nothing")
			}
		})
	}
}

// sharedBatches counts records that are alone in their transaction and were stored in a batch.
func sharedBatches(t *testing.T, l *Log) int {
	t.Helper()
	n := 0
	for seq := uint64(1); ; seq++ {
		m, err := l.reading.Message(within(t), natsapi.Query{Sequence: seq})
		if errors.Is(err, natsapi.ErrNoMessage) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if r, err := record(m, "us"); err == nil && r.Stamp.Tx.Alone() && headerOf(m.Header, headerBatchID) != "" {
			n++
		}
	}
}

// TestManyWritersOnOneStream lets several logs of one origin compete for the same entities, in both modes at once.
func TestManyWritersOnOneStream(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	logs := []*Log{
		openLog(t, nc, config, Options{Commit: Pipelined}), reopen(t, nc, config, Options{Commit: GroupCommit}), reopen(t, nc, config, Options{Commit: GroupCommit}),
	}
	const rounds = 60
	done := make(chan error, len(logs))
	for w, l := range logs {
		go func() {
			for i := range rounds {
				_, err := events.Mutate(within(t), l, entity(i%3), func(n int, r events.Record) (int, error) { return number(t, r), nil },
					func(n int) ([]events.Event, error) { return []events.Event{about(entity(i%3), n+1)}, nil })
				if err != nil && !errors.Is(err, events.ErrConflict) {
					done <- fmt.Errorf("writer %d: %w", w, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range logs {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range 3 {
		last := 0
		for r, err := range logs[0].History(within(t), entity(i), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if n := number(t, r); n != last+1 {
				t.Errorf("%s counts %d after %d", entity(i), n, last)
			}
			last++
		}
	}
}

func TestSubmitWaitsForRoom(t *testing.T) {
	s := startServer(t, nil)
	p := startProxy(t, s.ClientURL())
	openLog(t, dial(t, s.ClientURL()), config, Options{})
	l := reopen(t, dial(t, p.url()), config, Options{MaxPending: 10})
	hold := make(chan struct{})
	held := func(data []byte) bool {
		if strings.Contains(string(data), ackText) {
			<-hold
		}
		return false
	}
	p.loseReply.Store(&held)
	free := sync.OnceFunc(func() { close(hold) })
	defer free()
	for i := range 10 {
		if _, err := l.Submit(within(t), events.One(about(entity(i), i), events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
	p11 := make(chan error, 1)
	ctx := within(t)
	go func() {
		_, err := l.Submit(ctx, events.One(about(entity(11), 11), events.ExpectAny()))
		p11 <- err
	}()
	select {
	case err := <-p11:
		t.Fatalf("the eleventh append was not kept waiting: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	p.loseReply.Store(nil)
	free()
	if err := <-p11; err != nil {
		t.Error(err)
	}
}

// TestCloseLeavesNothingBehind closes logs in the midst of appends and readings.
func TestCloseLeavesNothingBehind(t *testing.T) {
	s := startServer(t, nil)
	p := startProxy(t, s.ClientURL())
	nc, through := dial(t, s.ClientURL()), dial(t, p.url())
	openLog(t, nc, config, Options{}).Close()
	connections := func() int { return s.NumClients() }
	before, clients := runtime.NumGoroutine(), connections()
	for _, mode := range []CommitMode{Pipelined, GroupCommit} {
		for _, broken := range []bool{false, true} {
			l := reopen(t, through, config, Options{Commit: mode, AttemptTimeout: 300 * time.Millisecond})
			f := follow(t, l, events.Range{Follow: true})
			f.reaches(t, 1)
			if broken {
				swallow := func(data []byte) bool { return strings.Contains(string(data), ackText) }
				p.loseReply.Store(&swallow)
			}
			var pending []*events.Pending
			for i := range 500 {
				submitted, err := l.Submit(within(t), events.One(about(entity(i%9), i), events.ExpectAny()))
				if err != nil {
					t.Fatal(err)
				}
				pending = append(pending, submitted)
			}
			l.Close()
			p.loseReply.Store(nil)
			for i, submitted := range pending {
				select {
				case <-submitted.Done():
				default:
					t.Fatalf("append %d has no outcome", i)
				}
				_, err := submitted.Wait(within(t))
				switch code, _ := events.CodeOf(err); code {
				case "", events.ErrClosed, events.ErrUnknownOutcome, events.ErrUnreachable:
				default:
					t.Errorf("append %d: %v", i, err)
				}
			}
			wantCode(t, f.ends(t), events.ErrClosed)
		}
	}
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+8 && connections() <= clients })
}
