package runner_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/runner"
)

// place is one region in memory, in a synctest bubble.
type place struct {
	t      *testing.T
	log    *memlog.Log
	store  *memstore.Store
	kv     *memstore.KV
	leases *memstore.Leases
	reader *query.Reader
	logged *lines
	stored int
	stops  []func()
	cancel func() // tells the runner that was started last to end, and does not wait
}

// inPlace runs a test with a region.
func inPlace(t *testing.T, test func(p *place)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{Lineage: "7f3a11d2"})
		p := newPlace(t, log)
		defer func() { // also after a failure: the bubble wants every goroutine ended
			p.store.Observe(nil)
			for _, stop := range p.stops {
				stop()
			}
			log.Close()
		}()
		test(p)
	})
}

func newPlace(t *testing.T, log *memlog.Log) *place {
	p := &place{t: t, log: log, store: memstore.New(), kv: memstore.NewKV(), leases: memstore.NewLeases(), logged: &lines{}}
	p.reader = query.New("us", p.store, p.kv, query.NewHeads(log))
	return p
}

// run runs a runner until the test ends, or what it returns is called.
func (p *place) run(own ...projections.Projection) (stop func()) {
	p.t.Helper()
	return p.runOn(p.log, own...)
}

func (p *place) runOn(log events.Log, own ...projections.Projection) (stop func()) {
	p.t.Helper()
	o := runner.Options{Projector: projector.Options{
		Partitions: 3, EvenInterval: time.Millisecond, CheckInterval: 50 * time.Millisecond, RetireDelay: time.Second, Logger: slog.New(slog.NewTextHandler(p.logged, nil)),
	}}
	r, err := runner.New(own, log, p.store, p.kv, p.leases, o)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			p.t.Errorf("Run returned %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(time.Minute):
			p.t.Error("Run did not return within a minute")
		}
	})
	p.stops = append(p.stops, stop)
	return stop
}

// file is a projection that counts events of a type by entity: every version counts by as much as its number.
func file(name string, version int) string {
	return fmt.Sprintf("projection: %s\nversion: %d\nfields: {n: int}\non: [{event: E, do: [{add: {n: %d}}]}]\n", name, version, version)
}

// change makes a change of the catalog that must succeed.
func (p *place) change(do func(catalog.Catalog) (catalog.Decision, error)) catalog.Done {
	p.t.Helper()
	done, err := catalog.Change(context.Background(), p.log, nil, do)
	if err != nil {
		p.t.Fatal(err)
	}
	return done
}

func (p *place) apply(text string) catalog.Done {
	p.t.Helper()
	proj := parse(p.t, text)
	return p.change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(proj.Definition(), []byte(text)) })
}

func (p *place) pause(name string) {
	p.t.Helper()
	p.change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Pause(name) })
}

func (p *place) resume(name string) {
	p.t.Helper()
	p.change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Resume(name) })
}

func (p *place) remove(name string) {
	p.t.Helper()
	p.change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Remove(name) })
}

func parse(t *testing.T, text string) *declared.Projection {
	t.Helper()
	proj, _, err := declared.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return proj
}

