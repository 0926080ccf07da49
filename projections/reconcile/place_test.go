package reconcile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/projections/snapshots"
)

// account is the document that the tests' projections fold.
type account struct {
	Sum     int64  `json:"sum"`
	Chain   int64  `json:"chain"` // depends on the order of events
	Note    string `json:"note"`
	Expires string `json:"expires"`
}

// change is what an event says.
type change struct {
	N    int64  `json:"n"`
	Tag  string `json:"tag"`
	Stay int64  `json:"stay"` // seconds until the document expires; 0: never
	At   string `json:"at"`
}

func folded(a account, e projections.Event[change]) (account, error) {
	if e.Data.N < 0 {
		return a, events.Errorf("negative", "it takes %d", e.Data.N)
	}
	a.Sum, a.Chain, a.Note, a.Expires = a.Sum+e.Data.N, (a.Chain*31+e.Data.N)%1_000_003, e.Data.Tag, ""
	if e.Data.Stay != 0 {
		at, err := time.Parse(time.RFC3339Nano, e.Data.At)
		if err != nil {
			return a, err
		}
		a.Expires, _ = projections.FormatExpiry(at.Add(time.Duration(e.Data.Stay) * time.Second))
	}
	return a, nil
}

// kinds are the projections: keyed by entity, keyed anew, and with documents that expire.
func kinds() []string { return []string{"accounts", "tags", "guests"} }

func newProjection(t testing.TB, kind string) projections.Projection {
	t.Helper()
	on := []projections.Handler[account]{
		projections.On("acct", "Changed", folded),
		projections.On("acct", "Closed", func(a account, _ projections.Event[change]) (account, error) { return a, projections.Delete }),
	}
	if kind == "tags" {
		on = []projections.Handler[account]{projections.OnKey("acct", "Changed", func(e projections.Event[change]) string { return e.Data.Tag }, folded)}
	}
	p, err := projections.New(kind, 1, on...)
	if err == nil {
		p, err = p.Indexed(projections.Index{Name: "by_sum", Fields: []string{"sum"}}, projections.Index{Name: "by_note", Fields: []string{"note", "sum"}})
	}
	if err == nil && kind == "guests" {
		p, err = p.ExpiresBy("expires")
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// place is one region in memory, in a synctest bubble.
type place struct {
	t      testing.TB
	kind   string
	proj   projections.Projection
	log    *memlog.Log
	store  *memstore.Store
	kv     *memstore.KV
	leases *memstore.Leases
	rand   *rand.Rand
	marks  uint64
	events int
	stop   func()

	// What the projector is given instead; a planted bug sits here.
	seenProj  projections.Projection
	seenLog   events.Reader
	seenStore projections.Store
	cache     int // documents that the projector keeps in memory; 0: all
	kept      *memstore.Snapshots
	fixed     atomic.Bool // the bug is gone
}

// inPlace runs a test in a region whose projector follows a log of some events.
func inPlace(t *testing.T, kind string, seed uint64, plant func(*place), test func(*place)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &place{
			t: t, kind: kind, proj: newProjection(t, kind), log: memlog.New("us", memlog.Options{Lineage: "7f3a11d2"}), store: memstore.New(), kv: memstore.NewKV(), leases: memstore.NewLeases(), kept: memstore.NewSnapshots(),
			rand: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // the seed must give the same run again
		}
		defer p.log.Close()
		p.seenProj, p.seenLog, p.seenStore = p.proj, p.log, p.store
		if plant != nil {
			plant(p)
		}
		p.start()
		defer func() { p.stop() }()
		test(p)
	})
}

func (p *place) start() {
	w, err := projector.New(p.seenProj, p.seenLog, p.seenStore, p.kv, p.leases, projector.Options{Partitions: 4, RetireDelay: time.Second, CacheDocuments: p.cache, Snapshots: p.kept, Region: "us", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx) // returns nil
	}()
	p.stop = func() {
		cancel()
		<-done
	}
}

