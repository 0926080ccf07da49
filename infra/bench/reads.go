package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

const origin = "bench"

// bench is what the measurements of reading share: one stream, one Redis.
type bench struct {
	c       config
	js      jetstream.JetStream
	log     *natslog.Log
	rdb     *redis.Client
	records int // of the stream, genesis included
	want    map[string]account
	round   int
}

// reads measures the projector against reading and writing alone, and against hand-written loops.
func reads(ctx context.Context, c config, dir *embedded.Dir, out io.Writer) error {
	server, err := embedded.StartNATS(ctx, embedded.NATSConfig{Region: "bench", Dir: dir, LazySync: true})
	if err != nil {
		return err
	}
	defer server.Shutdown()
	rds, err := embedded.StartRedis(ctx, embedded.RedisConfig{Mode: embedded.ModeServer, Dir: dir})
	if err != nil {
		return err
	}
	defer rds.Close() //nolint:errcheck // a measurement
	nc, err := server.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := natslog.Setup(ctx, nc, natslog.Config{Origin: origin}); err != nil {
		return err
	}
	log, err := natslog.Open(ctx, nc, natslog.Config{Origin: origin}, natslog.Options{Commit: natslog.GroupCommit})
	if err != nil {
		return err
	}
	defer log.Close()
	b := &bench{c: c, js: js, log: log, rdb: redis.NewClient(rds.Options())}
	defer b.rdb.Close() //nolint:errcheck // a measurement
	if err := b.fill(ctx); err != nil {
		return err
	}
	return b.compare(ctx, out)
}

// fill writes the stream, and folds it on the side.
func (b *bench) fill(ctx context.Context) error {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a fixed stream
	b.want = make(map[string]account, b.c.entities)
	for from := 0; from < b.c.events; from += events.MaxBatch {
		n := min(events.MaxBatch, b.c.events-from)
		for i := from; i < from+n; i++ {
			e := event(random, b.c.entities, i)
			var p booking
			if err := p.DecodeData(e.Data); err != nil {
				return err
			}
			b.want[e.Entity.ID] = fold(b.want[e.Entity.ID], &p)
			pending, err := b.log.Submit(ctx, events.One(e, events.ExpectAny()))
			if err != nil {
				return err
			}
			if i == from+n-1 {
				if _, err := pending.Wait(ctx); err != nil {
					return err
				}
			}
		}
	}
	info, err := b.log.Info(ctx)
	b.records = int(info.Last) //nolint:gosec // a count
	return err
}

