package queryservice_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// patience bounds every wait of a test; nothing waits that long when all is well.
const patience = 30 * time.Second

// fixture is a NATS server, and a region in memory with the projections of the flights.
type fixture struct {
	nats   *natstest.Server
	log    *memlog.Log
	store  *memstore.Store
	kv     *memstore.KV
	reader *query.Reader
}

func newFixture(t *testing.T, change ...func(*server.Options)) *fixture {
	t.Helper()
	f := &fixture{nats: startServer(t, change...), log: memlog.New("us", memlog.Options{Lineage: "abcd"}), store: memstore.New(), kv: memstore.NewKV()}
	t.Cleanup(f.log.Close)
	leases := memstore.NewLeases()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	all, err := flights.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		worker, err := projector.New(p, f.log, f.store, f.kv, leases, projector.Options{EvenInterval: time.Millisecond, CheckInterval: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { _ = worker.Run(ctx) })
	}
	f.reader = query.New("us", f.store, f.kv, query.NewHeads(f.log))
	eventually(t, "the read models are live", func() bool {
		o, err := f.reader.Overview(ctx)
		return err == nil && len(o.Projections) == len(all) && o.Projections[0].State == "live" && o.Projections[1].State == "live"
	})
	return f
}

func startServer(t testing.TB, change ...func(*server.Options)) *natstest.Server {
	t.Helper()
	small := func(o *server.Options) {
		o.ServerName, o.JetStream = "us", false
		o.MaxPayload, o.MaxPending, o.PingInterval, o.MaxPingsOut = 16<<20, 64<<20, time.Second, 2
	}
	return natstest.Start(t, append([]func(*server.Options){small}, change...)...)
}

func (f *fixture) connect(t testing.TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	return natstest.Dial(t, f.nats.ClientURL(), options...)
}

// serve runs a service until the test ends, or the function that it returns is called, which returns what Run returned.
func (f *fixture) serve(t *testing.T, o queryservice.Options, options ...nats.Option) (stop func() error) {
	t.Helper()
	s, err := queryservice.New(f.connect(t, options...), "us", f.reader, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("it did not end")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	asker := f.connect(t)
	eventually(t, "the service answers", func() bool {
		_, err := asker.Request("q.us.status", nil, time.Second)
		return err == nil
	})
	return stop
}

// depart publishes a departure at an airport and returns its position.
func (f *fixture) depart(t testing.TB, airport string) events.Position {
	t.Helper()
	r, err := f.log.Append(context.Background(), events.One(events.Event{
		ID: events.NewID(), Source: "urn:test", Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: airport}, Data: []byte(`{"origin":"ORD"}`),
	}, events.ExpectAny()))
	if err != nil {
		t.Fatal(err)
	}
	return r.Position
}

// ask sends a request as any NATS client would.
func ask(t testing.TB, nc *nats.Conn, operation, body string, headers ...string) *nats.Msg {
	t.Helper()
	m := &nats.Msg{Subject: "q.us." + operation, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	answer, err := nc.RequestMsg(m, patience)
	if err != nil {
		t.Fatalf("%s %.80s: %v", operation, body, err)
	}
	return answer
}

// wantProblem expects an answer that is a problem.
func wantProblem(t testing.TB, m *nats.Msg, code events.Code) queryservice.Problem {
	t.Helper()
	var p queryservice.Problem
	if err := json.Unmarshal(m.Data, &p); err != nil || p.Code != string(code) || p.Detail == "" ||
		m.Header.Get(queryservice.HeaderErrorCode) != string(code) || m.Header.Get(queryservice.HeaderError) != strings.ReplaceAll(p.Detail, "\n", " ") {
		t.Fatalf("the answer is %s with %v (%v), want the problem %s", m.Data, m.Header, err, code)
	}
	return p
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come true in time that %s", what)
		}
	}
}
