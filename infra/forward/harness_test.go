package forward

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
)

// patience bounds every wait of a test; nothing waits that long when all is well.
const patience = natstest.Patience

// What the tests of forwarding call by a short name.
var (
	dial       = natstest.Dial
	within     = natstest.Within
	eventually = natstest.Eventually
)

// The leader's region and the one that writes from afar.
var (
	atLeader = Config{Origin: "us", Region: "us", Leader: "us"}
	atMirror = Config{Origin: "us", Region: "eu", Leader: "us"}
)

func TestMain(m *testing.M) {
	if os.Getenv(leaderRole) != "" {
		if err := leader(os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// leaderRole makes this test binary the leader's process: it can be killed.
const leaderRole = "TIDEMARK_FORWARD_LEADER"

// leader runs a server with its log and its writer until it is killed, or its standard input ends.
func leader(dir, port, linkPort string) error {
	o := &server.Options{Host: "127.0.0.1", NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir, JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 1 << 30}
	asLeader(o)
	o.Port, _ = strconv.Atoi(port)
	o.LeafNode.Port, _ = strconv.Atoi(linkPort)
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		return fmt.Errorf("the server did not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := natslog.Setup(ctx, nc, natslog.Config{Origin: "us"}); err != nil {
		return err
	}
	log, err := natslog.Open(ctx, nc, natslog.Config{Origin: "us"}, natslog.Options{})
	if err != nil {
		return err
	}
	w, err := NewServer(nc, atLeader, log, nil, ServerOptions{})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("ready")
	return w.Run(ctx)
}

// asLeader is how the leader's server is set up.
func asLeader(o *server.Options) {
	o.ServerName, o.MaxPayload, o.MaxPending, o.PingInterval, o.MaxPingsOut = "us", 16<<20, 64<<20, time.Second, 2
	o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
}

func startLeader(t testing.TB) *natstest.Server {
	t.Helper()
	return natstest.Start(t, asLeader)
}

// startMirror runs the other region's server, with a link to the leader's at an address. Its events stay at home.
func startMirror(t testing.TB, link string) *natstest.Server {
	t.Helper()
	return natstest.Start(t, func(o *server.Options) {
		asLeader(o)
		o.ServerName, o.JetStream, o.LeafNode.Host, o.LeafNode.Port = "eu", false, "", 0
		o.LeafNode.ReconnectInterval = 100 * time.Millisecond
		private := []string{"evt.>", "ctl.>", "$JS.>"}
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{
			URLs: []*url.URL{{Scheme: "nats-leaf", Host: link}}, IgnoreDiscoveredServers: true, DenyImports: private, DenyExports: private,
		}}
	})
}

func linkAddress(s *natstest.Server) string {
	v, err := s.Varz(nil)
	if err != nil {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(v.LeafNode.Port))
}

// regions is a leader with its log and its writer, and a mirror's server, with a wire between the two that can break.
type regions struct {
	us, eu *natstest.Server
	log    *natslog.Log
	link   *netfault.Proxy
}

func startRegions(t testing.TB) *regions {
	t.Helper()
	r := &regions{us: startLeader(t)}
	r.link = wire(t, linkAddress(r.us))
	r.eu = startMirror(t, r.link.Addr())
	r.log = openLog(t, r.us, "us")
	serve(t, r.us, atLeader, r.log, nil, ServerOptions{})
	return r
}

func wire(t testing.TB, target string) *netfault.Proxy {
	t.Helper()
	p, err := netfault.New(target, netfault.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func openLog(t testing.TB, s *natstest.Server, origin string) *natslog.Log {
	t.Helper()
	nc := dial(t, s.ClientURL())
	cfg := natslog.Config{Origin: origin}
	if err := natslog.Setup(within(t), nc, cfg); err != nil {
		t.Fatal(err)
	}
	l, err := natslog.Open(within(t), nc, cfg, natslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// serve runs a writer until the test ends, or stop is called.
func serve(t testing.TB, s *natstest.Server, cfg Config, log events.Appender, floors events.Floors, o ServerOptions) (stop func()) {
	t.Helper()
	w, err := NewServer(dial(t, s.ClientURL()), cfg, log, floors, o)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, w)
}

func run(t testing.TB, w *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func appender(t testing.TB, address string, cfg Config, o Options) *Appender {
	t.Helper()
	a, err := NewAppender(dial(t, address), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func memory(t testing.TB) *memlog.Log {
	t.Helper()
	l := memlog.New("us", memlog.Options{})
	t.Cleanup(l.Close)
	return l
}

func entity(i int) events.Entity { return events.Entity{Type: "airport", ID: fmt.Sprint("A", i)} }

func about(e events.Entity, n int) events.Event {
	return events.Event{ID: events.NewID(), Source: "urn:test", Type: "Counted", Entity: e, Data: fmt.Appendf(nil, `{"n":%d}`, n)}
}

func number(t testing.TB, e *events.Event) int {
	t.Helper()
	var v struct{ N int }
	if err := json.Unmarshal(e.Data, &v); err != nil {
		t.Fatal(err)
	}
	return v.N
}

func wantCode(t testing.TB, err error, code events.Code) {
	t.Helper()
	if got, _ := events.CodeOf(err); got != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func head1(t testing.TB, l events.Reader) uint64 {
	t.Helper()
	info, err := l.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.Last
}

// exactlyOnce reads a log and fails the test unless it holds each of the events once, and no other. It returns the records.
func exactlyOnce(t testing.TB, l events.Reader, want map[string]bool) []events.Record {
	t.Helper()
	seen := map[string]int{}
	var out []events.Record
	for batch, err := range l.Read(within(t), events.Range{From: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch {
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
