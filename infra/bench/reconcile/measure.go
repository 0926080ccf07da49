package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/minio/highwayhash"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
)

const (
	comparisons = 200   // of marks
	bareStep    = 1_000 // documents of one round trip of the yardstick
	maxMarks    = 100   // milliseconds that comparing marks may take
	maxScrub    = 2.0   // times the yardstick
	maxMended   = 10 * time.Second
)

// examine examines the read model without any limit, and says how long that took after the last document was read.
func (p *proof) examine(ctx context.Context, deep bool) (r *reconcile.Report, took, after time.Duration, err error) {
	began := time.Now()
	last := began
	log := &counting{Reader: p.log}
	r, err = reconcile.Examine(ctx, "here", projector.Version{Projection: p.proj, Log: log}, p.store, p.kv, reconcile.Options{
		Budget: 1, Deep: deep, Snapshots: p.kept, Progress: func(_, _ uint64) { last = time.Now() },
	})
	p.passes, p.histories = log.passes.Load(), log.histories.Load()
	return r, time.Since(began), time.Since(last), err
}

// profiled writes a processor profile of what is done until stop is called, if profiles are wanted.
func (p *proof) profiled(what string) (stop func(), err error) {
	if p.c.profiles == "" {
		return func() {}, nil
	}
	p.profiles++
	f, err := os.Create(filepath.Join(p.c.profiles, fmt.Sprintf("%02d-%s.pprof", p.profiles, what)))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			p.table.line("profile of "+what, "is not whole: %s", err)
		}
	}, nil
}

// counting counts how often a log is read as a whole, and histories of entities.
type counting struct {
	events.Reader

	passes, histories atomic.Int64
}

// Read is a pass over the log when it begins with the first record.
func (c *counting) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	if r.From == 1 {
		c.passes.Add(1)
	}
	return c.Reader.Read(ctx, r)
}

// History reads the history of an entity.
func (c *counting) History(ctx context.Context, entity events.Entity, from uint64) iter.Seq2[events.Record, error] {
	c.histories.Add(1)
	return c.Reader.History(ctx, entity, from)
}

// marksEqual measures how long it takes to read the marks of two copies and to compare them. Both are the same one here, in the place of two regions.
func (p *proof) marksEqual(ctx context.Context) error {
	reader := query.New("here", p.store, p.kv, query.NewHeads(p.log))
	took := make([]time.Duration, comparisons)
	for i := range took {
		began := time.Now()
		var list []reconcile.Standing
		for _, region := range []string{"one", "two"} {
			m, err := reader.Marks(ctx, name, query.MarksOptions{})
			if err != nil {
				return err
			}
			m.Region = region
			list = append(list, m.Standing)
		}
		if v := reconcile.Compare(list); v.Result != reconcile.Equal {
			return fmt.Errorf("of two equal copies it says %+v", v)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1_000 }
	p.table.prove(ms(took[comparisons/2]) <= maxMarks, "marks of two copies read and compared", "median %.2f ms, p99 %.2f ms (at most %d)", ms(took[comparisons/2]), ms(took[comparisons*99/100]), maxMarks)
	return nil
}

// scrubs measures examinations of the healthy read model against the yardstick, in turn, until enough documents were examined. Nothing may be found.
func (p *proof) scrubs(ctx context.Context) error {
	gen, err := p.generation(ctx)
	if err != nil {
		return err
	}
	var ratios, processor, bare, whole []float64
	documents, compared, findings := uint64(0), 0, 0
	for round := 0; round < p.c.rounds || documents < p.c.comparison; round++ {
		begin, err := p.processor(ctx)
		if err != nil {
			return err
		}
		yardstick, n, err := p.bare(ctx, gen)
		if err != nil {
			return err
		}
		between, err := p.processor(ctx)
		if err != nil {
			return err
		}
		stop, err := p.profiled("scrub")
		if err != nil {
			return err
		}
		r, took, _, err := p.examine(ctx, false)
		stop()
		if err != nil {
			return err
		}
		end, err := p.processor(ctx)
		if err != nil {
			return err
		}
		processor = append(processor, (end-between).Seconds()/(between-begin).Seconds())
		if len(r.Findings)+len(r.Recount) > 0 {
			p.table.prove(false, "a healthy read model", "findings: %s", summary(r))
		}
		documents, compared, findings = documents+r.Documents, compared+r.Compared, findings+len(r.Findings)+len(r.Recount)
		each, eachBare := took.Seconds()/float64(r.Documents), yardstick.Seconds()/float64(n)
		ratios, whole, bare = append(ratios, each/eachBare), append(whole, each), append(bare, eachBare)
	}
	p.healthy = time.Duration(median(whole) * float64(p.c.documents) * float64(time.Second))
	p.table.line("yardstick: SCAN, HGETALL and a hash, pipelined", "%.2f us a document, median of %d rounds", median(bare)*1e6, len(bare))
	p.table.line("scrub: documents, sums, both indexes, strays", "%.2f us a document", median(whole)*1e6)
	p.table.prove(median(ratios) <= maxScrub, "scrub to yardstick", "%.2f x, rounds %.2f to %.2f (at most %.1f)", median(ratios), slices.Min(ratios), slices.Max(ratios), maxScrub)
	p.table.line("the same by processor time, of here and of Redis", "%.2f x, rounds %.2f to %.2f, live writes included", median(processor), slices.Min(processor), slices.Max(processor))
	p.table.prove(findings == 0, "false alarms", "%d in %d documents examined, %d partitions' sums compared", findings, documents, compared)
	return nil
}

// processor returns how much processor time this program and Redis have used.
func (p *proof) processor(ctx context.Context) (time.Duration, error) {
	info, err := p.redis.InfoMap(ctx, "cpu").Result()
	if err != nil {
		return 0, err
	}
	used := processorTime()
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		if err != nil {
			return 0, err
		}
		used += time.Duration(seconds * float64(time.Second))
	}
	return used, nil
}

// bare is the yardstick of a scrub: the names of all documents by SCAN, each read by HGETALL in a pipeline together with the next SCAN, and hashed as it comes.
func (p *proof) bare(ctx context.Context, gen projections.Generation) (time.Duration, int, error) {
	key := make([]byte, highwayhash.Size)
	began, n := time.Now(), 0
	var sum uint64
	var names []string
	for cursor, more := uint64(0), true; more || len(names) > 0; {
		pipe := p.redis.Pipeline()
		docs := make([]*redis.RawCmd, len(names))
		for i := range names {
			docs[i] = redis.NewRawCmd(ctx, "hgetall", names[i])
			_ = pipe.Process(ctx, docs[i]) // only queues
		}
		var scan *redis.ScanCmd
		if more {
			scan = pipe.Scan(ctx, cursor, prefix(gen)+"*:doc:*", bareStep)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return 0, 0, err
		}
		for _, d := range docs {
			sum += highwayhash.Sum64(d.Val(), key)
		}
		n += len(docs)
		names = nil
		if more {
			names, cursor = scan.Val()
			more = cursor != 0
		}
	}
	if n == 0 || sum == 0 {
		return 0, 0, fmt.Errorf("the yardstick read %d documents", n)
	}
	return time.Since(began), n, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
