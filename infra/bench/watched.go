package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

const (
	watchPause    = 30 * time.Millisecond // between two events: the watch is idle each time
	watchedEvents = 300
	idleWatches   = 200
	idleFor       = 5 * time.Second
)

// reading is a store that counts the calls of readers.
type reading struct {
	projections.Store
	mu    sync.Mutex
	calls map[string]int
}

func (s *reading) count(op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[op]++
}

func (s *reading) Headers(ctx context.Context, g projections.Generation) ([]projections.Header, error) {
	s.count("headers")
	return s.Store.Headers(ctx, g)
}

func (s *reading) Changes(ctx context.Context, g projections.Generation, partition int, after uint64, limit int) (projections.Header, []projections.Change, uint64, error) {
	s.count("changes")
	return s.Store.Changes(ctx, g, partition, after, limit)
}

// watched measures how long after an append was acknowledged a watch tells it, and what watches cost while nothing happens.
func watched(ctx context.Context, r *region.Region, out io.Writer) error {
	p, err := inGo()
	if err != nil {
		return err
	}
	worker, err := projector.New(p, r.Log(), r.Store(), r.KV(), r.Leases(), projector.Options{Signals: r.Signals()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	store := &reading{Store: r.Store(), calls: map[string]int{}}
	reader := query.New(r.Name(), store, r.KV(), query.NewHeads(r.Log())).Use(r.Signals())
	took, err := told(ctx, r, reader)
	if err == nil {
		err = idle(ctx, reader, store, took, out)
	}
	cancel()
	if ended := <-done; err == nil {
		err = ended
	}
	return err
}

// told returns how long after each acknowledgement a watch that was idle told of it.
func told(ctx context.Context, r *region.Region, reader *query.Reader) ([]time.Duration, error) {
	next, stop := iter.Pull2(reader.Watch(ctx, "accounts", query.WatchOptions{}))
	defer stop()
	if _, err, _ := next(); err != nil {
		return nil, err
	}
	var took []time.Duration
	for i := range watchedEvents {
		e := events.Event{
			ID: events.NewID(), Source: "urn:bench", Type: "Booked", Entity: events.Entity{Type: "account", ID: strconv.Itoa(i % visibleEntities)},
			Data: fmt.Appendf(nil, `{"at":%d,"amount":%d,"city":"x"}`, i, i),
		}
		if _, err := r.Log().Append(ctx, events.One(e, events.ExpectAny())); err != nil {
			return nil, err
		}
		acknowledged := time.Now()
		for seen := false; !seen; {
			u, err, _ := next()
			if err != nil {
				return nil, err
			}
			seen = slices.ContainsFunc(u.Changes, func(c query.Change) bool { return c.Key == e.Entity.ID })
		}
		took = append(took, time.Since(acknowledged))
		if err := pause(ctx, watchPause); err != nil {
			return nil, err
		}
	}
	slices.Sort(took)
	return took, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// idle lets many watches run while nothing happens.
func idle(ctx context.Context, reader *query.Reader, store *reading, took []time.Duration, out io.Writer) error {
	quiet, cancel := context.WithCancel(ctx)
	defer cancel()
	var beginning, watching sync.WaitGroup
	beginning.Add(idleWatches)
	for range idleWatches {
		watching.Go(func() {
			begun := sync.OnceFunc(beginning.Done)
			defer begun()
			for _, err := range reader.Watch(quiet, "accounts", query.WatchOptions{}) {
				if begun(); err != nil {
					return // it was told to end
				}
			}
		})
	}
	beginning.Wait()
	if err := pause(ctx, 2*time.Second); err != nil { // until the last partition has followed, and was seen to
		return err
	}
	store.mu.Lock()
	clear(store.calls)
	store.mu.Unlock()
	before, begun := processorTime(), time.Now()
	if err := pause(ctx, idleFor); err != nil {
		return err
	}
	cancel()
	watching.Wait()
	each := float64(time.Since(begun)) / float64(time.Second) * idleWatches
	used := processorTime() - before
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	fmt.Fprintf(out, "\nFrom acknowledged to told, by a watch that was idle, %d events\n\n", len(took))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "p50 ms\tp99 ms\tmost ms\t\n%.2f\t%.2f\t%.1f\t\n", ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]))
	if err := w.Flush(); err != nil {
		return err
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	_, err := fmt.Fprintf(out, "\nAn idle watch, of %d: %.0f us of this process a second, %.2f reads of all headers a second, and %.2f of changes\n", idleWatches,
		float64(used)/float64(time.Microsecond)/each, float64(store.calls["headers"])/each, float64(store.calls["changes"])/each)
	return err
}
