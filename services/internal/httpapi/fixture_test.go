package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

const host = "127.0.0.1:7070"

// fixture is a region in memory with the projections of the flights, and the API on it.
type fixture struct {
	log   *memlog.Log
	store *memstore.Store
	kv    *memstore.KV
	api   *httpapi.API
	seen  map[string]bool // resource, method and status of every answer

	stopProjectors func()
}

func newFixture(t *testing.T, o httpapi.Options) *fixture {
	t.Helper()
	f := &fixture{
		log: memlog.New("us", memlog.Options{Lineage: "abcd"}), store: memstore.New(), kv: memstore.NewKV(), seen: map[string]bool{},
	}
	t.Cleanup(f.log.Close)
	leases := memstore.NewLeases()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	f.stopProjectors = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(f.stopProjectors)
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
	if o.Address == nil {
		o.Address = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7070}
	}
	o.Projections = []string{"airports", "routes"}
	f.api = httpapi.New(f.log, query.New("us", f.store, f.kv, query.NewHeads(f.log)), o)
	eventually(t, "the service is ready", func() bool { return f.get(t, "/readyz").Code == http.StatusOK })
	return f
}

// eventually waits a bounded time until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
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

func (f *fixture) do(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	if r.Host == "example.com" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	documented(t, f.seen, r, w.Code)
	return w
}

func (f *fixture) get(t *testing.T, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	set(r, headers)
	return f.do(t, r)
}

func (f *fixture) post(t *testing.T, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	return f.to(t, "/v1/events", body, headers...)
}

func (f *fixture) to(t *testing.T, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	set(r, headers)
	return f.do(t, r)
}

func set(r *http.Request, headers []string) {
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
}

// departed returns the headers of an event in the binary mode.
func departed(id string, more ...string) []string {
	return append([]string{
		"Content-Type", "application/json", "ce-specversion", "1.0", "ce-id", id, "ce-source", "urn:test", "ce-type", flights.Departed, "ce-subject", "airport/ORD",
	}, more...)
}

const flight = `{"date":"2001/01/01 00:47","delay":66,"distance":1750,"origin":"ORD","destination":"LAS"}`

func structured(id, more string) string {
	return `{"specversion":"1.0","id":"` + id + `","source":"urn:test","type":"FlightDeparted","subject":"airport/ORD"` + more + `}`
}

func (f *fixture) head(t *testing.T) uint64 {
	t.Helper()
	info, err := f.log.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Last
}

func (f *fixture) record(t *testing.T, seq uint64) events.Record {
	t.Helper()
	r, err := f.log.Record(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func status(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Fatalf("the status is %d, want %d: %s", w.Code, want, w.Body)
	}
}

func problem(t *testing.T, w *httptest.ResponseRecorder, want int, code events.Code) failure.Problem {
	t.Helper()
	status(t, w, want)
	var p failure.Problem
	decode(t, w.Body, &p)
	if p.Code != string(code) || w.Header().Get("Content-Type") != failure.ProblemType || p.Status != want || p.Detail == "" || p.Title == "" {
		t.Fatalf("the problem is %+v, want the code %s", p, code)
	}
	return p
}

func decode(t *testing.T, r io.Reader, into any) {
	t.Helper()
	if err := json.NewDecoder(r).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// compiledIn returns the definition of the airports, as a program enters it in the catalog.
func compiledIn(t *testing.T) []*projections.Definition {
	t.Helper()
	p, err := flights.Airports()
	if err != nil {
		t.Fatal(err)
	}
	return []*projections.Definition{p.Definition()}
}
