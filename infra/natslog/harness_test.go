package natslog

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// patience bounds every wait of a test; nothing waits that long when all is well.
const patience = 20 * time.Second

// startServer runs a real server on a free port, with its store in a directory of the test.
func startServer(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: storeDir(t), MaxPayload: 2 << 20, JetStreamMaxStore: 8 << 30, JetStreamMaxMemory: 1 << 30,
	}
	if change != nil {
		change(o)
	}
	s := runServer(t, o)
	return s
}

// storeDir is t.TempDir for a server: one that has shut down may still be removing the files of an open batch.
func storeDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "natslog")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "the store is removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	return dir
}

func runServer(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server did not start")
	}
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s
}

func syncAlways(o *server.Options) { o.SyncAlways = true }

func dial(t testing.TB, url string, o ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.Timeout(patience), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// config is the log that most tests use.
var config = Config{Origin: "us"}

// openLog sets the log up and opens it.
func openLog(t testing.TB, nc *nats.Conn, cfg Config, o Options) *Log {
	t.Helper()
	if err := Setup(within(t), nc, cfg); err != nil {
		t.Fatal(err)
	}
	return reopen(t, nc, cfg, o)
}

func reopen(t testing.TB, nc *nats.Conn, cfg Config, o Options) *Log {
	t.Helper()
	l, err := Open(within(t), nc, cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func stream(t testing.TB, nc *nats.Conn, origin string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(within(t), StreamName(origin))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func streamInfo(t testing.TB, nc *nats.Conn, origin string) *jetstream.StreamInfo {
	t.Helper()
	info, err := stream(t, nc, origin).Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
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

func entity(i int) events.Entity { return events.Entity{Type: "airport", ID: fmt.Sprint("A", i)} }

func about(e events.Entity, n int) events.Event {
	return events.Event{ID: events.NewID(), Source: "urn:test", Type: "Counted", Entity: e, Data: fmt.Appendf(nil, `{"n":%d}`, n)}
}

func appendOne(t testing.TB, l *Log, e events.Event, x events.Expectation) events.Receipt {
	t.Helper()
	r, err := l.Append(within(t), events.One(e, x))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t testing.TB, err error, code events.Code) {
	t.Helper()
	if got, _ := events.CodeOf(err); got != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

// number is what about gave an event.
func number(t testing.TB, r events.Record) int {
	t.Helper()
	var v struct{ N int }
	if err := json.Unmarshal(r.Event.Data, &v); err != nil {
		t.Fatalf("sequence %d: %v", r.Sequence, err)
	}
	return v.N
}
