package projector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// world is one region in memory: its log, its servers, and the projectors that a test starts and ends. It lives in a synctest bubble, so
// that waiting costs nothing.
type world struct {
	t       testing.TB
	kind    string
	log     *memlog.Log
	store   *memstore.Store
	kv      *memstore.KV
	leases  *memstore.Leases
	signals *memstore.Signals
	reader  *query.Reader
	logs    *logbook

	// What the projectors and the reader are given instead; a planted bug sits here.
	seenLog    events.Reader
	planLog    events.Reader // of plans; nil: the log
	seenStore  projections.Store
	seenKV     projections.KV
	seenLeases projections.Leases
	seenProj   func(projections.Projection) projections.Projection
	// newProjection makes the projections by kind and version.
	newProjection func(kind string, version int) (projections.Projection, error)

	peeking atomic.Int32 // how often the test itself looks at the KV now: no fault is meant for it

	version int
	earlier bool // projectors have the versions before at hand
	options projector.Options
	running []*running
	atEnd   []func()
	onWake  func(memstore.Call) // observes the store from when a sleeper wakes up
	oracles map[int]*oracle     // by version
	stored  int                 // events stored so far, which makes their ids
	marks   uint64              // marks stored so far
	repairs bool                // a repair was asked for
}

// running is a projector that runs.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// newWorld returns a region with an empty log.
func newWorld(t testing.TB, kind string) *world {
	t.Helper()
	w := &world{
		t: t, kind: kind, version: 1, store: memstore.New(), kv: memstore.NewKV(), leases: memstore.NewLeases(), logs: &logbook{}, signals: memstore.NewSignals(),
		log: memlog.New("us", memlog.Options{Lineage: "7f3a11d2"}), oracles: map[int]*oracle{},
		seenProj: func(p projections.Projection) projections.Projection { return p }, newProjection: newProjection,
	}
	w.seenLog, w.seenStore, w.seenKV, w.seenLeases = w.log, w.store, w.kv, w.leases
	w.options = projector.Options{Partitions: 3, RetireDelay: time.Second, Logger: slog.New(w.logs)}
	w.open()
	return w
}

// open makes the reader of queries.
func (w *world) open() {
	w.reader = query.New("us", w.seenStore, w.seenKV, query.NewHeads(w.seenLog)).Use(w.signals)
}

// start begins to run a projector of the world's version with the world's options.
func (w *world) start() *running {
	w.t.Helper()
	proj, err := w.newProjection(w.kind, w.version)
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.options
	for v := w.version - 1; v > 0 && w.earlier; v-- {
		before, err := newProjection(w.kind, v)
		if err != nil {
			w.t.Fatal(err)
		}
		o.Earlier = append(o.Earlier, projector.Version{Projection: w.seenProj(before), Log: w.seenLog})
	}
	p, err := projector.New(w.seenProj(proj), w.seenLog, w.seenStore, w.seenKV, w.seenLeases, o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		if err := p.Run(ctx); err != nil {
			w.t.Errorf("Run returned %v", err)
		}
	}()
	w.running = append(w.running, r)
	return r
}

// kill ends a projector and waits for its end.
func (w *world) kill(r *running) {
	w.t.Helper()
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		w.t.Fatal("Run did not return within a minute of its context's end")
	}
	for i := range w.running {
		if w.running[i] == r {
			w.running = append(w.running[:i:i], w.running[i+1:]...)
			return
		}
	}
}

// close ends everything.
func (w *world) close() {
	for _, f := range w.atEnd {
		f()
	}
	for len(w.running) > 0 {
		w.kill(w.running[0])
	}
	w.log.Close()
}

// oracle returns the oracle of a version, up to date with the log.
func (w *world) oracle(version int) *oracle {
	o := w.oracles[version]
	if o == nil {
		o = newOracle(w.kind, version)
		w.oracles[version] = o
	}
	o.repairs = w.repairs
	o.read(w.t, w.log)
	return o
}

// event returns the next event.
func (w *world) event(typ, entity, data string) events.Event {
	w.stored++
	e, err := events.ParseEntity(entity)
	if err != nil {
		w.t.Fatal(err)
	}
	return events.Event{ID: fmt.Sprint("e", w.stored), Source: "urn:test", Type: typ, Entity: e, Data: []byte(data)}
}

// append stores events as one transaction. A log that does not answer for good is made to answer.
func (w *world) append(list ...events.Event) events.Receipt {
	w.t.Helper()
	for i := range 20 {
		if i == 10 {
			w.log.Unreachable(0)
		}
		receipt, err := w.log.Append(context.Background(), events.Batch{Events: list})
		if err == nil {
			return receipt
		}
		if !errors.Is(err, events.ErrUnreachable) && !errors.Is(err, events.ErrUnknownOutcome) {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("the append never succeeded")
	return events.Receipt{}
}

// add appends n Added events, each alone, over a few accounts and tags.
func (w *world) add(n int) {
	w.t.Helper()
	for i := range n {
		w.append(w.event(added, fmt.Sprintf("%s/a%d", accountType, i%5), fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, i+1, i%3)))
	}
}

// mark appends a mark.
func (w *world) mark() {
	w.marks++
	w.rawMark(events.Mark{Time: time.Now().UTC(), Number: w.marks})
}

func (w *world) rawMark(mark events.Mark) {
	w.t.Helper()
	data, err := json.Marshal(mark)
	if err != nil {
		w.t.Fatal(err)
	}
	c := events.Control{Name: events.ControlMark, Data: data}
	m := events.EncodeControl("us", c, events.Stamp{Time: events.TimestampAt(time.Now()), Hash: c.ContentHash()})
	w.log.StoreRaw(m.Subject, m.Header, m.Data)
}

// fragment stores the first keep records of a transaction of count events, as a promotion after a cut would leave them.
func (w *world) fragment(count, keep int) { w.part(count, 1, keep) }

// part stores the records first to last of a transaction of count events.
func (w *world) part(count, first, last int) {
	w.t.Helper()
	for i := first; i <= last; i++ {
		e := w.event(added, fmt.Sprintf("%s/a%d", accountType, i), fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, 100+i, i%3))
		stamp := events.Stamp{
			Time: events.TimestampAt(time.Now()), Hash: e.ContentHash(),
			Tx: events.Tx{Index: uint16(i), Count: uint16(count)}, //nolint:gosec // small
		}
		m := events.EncodeEvent("us", &e, stamp)
		w.log.StoreRaw(m.Subject, m.Header, m.Data)
	}
}

