package natslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

const patience = natstest.Patience

// Short names of what most tests use.
var (
	dial       = natstest.Dial
	eventually = natstest.Eventually
	within     = natstest.Within
)

func startServer(t testing.TB, change func(*server.Options)) *natstest.Server {
	t.Helper()
	return natstest.Start(t, large, change)
}

// large lets a server take the largest event.
func large(o *server.Options) { o.MaxPayload = 2 << 20 }

func syncAlways(o *server.Options) { o.SyncAlways = true }

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
	var l *Log
	eventually(t, "the log is open", func() (ok bool) { // some tests leave very little time for each attempt
		var err error
		if l, err = Open(within(t), nc, cfg, o); err != nil && !errors.Is(err, events.ErrUnreachable) {
			t.Fatal(err)
		}
		return err == nil
	})
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

// wantConsumers waits until the log has so many consumers, for less time than the servers do before they remove what is left by themselves.
func wantConsumers(t testing.TB, nc *nats.Conn, want int) {
	t.Helper()
	late := time.Now().Add(patience / 3)
	eventually(t, "consumers are removed", func() bool {
		n := streamInfo(t, nc, config.Origin).State.Consumers
		if n != want && time.Now().After(late) {
			t.Fatalf("there are %d consumers, expected %d", n, want)
		}
		return n == want
	})
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
