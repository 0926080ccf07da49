package replica

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
)

// patience bounds every wait of a test; nothing waits that long when all is well.
const patience = 60 * time.Second

// region is a region's server that can be ended and started again on the same store.
type region struct {
	*embedded.NATS
	t   *testing.T
	dir string
	cfg embedded.NATSConfig
	own *embedded.Dir
}

func startServer(t *testing.T, dir string, cfg embedded.NATSConfig) *region {
	t.Helper()
	s := &region{t: t, dir: dir, cfg: cfg}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *region) start() {
	s.t.Helper()
	var err error
	if s.own, err = embedded.OpenDir(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.cfg.Dir = s.own
	if s.NATS, err = embedded.StartNATS(context.Background(), s.cfg); err != nil {
		s.t.Fatal(err)
	}
	if s.cfg.Peers != nil && s.cfg.LinkListen == "" {
		s.cfg.LinkListen = s.LinkFor(s.cfg.Peers[0]).Address // the same after a restart
	}
}

// stop ends the server; its store stays.
func (s *region) stop() {
	s.Shutdown()
	if err := s.own.Close(); err != nil {
		s.t.Error(err)
	}
}

// pair is a leader, us, and a mirror, eu, with a wire between them that can be broken.
type pair struct {
	us, eu *region
	wire   *netfault.Proxy
	usConn *nats.Conn
	euConn *nats.Conn
	leader *natslog.Log
}

var (
	origin = natslog.Config{Origin: "us"}
	copied = natslog.Config{Origin: "us", Mirror: true}
	config = Config{Origin: "us", Region: "eu", Leader: "us"}
)

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{}
	p.us = startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "us", Peers: []string{"eu"}, LazySync: true})
	link := p.us.LinkFor("eu")
	var err error
	if p.wire, err = netfault.New(link.Address, netfault.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.wire.Close)
	link.Address = p.wire.Addr()
	p.eu = startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "eu", Links: []embedded.Link{link}, SyncInterval: embedded.MirrorSyncInterval})
	p.usConn, p.euConn = p.us.connect(), p.eu.connect()
	p.leader = openLeader(t, p.usConn)
	return p
}

func (s *region) connect() *nats.Conn {
	s.t.Helper()
	nc, err := s.Connect()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

func openLeader(t *testing.T, nc *nats.Conn) *natslog.Log {
	t.Helper()
	if err := natslog.Setup(within(t), nc, origin); err != nil {
		t.Fatal(err)
	}
	return openLog(t, nc, origin)
}

func openLog(t *testing.T, nc *nats.Conn, cfg natslog.Config) *natslog.Log {
	t.Helper()
	l, err := natslog.Open(within(t), nc, cfg, natslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// running is a Mirror whose Run runs.
type running struct {
	*Mirror
	logs *logs
	stop func()
}

func follow(t *testing.T, nc *nats.Conn, cfg Config) *running {
	t.Helper()
	out := &logs{}
	m, err := Follow(within(t), nc, cfg, Options{Logger: slog.New(slog.NewTextHandler(out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var runs sync.WaitGroup
	runs.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		runs.Wait()
	})
	t.Cleanup(stop)
	return &running{Mirror: m, logs: out, stop: stop}
}

// logs collects what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// reaches waits until the copy is in a state, and returns how it stands.
func (m *running) reaches(t *testing.T, state events.CopyState) events.Replication {
	t.Helper()
	var now events.Replication
	defer func() { t.Logf("%s: %+v", state, now) }()
	eventually(t, "the copy "+string(state), func() bool {
		now = m.Replication()
		return now.State == state
	})
	return now
}

// catchesUp waits until the copy has no lag at a sequence or later.
func (m *running) catchesUp(t *testing.T, seq uint64) events.Replication {
	t.Helper()
	var now events.Replication
	eventually(t, fmt.Sprint("the copy reaches ", seq), func() bool {
		now = m.Replication()
		at, _ := now.Head.Point("us")
		return now.State == events.CopyFollows && now.Lag.Events == 0 && at.Sequence >= seq
	})
	return now
}

// fill appends n events, a hundred at a time, and returns the last sequence.
func fill(t *testing.T, l *natslog.Log, n int) uint64 {
	t.Helper()
	var last uint64
	for i := 0; i < n; {
		var b events.Batch
		for ; i < n && len(b.Events) < 100; i++ {
			b.Events = append(b.Events, events.Event{
				ID: events.NewID(), Source: "urn:test", Type: "Counted", Entity: events.Entity{Type: "airport", ID: fmt.Sprint("A", i%50)}, Data: fmt.Appendf(nil, `{"n":%d}`, i),
			})
		}
		r, err := l.Append(within(t), b)
		if err != nil {
			t.Fatal(err)
		}
		last = r.Last
	}
	return last
}

// sameRecords fails unless both logs hold the same records, from 1 to last.
func sameRecords(t *testing.T, a, b events.Reader, last uint64) {
	t.Helper()
	prints := func(r events.Reader) map[uint64]events.Hash {
		out := make(map[uint64]events.Hash, last)
		for rs, err := range r.Read(within(t), events.Range{To: last}) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range rs {
				out[rs[i].Sequence] = rs[i].Fingerprint()
			}
		}
		return out
	}
	x, y := prints(a), prints(b)
	if len(x) != int(last) || len(y) != int(last) {
		t.Fatalf("%d and %d records, want %d", len(x), len(y), last)
	}
	for seq, h := range x {
		if y[seq] != h {
			t.Fatalf("sequence %d differs", seq)
		}
	}
}

func newNoLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
