package client_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// mesh is three regions with read models and query services. Each link goes through a wire that breaks on demand, and so does the way of clients to a region's servers.
type mesh struct {
	t     *testing.T
	names []string
	at    map[string]*side
}

// side is one region of a mesh.
type side struct {
	t      *testing.T
	config embedded.NATSConfig
	nats   *embedded.NATS
	region *region.Region
	wires  map[string]*netfault.Proxy // the links to other regions, by name
	front  *netfault.Proxy            // what clients connect to
	reader *query.Reader
	stop   func() // ends the query service
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, names: []string{"us", "eu", "ap"}, at: map[string]*side{}}
	for i, name := range m.names {
		s := &side{t: t, wires: map[string]*netfault.Proxy{}}
		dir, err := embedded.OpenDir(filepath.Join(natstest.StoreDir(t), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = dir.Close() })
		s.config = embedded.NATSConfig{Region: name, Dir: dir, LazySync: true, Origins: []string{"us"}, Peers: m.names[i+1:], Listen: natstest.FreeAddress(t), LinkListen: natstest.FreeAddress(t)}
		for _, earlier := range m.names[:i] {
			link := m.at[earlier].nats.LinkFor(name)
			wire := proxy(t, link.Address)
			link.Address = wire.Addr()
			s.config.Links = append(s.config.Links, link)
			s.wires[earlier], m.at[earlier].wires[name] = wire, wire
		}
		s.startNATS()
		t.Cleanup(func() { s.nats.Shutdown() })
		s.front = proxy(t, s.config.Listen)
		s.open("us")
		m.at[name] = s
	}
	return m
}

func (s *side) startNATS() {
	s.t.Helper()
	var err error
	if s.nats, err = embedded.StartNATS(s.t.Context(), s.config); err != nil {
		s.t.Fatal(err)
	}
}

// open opens the region with its projectors and its query service.
func (s *side) open(leader string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	r, err := region.Open(ctx, region.Config{
		Name: s.config.Region, Leader: leader, NATS: s.nats.URL(), User: s.nats.User(), Password: s.nats.Password(), Redis: embedded.ModeMini, Holder: "test",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.region = r
	s.reader = query.New(r.Name(), r.Store(), r.KV(), query.NewCopyHeads(r.Log(), r.Copy(), r.Head())).Use(r.Signals())
	all, err := flights.All()
	if err != nil {
		s.t.Fatal(err)
	}
	var working sync.WaitGroup
	for _, p := range all {
		worker, err := projector.New(p, r.Log(), r.Store(), r.KV(), r.Leases(), projector.Options{Signals: r.Signals()})
		if err != nil {
			s.t.Fatal(err)
		}
		working.Go(func() { _ = worker.Run(ctx) })
	}
	s.serve()
	s.t.Cleanup(func() {
		s.stop()
		cancel()
		working.Wait()
		_ = r.Close(context.Background()) // some of its servers may be gone
	})
}

// serve runs the query service until stop is called.
func (s *side) serve() {
	s.t.Helper()
	service, err := s.region.Queries(s.reader, queryservice.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the query service of %s: %v", s.config.Region, err)
		}
	})
}

