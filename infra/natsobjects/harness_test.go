package natsobjects

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
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
	bucket   = "tidemark-snapshots-test"
)

func serverOptions(t testing.TB) *server.Options {
	t.Helper()
	return &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 4 << 30, JetStreamMaxMemory: 256 << 20,
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

// runCluster starts three servers that can keep every bucket three times.
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

func open(t testing.TB, nc *nats.Conn, c Config) *Snapshots {
	t.Helper()
	c.Create = true
	if c.Bucket == "" {
		c.Bucket = bucket
	}
	return reopen(t, nc, c)
}

func reopen(t testing.TB, nc *nats.Conn, c Config) *Snapshots {
	t.Helper()
	s, err := Open(within(t), nc, c)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func runSuite(t *testing.T, address string, replicas int) {
	var fresh atomic.Int64
	storetest.RunSnapshots(t, func(t *testing.T) storetest.SnapshotSubject {
		nc := dial(t, address)
		s := open(t, nc, Config{Bucket: fmt.Sprint("tidemark-snapshots-", fresh.Add(1)), Replicas: replicas})
		return subject(t, nc, s)
	})
}

func subject(t *testing.T, nc *nats.Conn, s *Snapshots) storetest.SnapshotSubject {
	t.Helper()
	return storetest.SnapshotSubject{Snapshots: s, Tamper: func(t testing.TB, projection, id string, edit func([]byte) []byte) {
		t.Helper()
		rewrite(t, nc, s, projection, id, edit)
	}}
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	must(t, err)
	return js
}

// stream returns the bucket's stream as it is now.
func stream(t testing.TB, nc *nats.Conn, s *Snapshots) jetstream.Stream {
	t.Helper()
	st, err := jetStream(t, nc).Stream(within(t), streamName(s.bucket))
	must(t, err)
	return st
}

// parts returns the subject of a snapshot's parts, and the parts.
func parts(t testing.TB, nc *nats.Conn, s *Snapshots, projection, id string) (subject string, list []*jetstream.RawStreamMsg) {
	t.Helper()
	st := stream(t, nc, s)
	m, err := st.GetLastMsgForSubject(within(t), s.descriptionOf(projection, id))
	must(t, err)
	var o jetstream.ObjectInfo
	must(t, json.Unmarshal(m.Data, &o))
	subject = s.subject("C." + o.NUID)
	for seq := uint64(1); ; {
		m, err := st.GetMsg(within(t), seq, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			return subject, list
		}
		list, seq = append(list, m), m.Sequence+1
	}
}

// rewrite puts other parts in the place of those that a snapshot has.
func rewrite(t testing.TB, nc *nats.Conn, s *Snapshots, projection, id string, edit func([]byte) []byte) {
	t.Helper()
	subject, list := parts(t, nc, s, projection, id)
	var content []byte
	for _, m := range list {
		content = append(content, m.Data...)
	}
	must(t, stream(t, nc, s).Purge(within(t), jetstream.WithPurgeSubject(subject)))
	for content = edit(content); len(content) > 0; {
		n := min(len(content), maxPart)
		_, err := jetStream(t, nc).Publish(within(t), subject, content[:n])
		must(t, err)
		content = content[n:]
	}
}

func describing(id string, sequence uint64) projections.Snapshot {
	return projections.Snapshot{ID: id, Projection: "flights", Sequence: sequence, Taken: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// body returns so many bytes.
func body(n int) *bytes.Reader {
	return bytes.NewReader(bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n])
}

func list(t testing.TB, s *Snapshots) string {
	t.Helper()
	all, err := s.List(within(t), "flights")
	must(t, err)
	var ids []string
	for _, x := range all {
		ids = append(ids, x.ID)
	}
	return strings.Join(ids, " ")
}

func TestOneServer(t *testing.T) { runSuite(t, run(t, serverOptions(t)).ClientURL(), 1) }

func TestThreeServers(t *testing.T) { runSuite(t, runCluster(t)[0].ClientURL(), 3) }
