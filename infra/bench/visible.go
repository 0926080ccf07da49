package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

const (
	visibleRate     = 1_000 // events a second
	visibleEntities = 1_000
)

// visibility is one way in which readers wait.
type visibility struct {
	what    string
	signals bool
	even    time.Duration // 0: as it is by default
	strong  bool
	// idle reads a document that the event does not touch: its partition has nothing to do.
	idle bool
}

func visibilities() []visibility {
	return []visibility{
		{what: "the document written", signals: true},
		{what: "the same, strong", signals: true, strong: true},
		{what: "another document", signals: true, idle: true},
		{what: "the document written, without signals", even: 20 * time.Millisecond},
		{what: "another document, without signals, partitions follow after 20 ms", even: 20 * time.Millisecond, idle: true},
	}
}

// visible measures how long after an append was acknowledged a read with its position is answered, while a thousand events a second are written, and how many
// partitions are committed for each event.
func visible(ctx context.Context, c config, path string, out io.Writer) error {
	r, err := region.Open(ctx, region.Config{Name: "bench", DataDir: filepath.Join(path, "visible"), LazySync: true, Redis: embedded.ModeServer})
	if err != nil {
		return err
	}
	defer r.Close(context.WithoutCancel(ctx)) //nolint:errcheck // a measurement
	fmt.Fprintf(out, "\nFrom acknowledged to answered, at %d events/s, %d reads each\n\n", visibleRate, c.visible)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "p50 ms\tp99 ms\tmost ms\tcommits/event\tof each read, with the position of the event\t")
	for _, v := range visibilities() {
		if err := v.measure(ctx, r, c.visible, w); err != nil {
			return fmt.Errorf("%s: %w", v.what, err)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return watched(ctx, r, out)
}

// counting is a store that counts commits.
type counting struct {
	projections.Store
	commits atomic.Int64
}

func (s *counting) Apply(ctx context.Context, g projections.Generation, def *projections.Definition, commits []projections.Commit) []error {
	s.commits.Add(int64(len(commits)))
	return s.Store.Apply(ctx, g, def, commits)
}

func (v *visibility) measure(ctx context.Context, r *region.Region, reads int, out io.Writer) error {
	p, err := inGo()
	if err != nil {
		return err
	}
	store := &counting{Store: r.Store()}
	o := projector.Options{EvenInterval: v.even}
	reader := query.New(r.Name(), r.Store(), r.KV(), query.NewHeads(r.Log()))
	if v.signals {
		o.Signals = r.Signals()
		reader.Use(r.Signals())
	}
	worker, err := projector.New(p, r.Log(), store, r.KV(), r.Leases(), o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	if err := v.warm(ctx, r, reader); err != nil {
		return err
	}
	before := store.commits.Load()
	took, err := v.read(ctx, r, reader, reads)
	commits := store.commits.Load() - before
	cancel()
	if err := <-done; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	_, err = fmt.Fprintf(out, "%.2f\t%.2f\t%.1f\t%.2f\t %s\t\n", ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]), float64(commits)/float64(reads), v.what)
	return err
}

// warm waits until the read model is there and every entity is known.
func (v *visibility) warm(ctx context.Context, r *region.Region, reader *query.Reader) error {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a fixed stream
	var last events.Receipt
	for i := range visibleEntities {
		e := event(random, visibleEntities, i)
		e.ID, e.Entity.ID = events.NewID(), strconv.Itoa(i)
		var err error
		if last, err = r.Log().Append(ctx, events.One(e, events.ExpectAny())); err != nil {
			return err
		}
	}
	for {
		_, err := reader.List(ctx, "accounts", query.ListOptions{Options: query.Options{AtLeast: last.Position}, Limit: 1})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// read appends at the rate, and reads after each acknowledgement.
func (v *visibility) read(ctx context.Context, r *region.Region, reader *query.Reader, reads int) ([]time.Duration, error) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a fixed stream
	took := make([]time.Duration, reads)
	errs := make([]error, reads)
	tick := time.NewTicker(time.Second / visibleRate)
	defer tick.Stop()
	var working sync.WaitGroup
	for i := range reads {
		e := event(random, visibleEntities, i)
		e.ID = events.NewID()
		key := e.Entity.ID
		for v.idle && projections.PartitionOf(key, projections.DefaultPartitions) == projections.PartitionOf(e.Entity.ID, projections.DefaultPartitions) {
			key = strconv.Itoa(random.IntN(visibleEntities))
		}
		working.Go(func() {
			receipt, err := r.Log().Append(ctx, events.One(e, events.ExpectAny()))
			if err != nil {
				errs[i] = err
				return
			}
			acknowledged := time.Now()
			o := query.Options{AtLeast: receipt.Position}
			if v.strong {
				o = query.Options{Strong: true}
			}
			_, errs[i] = reader.Get(ctx, "accounts", key, o)
			took[i] = time.Since(acknowledged)
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	working.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return took, nil
}