// add appends events, some of them as transactions.
func (p *place) add(n int) {
	p.t.Helper()
	for range n {
		var list []events.Event
		for range 1 + p.rand.IntN(2) {
			p.events++
			c := change{N: int64(p.rand.IntN(50)), Tag: fmt.Sprintf("t%d", p.rand.IntN(30)), At: time.Now().UTC().Format(time.RFC3339Nano)}
			if p.rand.IntN(40) == 0 {
				c.N = -1
			}
			if p.rand.IntN(4) == 0 {
				c.Stay = int64(1 + p.rand.IntN(60))
			}
			data, err := json.Marshal(c)
			if err != nil {
				p.t.Fatal(err)
			}
			typ := "Changed"
			if p.rand.IntN(25) == 0 {
				typ = "Closed"
			}
			list = append(list, events.Event{
				ID: fmt.Sprint("e", p.events), Source: "urn:test", Type: typ, Entity: events.Entity{Type: "acct", ID: fmt.Sprintf("a%d", p.rand.IntN(40))}, Data: data,
			})
		}
		if _, err := p.log.Append(context.Background(), events.Batch{Events: list}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// fill makes n documents, one event each.
func (p *place) fill(n int) {
	p.t.Helper()
	for i := 0; i < n; {
		var list []events.Event
		for ; i < n && len(list) < 500; i++ {
			list = append(list, events.Event{
				ID: fmt.Sprint("f", i), Source: "urn:test", Type: "Changed", Entity: events.Entity{Type: "acct", ID: fmt.Sprintf("m%05d", i)}, Data: fmt.Appendf(nil, `{"n":%d,"tag":"t"}`, i),
			})
		}
		if _, err := p.log.Append(context.Background(), events.Batch{Events: list}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// mark appends a mark.
func (p *place) mark() {
	p.t.Helper()
	p.marks++
	data, err := json.Marshal(events.Mark{Time: time.Now().UTC(), Number: p.marks})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.log.Append(context.Background(), events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: events.ControlMark, Data: data}}}}); err != nil {
		p.t.Fatal(err)
	}
}

// snapshot takes a snapshot at a mark that comes now.
func (p *place) snapshot() (s projections.Snapshot) {
	p.t.Helper()
	asked, err := projections.RequestSnapshot(context.Background(), p.kv, p.kind, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	pass(time.Second)
	p.mark()
	p.until("a snapshot is taken", func() bool {
		job, _, err := projections.ReadJSON[projections.SnapshotJob](context.Background(), p.kv, projections.SnapshotKey(p.kind))
		if err != nil {
			p.t.Fatal(err)
		}
		if job.ID != asked.ID || job.State != projections.SnapshotDone {
			return false
		}
		s = *job.Snapshot
		return true
	})
	return s
}

// without returns snapshots of which the only one lacks some documents, and fits together all the same: as one that was taken of a read model that lost these.
func (p *place) without(s projections.Snapshot, keys map[string]reconcile.Kind) *memstore.Snapshots {
	p.t.Helper()
	must := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	ctx, def := context.Background(), p.proj.Definition()
	body, err := p.kept.Open(ctx, p.kind, s.ID)
	must(err)
	defer body.Close()
	r, err := snapshots.NewReader(body, def)
	must(err)
	defer r.Close()
	var headers []projections.Header
	docs := map[int][]projections.Document{}
	hasher := projections.NewHasher(def)
	for {
		h, d, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		if h != nil {
			empty := *h
			empty.Documents, empty.Parked, empty.Digest = 0, 0, projections.Digest{}
			headers = append(headers, empty)
			continue
		}
		if _, lost := keys[d.Key]; lost {
			continue
		}
		last := &headers[len(headers)-1]
		docs[last.Partition] = append(docs[last.Partition], *d)
		last.Documents, last.Digest = last.Documents+1, last.Digest.Add(hasher.Stored(d))
		if d.Parked != "" {
			last.Parked++
		}
	}
	digest, documents, _ := projections.Sum(headers)
	s.ID, s.Digest, s.Documents = events.NewID(), digest.String(), documents
	var content bytes.Buffer
	w, err := snapshots.NewWriter(&content, s, def)
	must(err)
	for _, h := range headers {
		must(w.Partition(h))
		for i := range docs[h.Partition] {
			must(w.Document(&docs[h.Partition][i]))
		}
	}
	must(w.Close())
	kept := memstore.NewSnapshots()
	_, err = kept.Put(ctx, s, &content)
	must(err)
	return kept
}

func (p *place) gen() projections.Generation {
	p.t.Helper()
	pointer, _, err := projections.ReadPointer(context.Background(), p.kv, p.kind)
	if err != nil {
		p.t.Fatal(err)
	}
	return pointer.Live(p.kind)
}

// settle waits until all partitions are at the head.
func (p *place) settle() {
	p.t.Helper()
	info, err := p.log.Info(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	for range 600 {
		headers, err := p.store.Headers(context.Background(), p.gen())
		if err != nil {
			p.t.Fatal(err)
		}
		level := len(headers) > 0
		for i := range headers {
			level = level && headers[i].State == projections.Live && projections.SequenceOf(headers[i].Checkpoint) == info.Last
		}
		if level {
			return
		}
		pass(100 * time.Millisecond)
	}
	p.t.Fatal("the projector did not come to the head within a minute")
}

// pass lets time go by. Only a bubble's clock makes that free.
func pass(d time.Duration) { <-time.After(d) }

func (p *place) examine(o reconcile.Options) *reconcile.Report {
	p.t.Helper()
	o.Budget = 1
	r, err := reconcile.Examine(context.Background(), "us", projector.Version{Projection: p.proj, Log: p.log}, p.store, p.kv, o)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// repair executes the plan of a report.
func (p *place) repair(r *reconcile.Report) reconcile.Outcome {
	p.t.Helper()
	plan := r.Plan(0)
	out, err := reconcile.Execute(context.Background(), p.kv, &plan, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// refs returns the documents that are stored, in order.
func (p *place) refs() (list []projections.Ref) {
	p.t.Helper()
	gen := p.gen()
	for i := range gen.Partitions {
		_, docs, err := p.store.Page(context.Background(), gen, p.proj.Definition(), i, "", 10_000)
		if err != nil {
			p.t.Fatal(err)
		}
		for j := range docs {
			list = append(list, projections.Ref{Partition: i, Key: docs[j].Key})
		}
	}
	return list
}
