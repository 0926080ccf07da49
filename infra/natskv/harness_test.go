package natskv

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

const (
	// patience bounds every wait of a test; nothing waits that long when all is well.
	patience = 30 * time.Second
	region   = "tidemark-test"
	// shortTTL is the shortest time to live that the server grants.
	shortTTL = MinLeaseTTL
)

func serverOptions(t testing.TB) *server.Options {
	t.Helper()
	return &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 256 << 20,
	}
}

func run(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	must(t, err)
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server did not start")
	}
	t.Cleanup(func() { stop(s) })
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// runCluster starts three servers that keep every bucket three times.
func runCluster(t testing.TB) []*server.Server {
	t.Helper()
	var routes []*url.URL
	var options []*server.Options
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		o := serverOptions(t)
		o.ServerName = fmt.Sprint("test-", i)
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
		must(t, l.Close())
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", o.Cluster.Port)})
		options = append(options, o)
	}
	var servers []*server.Server
	for _, o := range options {
		o.Routes = routes
		s, err := server.NewServer(o)
		must(t, err)
		s.Start()
		t.Cleanup(func() { stop(s) })
		servers = append(servers, s)
	}
	eventually(t, "the cluster has a leader and all its members", func() bool {
		leaders := 0
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				leaders++
			}
			if !s.ReadyForConnections(time.Millisecond) || !s.JetStreamIsCurrent() {
				return false
			}
		}
		return leaders == 1
	})
	js, err := jetstream.New(dial(t, servers[0].ClientURL()))
	must(t, err)
	eventually(t, "the leader places streams on all of them", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "PROBE", Replicas: len(servers)}); err != nil {
			return false
		}
		must(t, js.DeleteStream(ctx, "PROBE"))
		return true
	})
	return servers
}

func dial(t testing.TB, address string, o ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(address, append([]nats.Option{nats.Timeout(patience), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, o...)...)
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("after %s it is still not so: %s", patience, what)
		}
	}
}

func open(t testing.TB, nc *nats.Conn, c Config) (*KV, *Leases) {
	t.Helper()
	c.Create = true
	if c.Bucket == "" {
		c.Bucket = region
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kv, leases, err := Open(ctx, nc, c)
	must(t, err)
	return kv, leases
}

// buckets counts up, so that each subtest has its own.
type buckets struct {
	mu sync.Mutex
	n  int
}

func (b *buckets) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return fmt.Sprint("tidemark-", b.n)
}

func runSuites(t *testing.T, address string, replicas int) {
	var fresh buckets
	t.Run("KV", func(t *testing.T) {
		storetest.RunKV(t, func(t *testing.T) projections.KV {
			kv, _ := open(t, dial(t, address), Config{Bucket: fresh.next(), Replicas: replicas})
			return kv
		})
	})
	t.Run("Leases", func(t *testing.T) {
		storetest.RunLeases(t, func(t *testing.T) storetest.LeaseSubject {
			c := Config{Bucket: fresh.next(), Replicas: replicas, LeaseTTL: shortTTL}
			one, two := dial(t, address), dial(t, address)
			_, a := open(t, one, c)
			_, b := open(t, two, c)
			return storetest.LeaseSubject{A: a, B: b, TTL: shortTTL, Kill: func(testing.TB, string) { one.Close() }}
		})
	})
}

func TestOneServer(t *testing.T) { runSuites(t, run(t, serverOptions(t)).ClientURL(), 1) }

func TestThreeServers(t *testing.T) { runSuites(t, runCluster(t)[0].ClientURL(), 3) }

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}