func proxy(t testing.TB, target string) *netfault.Proxy {
	t.Helper()
	p, err := netfault.New(target, netfault.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// address returns a region as a client knows it; without its servers' address it is one that is reached over the links.
func (m *mesh) address(name string, known bool) region.Config {
	c := region.Config{Name: name, Leader: "us", Origin: "us"}
	if known {
		c.NATS, c.User, c.Password = "nats://"+m.at[name].front.Addr(), m.at[name].nats.User(), m.at[name].nats.Password()
	}
	return c
}

// traffic is events that are written at the leader and read by a client, which must never go back.
type traffic struct {
	t      *testing.T
	client *client.Regions
	ctx    context.Context //nolint:containedctx // of one test
	stop   context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex
	written int64
	reads   map[string]int // by region
	broken  []string       // what should not have been
	failed  int            // reads that had no answer
	last    int64
}

const counted = "own"

// drive begins to write and to read.
func (m *mesh) drive(t *testing.T, c *client.Regions) *traffic {
	t.Helper()
	x := look(t, c)
	x.all.Go(func() { x.write(x.ctx, m.at["us"].region.Log()) })
	return x
}

// look begins to read.
func look(t *testing.T, c *client.Regions) *traffic {
	t.Helper()
	x := &traffic{t: t, client: c, reads: map[string]int{}}
	x.ctx, x.stop = context.WithCancel(t.Context())
	x.all.Go(func() { x.read(x.ctx) })
	t.Cleanup(x.end)
	return x
}

func (x *traffic) end() {
	x.stop()
	x.all.Wait()
}

// write counts departures up, a hundred a second at most.
func (x *traffic) write(ctx context.Context, log events.Log) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		e := events.Event{
			ID: fmt.Sprint("departure-", i), Source: "urn:test", Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: counted}, Data: []byte(`{}`),
		}
		for ctx.Err() == nil {
			if _, err := log.Append(ctx, events.One(e, events.ExpectAny())); err == nil {
				x.mu.Lock()
				x.written++
				x.mu.Unlock()
				break
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// read reads the count again and again.
func (x *traffic) read(ctx context.Context) {
	var at events.Position
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		a, err := x.client.Get(ctx, "airports", counted, query.Options{})
		x.mu.Lock()
		text, _ := a.Document.Field("departures")
		var n int64
		_, _ = fmt.Sscan(text, &n)
		point, _ := a.Position.Point("us")
		before, _ := at.Point("us")
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil && at.IsZero(): // nothing was written yet
		case err != nil:
			x.failed++
			x.broken = append(x.broken, fmt.Sprintf("a read failed: %v", err))
		case n < x.last || point.Sequence < before.Sequence:
			x.broken = append(x.broken, fmt.Sprintf("%s answered %d at %s after %d at %s", a.Region, n, a.Position, x.last, at))
		default:
			x.reads[a.Region]++
			x.last, at = n, a.Position
		}
		x.mu.Unlock()
	}
}

// from waits until reads come from a region, and go forward there.
func (x *traffic) from(name string) {
	x.t.Helper()
	x.mu.Lock()
	reads, last := x.reads[name], x.last
	x.mu.Unlock()
	eventually(x.t, "reads come from "+name, func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.reads[name] > reads+20 && x.last > last
	})
}

// check stops the traffic and looks at what went wrong.
func (x *traffic) check() {
	x.t.Helper()
	x.end()
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, what := range x.broken {
		if i < 10 {
			x.t.Error(what)
		}
	}
	x.t.Logf("%d events written, reads by region %v, %d failed, %d wrong", x.written, x.reads, x.failed, len(x.broken))
}

func departed(entity string) events.Event {
	return events.Event{Type: flights.Departed, Source: "urn:test", Entity: events.Entity{Type: flights.AirportType, ID: entity}, Data: []byte(`{}`)}
}

func expectAny() events.Expectation { return events.ExpectAny() }

// publishes publishes with a client, and reads it back at once.
func publishes(t *testing.T, c *client.Regions, n int64) {
	t.Helper()
	own := events.NewID()
	for i := range n {
		receipt, err := c.Publish(t.Context(), departed(own), expectAny())
		if err != nil {
			t.Fatal(err)
		}
		got, answer, err := client.Get[flights.Airport](t.Context(), c, "airports", own, query.Options{})
		if err != nil || got.Departures != i+1 || answer.Region != c.Names()[0] {
			t.Errorf("a strict session does not see its own write at %s: %+v from %s, %v", receipt.Position, got, answer.Region, err)
		}
		if held, err := c.Confirm(t.Context(), receipt.Position, 2); err != nil || len(held) < 2 {
			t.Errorf("%v hold it, %v", held, err)
		}
	}
}