// project builds the read model from nothing and returns how long that took.
func (b *bench) project(ctx context.Context, projection func() (projections.Projection, error)) (time.Duration, error) {
	b.round++
	store, err := redisstore.New(b.rdb, redisstore.Options{Prefix: "bench" + strconv.Itoa(b.round) + ":"})
	if err != nil {
		return 0, err
	}
	p, err := inGo()
	if err != nil {
		return 0, err
	}
	kv := memstore.NewKV()
	worker, err := projector.New(p, b.log, store, kv, memstore.NewLeases(), projector.Options{})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin, done := time.Now(), make(chan error, 1)
	go func() { done <- worker.Run(ctx) }()
	gen := projections.Generation{Projection: p.Definition().Name, Number: 1, Partitions: projections.DefaultPartitions}
	for {
		select {
		case err := <-done:
			return 0, fmt.Errorf("the projector ended: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
		headers, err := store.Headers(ctx, gen)
		if err != nil {
			return 0, err
		}
		_, _, at := projections.Sum(headers)
		if point, _ := at.Point(origin); point.Sequence == uint64(b.records) {
			break
		}
	}
	took := time.Since(begin)
	cancel()
	if err := <-done; err != nil {
		return 0, err
	}
	return took, b.verify(context.WithoutCancel(ctx), store, gen, p.Definition())
}

// verify compares every document with the fold on the side.
func (b *bench) verify(ctx context.Context, store projections.Store, gen projections.Generation, def *projections.Definition) error {
	seen := 0
	for i := range gen.Partitions {
		after := ""
		for {
			_, documents, err := store.Page(ctx, gen, def, i, after, 1_000)
			if err != nil {
				return err
			}
			for _, d := range documents {
				got, err := projections.Decode[account](def.Fields, d.Values)
				if err != nil || got != b.want[d.Key] {
					return fmt.Errorf("account %s is %+v, expected %+v (%w)", d.Key, got, b.want[d.Key], err)
				}
				seen, after = seen+1, d.Key
			}
			if len(documents) < 1_000 {
				break
			}
		}
	}
	if seen != len(b.want) {
		return fmt.Errorf("%d documents, expected %d", seen, len(b.want))
	}
	for _, x := range def.Indexes {
		if err := b.verifyIndex(ctx, store, gen, def, x.Name); err != nil {
			return err
		}
	}
	return store.Drop(ctx, gen)
}

// verifyIndex requires every document in an index once, under its value.
func (b *bench) verifyIndex(ctx context.Context, store projections.Store, gen projections.Generation, def *projections.Definition, index string) error {
	seen := make(map[string]bool, len(b.want))
	for i := range gen.Partitions {
		for q := (projections.IndexQuery{Index: index, Limit: 1_000}); ; {
			_, found, err := store.Find(ctx, gen, def, i, q)
			if err != nil {
				return err
			}
			for j := range found {
				f := &found[j]
				if value, ok := def.IndexValue(index, &f.Document); !ok || value != f.Value || seen[f.Key] {
					return fmt.Errorf("the index %s has %s under %q, expected %q, once", index, f.Key, f.Value, value)
				}
				seen[f.Key] = true
				q.After, q.AfterKey = f.Value, f.Key
			}
			if len(found) < q.Limit {
				break
			}
		}
	}
	if len(seen) != len(b.want) {
		return fmt.Errorf("the index %s has %d documents, expected %d", index, len(seen), len(b.want))
	}
	return nil
}

// measured is the rate of one thing in every round, in events per second.
type measured map[string][]float64

func (m measured) ratios(name, by string) []float64 {
	out := make([]float64, len(m[name]))
	for i := range out {
		out[i] = m[name][i] / m[by][i]
	}
	return out
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func (b *bench) compare(ctx context.Context, out io.Writer) error {
	m := measured{}
	for range b.c.rounds {
		for _, step := range []struct {
			name   string
			events int
			run    func(context.Context) (time.Duration, error)
		}{
			{"read", b.c.events, b.read}, {"write", b.c.events, b.write}, {"projector", b.c.events, func(ctx context.Context) (time.Duration, error) { return b.project(ctx, inGo) }},
			{"yaml", b.c.events, func(ctx context.Context) (time.Duration, error) { return b.project(ctx, inYAML) }},
			{"indexed", b.c.events, func(ctx context.Context) (time.Duration, error) { return b.project(ctx, indexed) }},
			{"hand", b.c.events, b.hand}, {"naive", b.c.naive, b.naive},
		} {
			took, err := step.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			m[step.name] = append(m[step.name], float64(step.events)/took.Seconds())
		}
		n := len(m["read"]) - 1
		m["sum"] = append(m["sum"], 1/(1/m["read"][n]+1/m["write"][n]))
	}
	fmt.Fprintf(out, "Replay of %d events over %d entities, medians of %d rounds; every final document right\n\n", b.c.events, b.c.entities, b.c.rounds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what\tevents/s\tprojector is\t\t")
	for _, row := range []struct{ name, what string }{
		{"projector", ""}, {"read", "of a pull consumer that does nothing"}, {"write", "of MULTI with 5,000 HSETs of five fields"},
		{"sum", "of reading, then writing"}, {"hand", "of a careful loop: fetch 1,000, one MULTI, ack"}, {"naive", "of consume, HSET, ack, one by one"},
	} {
		ratio := ""
		if row.name != "projector" {
			ratio = fmt.Sprintf("%.2f x", median(m.ratios("projector", row.name)))
		}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t %s\n", row.name, median(m[row.name]), ratio, row.what)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe same with two indexes: %.0f events/s, %.2f x of the projector without, %.2f x of reading\n",
		median(m["indexed"]), median(m.ratios("indexed", "projector")), median(m.ratios("indexed", "read")))
	_, err := fmt.Fprintf(out, "The same projection written as YAML: %.0f events/s, %.2f x the one in Go\n", median(m["yaml"]), median(m.ratios("yaml", "projector")))
	return err
}
