package clustertest_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/natskv"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// patience bounds every wait of a test; nothing waits that long when all is well.
const patience = 90 * time.Second

// region is everything of a region, on whatever servers a test gives it.
type region struct {
	t      testing.TB
	origin string
	log    *natslog.Log
	kv     projections.KV
	leases projections.Leases
	store  *redisstore.Store
	reader *query.Reader
}

// openRegion sets a region up.
func openRegion(t testing.TB, nc *nats.Conn, client redis.UniversalClient, origin string, replicas int, o natslog.Options) *region {
	t.Helper()
	ctx := t.Context()
	r := &region{t: t, origin: origin}
	cfg := natslog.Config{Origin: origin, Replicas: replicas}
	var err error
	must(t, natslog.Setup(ctx, nc, cfg))
	r.log, err = natslog.Open(ctx, nc, cfg, o)
	must(t, err)
	t.Cleanup(r.log.Close)
	r.kv, r.leases, err = natskv.Open(ctx, nc, natskv.Config{Bucket: "tidemark-" + origin, Create: true, Replicas: replicas, LeaseTTL: 3 * time.Second})
	must(t, err)
	r.store, err = redisstore.New(client, redisstore.Options{Prefix: "tm-" + origin + ":"})
	must(t, err)
	r.reader = query.New(origin, r.store, r.kv, query.NewHeads(r.log))
	return r
}

// project runs a projector until the end of the test, or until stop is called. Of several for one projection all but one wait for its lease.
func (r *region) project(p projections.Projection, holder string) (stop func()) {
	r.t.Helper()
	worker, err := projector.New(p, r.log, r.store, r.kv, r.leases, projector.Options{
		Partitions: 8, CheckInterval: 200 * time.Millisecond, RetireDelay: time.Second, Holder: holder,
	})
	must(r.t, err)
	return background(r.t, func(ctx context.Context) {
		if err := worker.Run(ctx); err != nil {
			r.t.Errorf("the projector returned %v", err)
		}
	})
}

// background runs f until the test is over, and waits for its end.
func background(t testing.TB, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { f(ctx) })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			done.Wait()
		})
	}
	t.Cleanup(stop)
	return stop
}

// The projection of these tests: what it holds tells a lost event, a doubled one, and two in the wrong order.
const (
	tallies    = "tallies"
	tallyType  = "tally"
	counted    = "Counted"
	chainPrime = 1_000_003
)

type tally struct {
	Count int64 `json:"count"`
	Last  int64 `json:"last"`
	Chain int64 `json:"chain"`
}

func projection(t testing.TB) projections.Projection {
	t.Helper()
	p, err := projections.New(tallies, 1, projections.On(tallyType, counted, func(d tally, e projections.Event[struct{ N int64 }]) (tally, error) {
		d.Count++
		d.Last = e.Data.N
		d.Chain = (31*d.Chain + e.Data.N + 1) % chainPrime
		return d, nil
	}))
	must(t, err)
	return p
}

func about(key string, n int) events.Event {
	return events.Event{
		ID: events.NewID(), Source: "urn:test", Type: counted, Entity: events.Entity{Type: tallyType, ID: key}, Data: fmt.Appendf(nil, `{"n":%d}`, n),
	}
}

// state is a document at one moment of the history.
type state struct {
	seq uint64
	doc tally
}

// history is what a read model must be at every position: folded from the log's records with plain maps.
type history struct {
	records map[uint64]events.Record
	states  map[string][]state // by key, in order
	head    uint64
}

// read reads the whole log.
func (r *region) read() history {
	r.t.Helper()
	h := history{records: make(map[uint64]events.Record), states: make(map[string][]state)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for records, err := range r.log.Read(ctx, events.Range{}) {
		must(r.t, err)
		for _, record := range records {
			if record.Sequence != h.head+1 {
				r.t.Fatalf("after sequence %d comes %d", h.head, record.Sequence)
			}
			h.head = record.Sequence
			h.records[h.head] = record
			if record.Kind != events.KindEvent {
				continue
			}
			text, _ := strings.CutPrefix(string(record.Event.Data), `{"n":`)
			n, err := strconv.ParseInt(strings.TrimSuffix(text, "}"), 10, 64)
			must(r.t, err)
			key := record.Event.Entity.ID
			doc, _ := h.at(key, h.head)
			h.states[key] = append(h.states[key], state{h.head, tally{Count: doc.Count + 1, Last: n, Chain: (doc.Chain*31 + 1 + n) % chainPrime}})
		}
	}
	return h
}

// at returns the document at a position, and whether there was one.
func (h history) at(key string, seq uint64) (tally, bool) {
	states := h.states[key]
	for i := len(states) - 1; i >= 0; i-- {
		if states[i].seq <= seq {
			return states[i].doc, true
		}
	}
	return tally{}, false
}

// equal waits until the whole read model is the fold of the whole log, and returns that.
func (r *region) equal() history {
	r.t.Helper()
	h := r.read()
	info, err := r.log.Info(r.t.Context())
	must(r.t, err)
	var page query.Page
	eventually(r.t, "the read model is at the head of the log", func() bool {
		page, err = r.reader.List(r.t.Context(), tallies, query.ListOptions{Options: query.Options{AtLeast: info.Position(h.head)}, Limit: query.MaxLimit})
		return err == nil
	})
	if len(page.Items) != len(h.states) || page.Next != "" {
		r.t.Errorf("the read model has %d documents, expected %d", len(page.Items), len(h.states))
	}
	for _, i := range page.Items {
		doc, err := projections.Decode[tally](i.Document.Fields, i.Document.Values)
		must(r.t, err)
		if want, _ := h.at(i.Key, h.head); doc != want {
			r.t.Errorf("%s is %+v, expected %+v", i.Key, doc, want)
		}
	}
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("after %s it is still not so: %s", patience, what)
		}
	}
}
