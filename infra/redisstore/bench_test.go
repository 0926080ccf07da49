package redisstore_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// The yardstick of a write is a plain transaction of the same fields on one connection, with no check of anything. Rounds alternate, so that
// a noisy machine disturbs both alike; look at the ratios.

const benchDocuments = 5_000

type workload struct {
	client  *redis.Client
	store   *redisstore.Store
	g       projections.Generation
	def     *projections.Definition
	commits []projections.Commit
	docs    []projections.Document
	refs    []projections.Ref
	plain   []string // the yardstick's keys
	seq     uint64
}

func newWorkload(b *testing.B) *workload {
	b.Helper()
	client := redistest.Start(b).Client()
	s, err := redisstore.New(client, redisstore.Options{})
	must(b, err)
	w := &workload{client: client, store: s, g: generation(projectionPartitions), def: definition(), seq: 1}
	w.commits = make([]projections.Commit, w.g.Partitions)
	for i := range w.commits {
		must(b, s.Create(b.Context(), w.g, header(i, w.seq)))
		w.commits[i].Partition = i
	}
	for i := range benchDocuments {
		d := document(fmt.Sprintf("flight-%07d", i*7919%1_000_000), i, 2)
		p := projections.PartitionOf(d.Key, w.g.Partitions)
		w.commits[p].Writes = append(w.commits[p].Writes, projections.Write{Document: d, Create: true})
		w.docs = append(w.docs, d)
		w.refs = append(w.refs, projections.Ref{Partition: p, Key: d.Key})
		w.plain = append(w.plain, "plain:"+d.Key)
	}
	w.apply(b)
	for i := range w.commits {
		for j := range w.commits[i].Writes {
			w.commits[i].Writes[j].Create = false
		}
	}
	return w
}

func (w *workload) apply(b *testing.B) {
	for i := range w.commits {
		w.commits[i].Expect, w.commits[i].Next = position(w.seq), header(i, w.seq+1)
	}
	w.seq++
	for _, err := range w.store.Apply(b.Context(), w.g, w.def, w.commits) {
		must(b, err)
	}
}

// transaction writes the same fields with one MULTI, as somebody would who has nothing to check. own adds the two fields that every
// document of ours has beside the projection's.
func (w *workload) transaction(b *testing.B, own bool) {
	p := w.client.TxPipeline()
	for i := range w.docs {
		d := &w.docs[i]
		args := make([]any, 0, 2+2*(len(w.def.Fields)+2))
		args = append(args, "hset", w.plain[i])
		for j, f := range w.def.Fields {
			args = append(args, f.Name, d.Values[j])
		}
		if own {
			args = append(args, "_at", d.At, "_digest", d.Digest.String())
		}
		p.Do(b.Context(), args...)
	}
	_, err := p.Exec(b.Context())
	must(b, err)
}

// rounds runs both in turn and reports the median of the ratios of their times.
func rounds(b *testing.B, what, yardstick func()) {
	what()
	yardstick()
	var ratios []float64
	var ours time.Duration
	for b.Loop() {
		t0 := time.Now()
		yardstick()
		t1 := time.Now()
		what()
		t2 := time.Now()
		ratios = append(ratios, float64(t1.Sub(t0))/float64(t2.Sub(t1)))
		ours += t2.Sub(t1)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-yardstick")
	b.ReportMetric(benchDocuments*float64(b.N)/ours.Seconds(), "docs/s")
}

// Five fields and our two, checked and fenced, over 16 partitions, against the five alone in one transaction.
func BenchmarkApplyAgainstTransaction(b *testing.B) {
	w := newWorkload(b)
	rounds(b, func() { w.apply(b) }, func() { w.transaction(b, false) })
}

// The same against all seven fields in one transaction.
func BenchmarkApplyAgainstTransactionOfSevenFields(b *testing.B) {
	w := newWorkload(b)
	rounds(b, func() { w.apply(b) }, func() { w.transaction(b, true) })
}

// New documents have to be listed as well.
func BenchmarkApplyNewDocuments(b *testing.B) {
	w := newWorkload(b)
	n := 0
	rounds(b, func() {
		n++
		for i := range w.commits {
			for j := range w.commits[i].Writes {
				x := &w.commits[i].Writes[j]
				x.Key, x.Create = "n"+strconv.Itoa(n)+x.Key[max(len(x.Key)-14, 0):], true
			}
		}
		w.apply(b)
	}, func() {
		for i := range w.plain {
			w.plain[i] = "p" + strconv.Itoa(n) + w.plain[i][max(len(w.plain[i])-20, 0):]
		}
		w.transaction(b, false)
	})
}

// Commits of about fifty documents over all partitions, which is what a projector writes that keeps up.
func BenchmarkApplySmall(b *testing.B) {
	w := newWorkload(b)
	all := make([][]projections.Write, len(w.commits))
	for i := range w.commits {
		all[i] = w.commits[i].Writes
		w.commits[i].Writes = all[i][:3]
	}
	b.ResetTimer()
	for b.Loop() {
		w.apply(b)
	}
	b.ReportMetric(float64(3*len(w.commits)*b.N)/b.Elapsed().Seconds(), "docs/s")
}

// A load against a pipeline of the same reads with the client's own decoding.
func BenchmarkLoad(b *testing.B) {
	w := newWorkload(b)
	rounds(b, func() {
		docs, err := w.store.Load(b.Context(), w.g, w.def, w.refs)
		must(b, err)
		if docs[0].Values == nil {
			b.Fatal("no values")
		}
	}, func() {
		p := w.client.Pipeline()
		for _, r := range w.refs {
			p.HGetAll(b.Context(), docKey(w.g, r))
		}
		_, err := p.Exec(b.Context())
		must(b, err)
	})
}

func BenchmarkPage(b *testing.B) {
	w := newWorkload(b)
	n := 0
	for b.Loop() {
		_, docs, err := w.store.Page(b.Context(), w.g, w.def, 3, "", 1_000)
		must(b, err)
		n += len(docs)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "docs/s")
}

const readers = 64

// parallel spreads fn over 64 goroutines.
func parallel(b *testing.B, fn func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range readers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := fn(int(i) % benchDocuments); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "docs/s")
}

func BenchmarkGet(b *testing.B) {
	w := newWorkload(b)
	parallel(b, func(i int) error {
		_, d, err := w.store.Get(context.Background(), w.g, w.def, w.refs[i])
		if err == nil && d == nil {
			err = fmt.Errorf("no document %v", w.refs[i])
		}
		return err
	})
}

// The yardstick of BenchmarkGet: the document alone, one command each.
func BenchmarkGetYardstick(b *testing.B) {
	w := newWorkload(b)
	parallel(b, func(i int) error { return w.client.HGetAll(context.Background(), docKey(w.g, w.refs[i])).Err() })
}

// One reader that waits for each answer.
func BenchmarkGetAlone(b *testing.B) {
	w := newWorkload(b)
	for i := 0; b.Loop(); i++ {
		_, _, err := w.store.Get(b.Context(), w.g, w.def, w.refs[i%benchDocuments])
		must(b, err)
	}
}

func BenchmarkGetAloneYardstick(b *testing.B) {
	w := newWorkload(b)
	for i := 0; b.Loop(); i++ {
		must(b, w.client.HGetAll(b.Context(), docKey(w.g, w.refs[i%benchDocuments])).Err())
	}
}
