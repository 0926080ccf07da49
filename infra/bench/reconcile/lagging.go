package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
)

// lagging is another region: it reads the same log, always some seconds late, and writes beside the first one.
type lagging struct {
	reader *query.Reader
	stop   func() error

	mu                        sync.Mutex
	equal, different, unknown int
	least, most               uint64 // records behind
	wrong                     *reconcile.Verdict
}

// late yields records some seconds after they were stored, now more and now less.
type late struct{ events.Reader }

func (l late) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for list, err := range l.Reader.Read(ctx, r) {
			if n := len(list); err == nil && n > 0 {
				lag := time.Duration(2+rand.IntN(20)) * time.Second //nolint:gosec // any will do
				select {
				case <-time.After(time.Until(list[n-1].Time.Add(lag))):
				case <-ctx.Done():
				}
			}
			if !yield(list, err) {
				return
			}
		}
	}
}

// lag begins the other region, waits until it has built its read model, and compares the two all the time until stop is called.
func (p *proof) lagging(ctx context.Context) (*lagging, error) {
	store, err := redisstore.New(p.redis, redisstore.Options{Prefix: "late:"})
	if err != nil {
		return nil, err
	}
	kv := memstore.NewKV()
	worker, err := projector.New(p.proj, late{p.log}, store, kv, memstore.NewLeases(), projector.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = worker.Run(working) }) // returns nil
	l := &lagging{reader: query.New("late", store, kv, query.NewHeads(p.log)), least: ^uint64(0)}
	l.stop = func() error {
		cancel()
		tasks.Wait()
		pointer, _, err := projections.ReadPointer(ctx, kv, name)
		if err != nil {
			return err
		}
		return store.Drop(ctx, pointer.Live(name))
	}
	err = p.until(ctx, "the other region has its read model", func() (bool, error) {
		m, err := l.reader.Marks(ctx, name, query.MarksOptions{})
		return err == nil && len(m.Marks) > 0, nil // it comes
	})
	if err != nil {
		return nil, err
	}
	mine := query.New("here", p.store, p.kv, query.NewHeads(p.log))
	tasks.Go(func() {
		for working.Err() == nil {
			l.compare(working, mine)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-working.Done():
			}
		}
	})
	return l, nil
}

// compare compares the two once.
func (l *lagging) compare(ctx context.Context, mine *query.Reader) {
	a, err := mine.Marks(ctx, name, query.MarksOptions{})
	if err != nil {
		return
	}
	b, err := l.reader.Marks(ctx, name, query.MarksOptions{})
	if err != nil {
		return
	}
	v := reconcile.Compare([]reconcile.Standing{a.Standing, b.Standing})
	behind := projections.SequenceOf(a.Position) - min(projections.SequenceOf(b.Position), projections.SequenceOf(a.Position))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.least, l.most = min(l.least, behind), max(l.most, behind)
	switch v.Result {
	case reconcile.Equal:
		l.equal++
	case reconcile.Different:
		l.different++
		l.wrong = &v
	case reconcile.Unknown:
		l.unknown++
	}
}

// tell prints what comparing came to.
func (l *lagging) tell(t *table, documents int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.prove(l.equal > 0 && l.different == 0, "compared with a region that lags", "%d times %d documents at the same mark, %d to %d records behind: %d different, %d unknown",
		l.equal+l.different+l.unknown, documents, l.least, l.most, l.different, l.unknown)
	if l.wrong != nil {
		t.line("", "%s", fmt.Sprintf("%+v", *l.wrong))
	}
}

// beside examines the healthy read model once more while it is compared with a region that lags.
func (p *proof) beside(ctx context.Context) error {
	l, err := p.lagging(ctx)
	if err != nil {
		return err
	}
	documents, findings := uint64(0), 0
	for documents < p.c.comparison {
		r, _, _, err := p.examine(ctx, false)
		if err != nil {
			return err
		}
		documents += r.Documents
		findings += len(r.Findings) + len(r.Recount)
	}
	p.table.prove(findings == 0, "false alarms meanwhile", "%d in %d documents examined", findings, documents)
	l.tell(p.table, p.c.documents)
	return l.stop()
}