// read reads a value of the KV, whatever is armed with failKV.
func (w *world) read(key string, into any) {
	w.t.Helper()
	w.peeking.Add(1)
	defer w.peeking.Add(-1)
	e, err := w.kv.Get(context.Background(), key)
	if errors.Is(err, projections.ErrNoKey) {
		return
	}
	if err == nil {
		err = json.Unmarshal(e.Value, into)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// failKV arms a fault of the KV that does not hit the test itself.
func (w *world) failKV(f memstore.Fault) {
	match := f.Match
	f.Match = func(c memstore.Call) bool {
		own := c.Op == memstore.OpKVGet && w.peeking.Load() > 0
		return !own && (match == nil || match(c))
	}
	w.kv.Fail(f)
}

// pointer returns the live pointer.
func (w *world) pointer() projections.Pointer {
	w.t.Helper()
	var p projections.Pointer
	w.read(projections.PointerKey(w.kind), &p)
	return p
}

// replay returns the replay, and status the projector's status.
func (w *world) replay() projections.Replay {
	w.t.Helper()
	var r projections.Replay
	w.read(projections.ReplayKey(w.kind), &r)
	return r
}

func (w *world) status() projections.Status {
	w.t.Helper()
	var s projections.Status
	w.read(projections.StatusKey(w.kind), &s)
	return s
}

func (w *world) live() projections.Generation { return w.pointer().Live(w.kind) }

// headers returns the headers of a generation as they are stored, whatever is armed.
func (w *world) headers(g projections.Generation) []projections.Header {
	w.t.Helper()
	copied := memstore.New()
	copied.Restore(w.store.Snapshot())
	h, err := copied.Headers(context.Background(), g)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// caughtUp returns nil when the live generation is of the version, complete and at the head, nothing is being replayed, and what it
// holds is right.
func (w *world) caughtUp(version int, edited edits) error {
	w.t.Helper()
	o, p, r := w.oracle(version), w.pointer(), w.replay()
	if p.Version != version {
		return fmt.Errorf("version %d is live, expected %d", p.Version, version)
	}
	if r.Running() {
		return fmt.Errorf("the replay is %s at %d of %d", r.State, r.Sequence, r.Head)
	}
	for _, h := range w.headers(p.Live(w.kind)) {
		if seq, ok := o.seqOf(h.Checkpoint); h.State != projections.Live || !ok || seq != o.head() {
			return fmt.Errorf("generation %d partition %d is %q at %s, expected live at %d", p.Generation, h.Partition, h.State, h.Checkpoint, o.head())
		}
	}
	return checkGeneration(w.t, w.store, p.Live(w.kind), o, edited)
}

// request asks for a replay and returns its id.
func (w *world) request() string {
	w.t.Helper()
	r, err := projections.RequestReplay(context.Background(), w.kv, w.kind, "test", time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return r.ID
}

// rebuild has the read model replayed and waits for the end.
func (w *world) rebuild() {
	w.t.Helper()
	id := w.request()
	w.until("the replay is done", func() bool { r := w.replay(); return r.ID == id && r.State == projections.ReplayDone })
}

// eventually waits until condition returns nil, at most a minute.
func (w *world) eventually(condition func() error) error {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for wait := time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		err := condition()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		pass(wait)
	}
}

// settle waits until the read model is right.
func (w *world) settle() {
	w.t.Helper()
	if err := w.eventually(func() error { return w.caughtUp(w.version, nil) }); err != nil {
		w.t.Fatalf("not right within a minute: %v; the projector is %+v", err, w.status())
	}
}

// until waits until ok.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	if err := w.eventually(func() error {
		if ok() {
			return nil
		}
		return errors.New("not yet")
	}); err != nil {
		w.t.Fatalf("%s: not within a minute; the projector is %+v", what, w.status())
	}
}

// pass lets time go by. Only a bubble's clock makes that free.
func pass(d time.Duration) { <-time.After(d) }

// logbook keeps the lines that are logged.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (b *logbook) Enabled(context.Context, slog.Level) bool { return true }

func (b *logbook) Handle(_ context.Context, r slog.Record) error {
	line := r.Time.Format("04:05.000 ") + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.Key + "=" + a.Value.String()
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, line)
	return nil
}

func (b *logbook) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b *logbook) WithGroup(string) slog.Handler      { return b }

// dump shows everything that was logged.
func (b *logbook) dump(t testing.TB) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		t.Log(line)
	}
}

// count returns how many lines hold a text.
func (b *logbook) count(text string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
