package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// patience bounds every wait.
const patience = 20 * time.Second

func newTelemetry(t *testing.T, tracer trace.TracerProvider) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(telemetry.Options{Service: "up", Region: "us", Version: "1.2.3", Tracer: tracer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := tel.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tel
}

// sample is one line of a scrape.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// scrape is what a Telemetry shows at one moment.
type scrape struct {
	t       *testing.T
	types   map[string]string // of each metric of ours
	samples []sample
}

var (
	line  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)
	label = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"`)
)

func scraped(t *testing.T, tel *telemetry.Telemetry) *scrape {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("the scrape was answered with %d: %s", w.Code, w.Body)
	}
	s := &scrape{t: t, types: map[string]string{}}
	for text := range strings.Lines(w.Body.String()) {
		text = strings.TrimSuffix(text, "\n")
		if rest, ok := strings.CutPrefix(text, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			s.types[name] = kind
		}
		if strings.HasPrefix(text, "#") {
			continue
		}
		found := line.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the line %q cannot be read", text)
		}
		value, err := strconv.ParseFloat(found[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		labels := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(found[2], -1) {
			labels[l[1]] = l[2]
		}
		s.samples = append(s.samples, sample{found[1], labels, value})
	}
	return s
}

// values returns the values of a metric's samples with the given labels, in pairs.
func (s *scrape) values(name string, pairs ...string) (out []float64) {
	for _, x := range s.samples {
		if x.name != name {
			continue
		}
		fits := true
		for i := 0; i < len(pairs); i += 2 {
			fits = fits && x.labels[pairs[i]] == pairs[i+1]
		}
		if fits {
			out = append(out, x.value)
		}
	}
	return out
}

// is fails unless there is exactly one such sample with that value.
func (s *scrape) is(want float64, name string, pairs ...string) {
	s.t.Helper()
	if got := s.values(name, pairs...); !slices.Equal(got, []float64{want}) {
		s.t.Errorf("%s%v is %v, expected %v", name, pairs, got, want)
	}
}

// missing fails when there is such a sample.
func (s *scrape) missing(name string, pairs ...string) {
	s.t.Helper()
	if got := s.values(name, pairs...); len(got) != 0 {
		s.t.Errorf("%s%v is %v, expected no sample", name, pairs, got)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; !ok(); wait = min(2*wait, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(wait)
	}
}

// The projection of these tests counts deposits, and panics at one of 13.
type account struct {
	Sum int64 `json:"sum"`
}

type deposit struct {
	N int64 `json:"n"`
}

func accounts(t *testing.T) projections.Projection {
	t.Helper()
	p, err := projections.New("accounts", 1, projections.On("account", "Deposited", func(a account, e projections.Event[deposit]) (account, error) {
		if e.Data.N == 13 {
			panic("thirteen")
		}
		a.Sum += e.Data.N
		return a, nil
	}), projections.On("account", "Closed", func(a account, _ projections.Event[deposit]) (account, error) { return a, projections.Delete }))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func deposited(id, n int) events.Event {
	return events.Event{
		ID: fmt.Sprint(id), Source: "urn:test", Type: "Deposited", Entity: events.Entity{Type: "account", ID: fmt.Sprint("a", id%3)},
		Data: []byte(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

// world is a region in memory with a projector that is observed.
type world struct {
	log    *memlog.Log
	store  *memstore.Store
	kv     *memstore.KV
	leases *memstore.Leases
	end    func()
}

func newWorld() *world {
	return &world{log: memlog.New("us", memlog.Options{}), store: memstore.New(), kv: memstore.NewKV(), leases: memstore.NewLeases(), end: func() {}}
}

// project runs a projector until end is called.
func (w *world) project(t *testing.T, log events.Reader, o projector.Observer) {
	t.Helper()
	p, err := projector.New(accounts(t), log, w.store, w.kv, w.leases, projector.Options{Partitions: 2, Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.end = func() {}
	}
}
