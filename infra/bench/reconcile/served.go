package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

// maxFirst bounds how long after it is live a read model has its first snapshot: it is looked each minute, and a mark is waited for.
const maxFirst = 3 * time.Minute

// snapshotComes runs the projector as a region does, and waits for the snapshot that it takes by itself.
func (p *proof) snapshotComes(ctx context.Context) error {
	kept, err := p.snapshots(ctx)
	if err != nil {
		return err
	}
	p.unfollow()
	began := time.Now()
	if err := p.follow(ctx, projector.Options{Snapshots: kept, Region: origin, SnapshotInterval: time.Hour}); err != nil {
		return err
	}
	var list []projections.Snapshot
	err = p.until(ctx, "the projector takes a snapshot by itself", func() (bool, error) {
		list, err = kept.List(ctx, name)
		return len(list) > 0, err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	p.table.prove(took <= maxFirst, "a snapshot comes by itself", "%s after the projector began, %d documents, %.0f bytes a document (at most %s)", seconds(took), list[0].Documents,
		float64(list[0].Bytes)/float64(max(list[0].Documents, 1)), maxFirst)
	p.kept = kept
	return nil
}

// bareLog is the yardstick of a pass over the log: the client library's consumer reads all of it, and nothing is done with what comes.
func (p *proof) bareLog(ctx context.Context) (time.Duration, error) {
	js, err := jetstream.New(p.nc)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	c, err := js.CreateConsumer(ctx, natslog.StreamName(origin), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
	if err != nil {
		return 0, err
	}
	left, done := c.CachedInfo().NumPending, make(chan struct{})
	reading, err := c.Consume(func(jetstream.Msg) {
		if left--; left == 0 {
			close(done)
		}
	}, jetstream.PullMaxMessages(10_000))
	if err != nil {
		return 0, err
	}
	defer reading.Stop()
	select {
	case <-done:
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// served damages so many of each group from one on in all of some ways at once, and leaves them to the reconciler as it runs by itself, within its budget: each has to be right again soon after it was met.
func (p *proof) served(ctx context.Context, each int, list []way, from int) error {
	d, err := p.newDamage(ctx)
	if err != nil {
		return err
	}
	if err := d.all(ctx, each, list, from); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	w := &watched{Store: p.store, want: d.want, met: map[projections.Ref]time.Time{}, mended: map[projections.Ref]time.Time{}, ended: make(chan struct{})}
	tasks.Go(func() { w.repairs(ctx, p.kv) })
	r := reconcile.NewReconciler(origin, p, w, p.kv, p.leases, reconcile.ReconcilerOptions{Snapshots: p.kept, Observer: w, Pause: time.Second}) // of which it would rest for ten minutes after the last scrub
	began := time.Now()
	tasks.Go(func() { _ = r.Run(ctx) }) // returns nil
	select {
	case <-w.ended:
	case <-time.After(patience):
		return fmt.Errorf("the reconciler was not done within %s", patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err = p.until(ctx, "the reconciler has written down what it did", func() (bool, error) {
		record, err := reconcile.ReadRecord(ctx, p.kv, name)
		return !record.Open, err
	})
	if err != nil {
		return err
	}
	cancel()
	tasks.Wait()
	if w.report == nil || w.err != nil {
		return fmt.Errorf("what the reconciler found was not repaired: %w", w.err)
	}
	got := findings(w.report)
	p.table.prove(maps.Equal(got, d.want), "found by the reconciler", "%d of %d, and %d others, in one scrub of %s", len(d.want)-missing(d.want, got), len(d.want), missing(got, d.want), seconds(w.report.Ended.Sub(began)))
	p.table.prove(w.outcome.Repaired >= len(d.refs()), "  repaired by it", "%d of %d documents", w.outcome.Repaired, len(d.refs()))
	waits, never := w.waits()
	if len(waits) == 0 {
		return fmt.Errorf("of no document it is known when it was met and repaired")
	}
	text := fmt.Sprintf("median %s, at most %s after the scrub met it", seconds(waits[len(waits)/2]), seconds(waits[len(waits)-1]))
	if p.c.rekey { // they are judged together, in the end
		p.table.line("  each of them", "%s", text)
	} else {
		p.table.prove(never == 0 && waits[len(waits)-1] <= maxMended, "  each of them", "%s (at most %s)", text, seconds(maxMended))
	}
	return p.audited(context.WithoutCancel(ctx), "  afterwards")
}

// all damages so many of each group from one on, each group in one way.
func (d *damage) all(ctx context.Context, each int, list []way, from int) error {
	for i, way := range list {
		if way.folded {
			way = list[0]
		}
		d.choose(from+i, each)
		if err := way.do(ctx, d); err != nil {
			return fmt.Errorf("%s: %w", way.what, err)
		}
	}
	return nil
}

// refs returns the documents that are damaged.
func (d *damage) refs() map[projections.Ref]bool {
	all := map[projections.Ref]bool{}
	for f := range d.want {
		all[projections.Ref{Partition: f.partition, Key: f.key}] = true
	}
	return all
}

// Names returns the projection's.
func (p *proof) Names(context.Context) ([]string, error) { return []string{name}, nil }

// Live returns the version that is live.
func (p *proof) Live(context.Context, string) (projector.Version, error) {
	return projector.Version{Projection: p.proj, Log: p.log}, nil
}

// watched is a store that says when a scrub met what is damaged, and an observer of what came of it.
type watched struct {
	projections.Store

	want map[finding]bool

	mu          sync.Mutex
	met, mended map[projections.Ref]time.Time
	report      *reconcile.Report // the first one
	outcome     reconcile.Outcome
	err         error
	ended       chan struct{}
}

// Page returns documents. One that is damaged is met with them, and one that is missing with the last of its partition.
func (w *watched) Page(ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int) (projections.Header, []projections.Document, error) {
	h, page, err := w.Store.Page(ctx, g, def, partition, after, limit)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range page {
		w.meet(projections.Ref{Partition: partition, Key: page[i].Key})
	}
	if err == nil && len(page) < limit {
		for f := range w.want {
			if f.partition == partition && f.kind == reconcile.KindMissing {
				w.meet(projections.Ref{Partition: partition, Key: f.key})
			}
		}
	}
	return h, page, err
}

// Strays yields names that are in no list.
func (w *watched) Strays(ctx context.Context, g projections.Generation, listed func(projections.Ref) bool) iter.Seq2[projections.Ref, error] {
	return func(yield func(projections.Ref, error) bool) {
		for ref, err := range w.Store.Strays(ctx, g, listed) {
			w.mu.Lock()
			w.meet(ref)
			w.mu.Unlock()
			if !yield(ref, err) {
				return
			}
		}
	}
}

func (w *watched) meet(ref projections.Ref) {
	if w.met[ref].IsZero() {
		w.met[ref] = time.Now()
	}
}

// repairs notes which documents the projector has repaired.
func (w *watched) repairs(ctx context.Context, kv projections.KV) {
	for e, err := range kv.Watch(ctx, projections.RepairKey(name)) {
		var job projections.Repair
		if err != nil || json.Unmarshal(e.Value, &job) != nil || job.State != projections.RepairDone {
			continue
		}
		w.mu.Lock()
		for i := range job.Documents {
			ref := projections.Ref{Partition: job.Documents[i].Partition, Key: job.Documents[i].Key}
			if w.mended[ref].IsZero() {
				w.mended[ref] = time.Now()
			}
		}
		w.mu.Unlock()
	}
}

// waits returns how long each document was wrong after it was met, sorted, and of how many that is not known.
func (w *watched) waits() (list []time.Duration, never int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.want {
		ref := projections.Ref{Partition: f.partition, Key: f.key}
		if w.met[ref].IsZero() || w.mended[ref].IsZero() {
			never++
			continue
		}
		list = append(list, w.mended[ref].Sub(w.met[ref]))
	}
	slices.Sort(list)
	return list, never
}

// Compared is not told: there is one region.
func (w *watched) Compared(*reconcile.Verdict) {}

// Examined is told of an examination.
func (w *watched) Examined(r *reconcile.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.report == nil {
		w.report = r
	}
}

// Mended is told what became of findings.
func (w *watched) Mended(_ string, out reconcile.Outcome, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.ended: // it was enough
	default:
		w.outcome, w.err = out, err
		close(w.ended)
	}
}
