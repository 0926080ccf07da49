// Package natstest gives a test NATS servers of its own, with JetStream: real servers in this process, one alone or
// three in a cluster. They are ended, and their stores removed, when the test is over.
package natstest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Patience bounds every wait of a test; nothing waits that long when all is well.
const Patience = 30 * time.Second

// probeTimeout bounds one attempt to place a stream: a cluster that is still electing may leave it without an answer.
const probeTimeout = 5 * time.Second

// Server is a server of one test. Its methods fail the test instead of returning errors; call them from one goroutine
// at a time.
type Server struct {
	*server.Server

	// Options are what Restart starts the server with. After the first start they have its port.
	Options *server.Options

	t testing.TB
}

// Start starts a server on loopback and a free port, with its store in a directory of the test. Its options are
// changed by each function in turn; a nil one changes nothing.
func Start(t testing.TB, change ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, Options: &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: FreePorts(t, 1)[0], NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: StoreDir(t), JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 1 << 30,
	}}
	for _, f := range change {
		if f != nil {
			f(s.Options)
		}
	}
	t.Cleanup(s.Stop)
	s.Restart()
	return s
}

// Stop ends the server and returns when it has ended; one that is stopped already stays so.
func (s *Server) Stop() {
	if s.Server != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// Restart starts the server again, on the same port and store unless the test has changed its Options; a server that
// runs is stopped first.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	started, err := server.NewServer(s.Options.Clone()) // the server changes what it is given
	if err != nil {
		s.t.Fatalf("natstest: %v", err)
	}
	s.Server = started
	s.Start()
	if !s.ReadyForConnections(Patience) {
		s.t.Fatalf("natstest: the server did not start within %s", Patience)
	}
	s.Options.Port = s.Addr().(*net.TCPAddr).Port
}

// Backup copies the store as it is now, and returns where the copy is. The server must be stopped.
func (s *Server) Backup() string {
	s.t.Helper()
	if s.Running() {
		s.t.Fatalf("natstest: the server runs; call Stop first")
	}
	dir := StoreDir(s.t)
	if err := os.CopyFS(dir, os.DirFS(s.Options.StoreDir)); err != nil {
		s.t.Fatalf("natstest: %v", err)
	}
	return dir
}

// StoreDir is t.TempDir for a server: one that has shut down may still be removing files.
func StoreDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		Eventually(t, "the store is removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	return dir
}

// Cluster starts three servers that form a cluster, with options changed as in Start. It returns when Places does.
func Cluster(t testing.TB, change ...func(*server.Options)) []*Server {
	t.Helper()
	ports := FreePorts(t, 3)
	var routes []*url.URL
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	var servers []*Server
	for i, port := range ports {
		member := func(o *server.Options) {
			o.ServerName, o.Routes = fmt.Sprint("test-", i), routes
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port}
		}
		servers = append(servers, Start(t, append(slices.Clip(change), member)...))
	}
	nc := Dial(t, servers[0].ClientURL())
	defer nc.Close()
	Places(t, nc, servers)
	return servers
}

// Places waits until the servers of a cluster have a leader, all of them are current, and a stream can be placed on all of them.
func Places(t testing.TB, nc *nats.Conn, servers []*Server) {
	t.Helper()
	Eventually(t, "the cluster has a leader and all its members", func() bool {
		leaders := 0
		for _, s := range servers {
			if s.JetStreamIsLeader() {
				leaders++
			}
			if !s.JetStreamIsCurrent() {
				return false
			}
		}
		return leaders == 1
	})
	js := JetStream(t, nc)
	Eventually(t, "the leader places streams on all of them", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "PROBE", Replicas: len(servers)})
		return err == nil && js.DeleteStream(ctx, "PROBE") == nil
	})
}

// Ports that FreePorts gives: below those that a system gives to whoever asks for any, or a server that begins later, or again, could find its port in use by somebody's
// connection; above those of clustertest; and most processes that run at once have their own.
const firstPort, portsEach, processes = 23_000, 2_250, 4

// given counts the ports that this process was given, so that none is given again before all others were: who asked for it may listen on it later.
var given atomic.Int64

// FreePorts returns ports of loopback that nobody listens on, to be listened on later. They are all held at once, so that they differ.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	pid, ports := os.Getpid(), []int(nil)
	for tries := 0; len(ports) < n; tries++ {
		port := firstPort + pid%processes*portsEach + (101*pid+int(given.Add(1)))%portsEach
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		switch {
		case err == nil:
			defer func() { _ = l.Close() }()
			ports = append(ports, port)
		case tries > 100*n:
			t.Fatalf("natstest: %v", err)
		}
	}
	return ports
}

// FreeAddress returns a host:port as FreePorts chooses it.
func FreeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePorts(t, 1)[0])
}

// Dial connects to a server until the test is over. The connection finds the server again after a restart.
func Dial(t testing.TB, url string, o ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.Timeout(Patience), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, o...)...)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// JetStream returns the client of JetStream on a connection.
func JetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	return js
}

// Within returns a context that ends after Patience, or with the test.
func Within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Eventually polls until the condition holds, and fails the test when it does not within Patience.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("in vain for %s: %s", Patience, what)
		}
	}
}