// compiled is a projection in Go.
func compiled(t *testing.T, name string, version int) projections.Projection {
	t.Helper()
	type doc struct{ N int64 }
	p, err := projections.New(name, version, projections.On("x", "E", func(d doc, _ projections.Event[struct{}]) (doc, error) {
		d.N += int64(version)
		return d, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// add appends n events about a few entities and returns the position of the last.
func (p *place) add(n int) events.Position {
	p.t.Helper()
	var at events.Position
	for range n {
		p.stored++
		e := events.Event{ID: fmt.Sprint("e", p.stored), Source: "urn:test", Type: "E", Entity: events.Entity{Type: "x", ID: fmt.Sprint("k", p.stored%7)}, Data: []byte(`{}`)}
		r, err := p.log.Append(context.Background(), events.One(e, events.ExpectAny()))
		if err != nil {
			p.t.Fatal(err)
		}
		at = r.Position
	}
	return at
}

// until waits a bounded time until ok.
func (p *place) until(what string, ok func() bool) {
	p.t.Helper()
	for wait, end := time.Millisecond, time.Now().Add(2*time.Minute); !ok(); wait = min(2*wait, 100*time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("it did not come true in two minutes that %s; logged:\n%s", what, p.logged)
		}
		<-time.After(wait)
	}
}

// equals waits until a read model is of a version, stands at the head, and equals the fold of the log.
func (p *place) equals(proj projections.Projection) {
	p.t.Helper()
	def := proj.Definition()
	p.until(fmt.Sprintf("version %d of %s is level", def.Version, def.Name), func() bool {
		info, err := p.log.Info(context.Background())
		if err != nil {
			p.t.Fatal(err)
		}
		page, err := p.reader.List(context.Background(), def.Name, query.ListOptions{Options: query.Options{AtLeast: info.Head()}, Limit: query.MaxLimit})
		if err != nil {
			return false
		}
		pointer := p.pointer(def.Name)
		if pointer.Version != def.Version || pointer.Definition != def.Fingerprint() || pointer.Generation != page.Generation {
			return false
		}
		want := declared.Fold(proj, p.records())
		if len(page.Items) != len(want.Documents) {
			p.t.Fatalf("%s has %d documents, want %d", def.Name, len(page.Items), len(want.Documents))
		}
		for i, d := range want.Documents {
			if got := page.Items[i]; got.Key != d.Key || !slices.Equal(got.Document.Values, d.Values) || got.Parked != "" != (d.Parked != "") {
				p.t.Fatalf("%s has %+v, want %+v", def.Name, got, d)
			}
		}
		return true
	})
}

// records returns every record of the log.
func (p *place) records() iter.Seq[*events.Record] {
	return func(yield func(*events.Record) bool) {
		for list, err := range p.log.Read(context.Background(), events.Range{}) {
			if err != nil {
				p.t.Fatal(err)
			}
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

func (p *place) pointer(name string) projections.Pointer {
	p.t.Helper()
	pointer, _, err := projections.ReadPointer(context.Background(), p.kv, name)
	if err != nil {
		p.t.Fatal(err)
	}
	return pointer
}

// model returns how a read model does; false when the region says nothing about it.
func (p *place) model(name string) (query.ModelStatus, bool) {
	p.t.Helper()
	o, err := p.reader.Overview(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	i := slices.IndexFunc(o.Projections, func(m query.ModelStatus) bool { return m.Name == name })
	if i < 0 {
		return query.ModelStatus{}, false
	}
	return o.Projections[i], true
}

// says waits until the projector of a projection says so.
func (p *place) says(name string, state projections.ProjectorState, code events.Code) query.ModelStatus {
	p.t.Helper()
	var m query.ModelStatus
	p.until(fmt.Sprintf("the projector of %s says %s %s", name, state, code), func() bool {
		m, _ = p.model(name)
		return m.Projector == state && m.Code == string(code)
	})
	return m
}

// gone waits until the region has nothing of a projection: no key of it, and nothing in the store in any of its generations.
func (p *place) gone(name string, generations uint32) {
	p.t.Helper()
	p.until(name+" is gone", func() bool {
		keys, err := p.kv.Keys(context.Background(), "")
		if err != nil {
			p.t.Fatal(err)
		}
		return !slices.ContainsFunc(keys, func(k string) bool { return strings.HasSuffix(k, "."+name) && !strings.HasPrefix(k, "gone.") })
	})
	for number := range generations {
		headers, err := p.store.Headers(context.Background(), projections.Generation{Projection: name, Number: number + 1, Partitions: 3})
		if err != nil {
			p.t.Fatal(err)
		}
		for _, h := range headers {
			if h.State != projections.Absent {
				p.t.Errorf("partition %d of generation %d of %s is still there", h.Partition, number+1, name)
			}
		}
	}
	if _, err := p.reader.Get(context.Background(), name, "k1", query.Options{}); !errors.Is(err, projections.ErrUnknownProjection) {
		p.t.Errorf("a query of %s is answered %v", name, err)
	}
	if _, there := p.model(name); there {
		p.t.Errorf("the overview has %s", name)
	}
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count(s string) int { return strings.Count(l.String(), s) }
