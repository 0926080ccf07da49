package redisstore_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// What a change log and indexes cost a commit, against the same commits without them, rounds alternating: live commits of fifty documents over sixteen
// partitions, and large ones of 5,000. With the change log off, the partitions are being built: then nothing is logged.

// variant is one way of writing the same documents.
type variant struct {
	name    string
	state   projections.PartitionState
	indexes []projections.Index
	moves   bool // whether the indexed values change with every write
}

// writing is a generation that is written in one way.
type writing struct {
	variant
	store *redisstore.Store
	g     projections.Generation
	def   *projections.Definition
	docs  [][]projections.Document // by partition
	under [][][]projections.IndexEntry
	seq   uint64
	step  int
}

func newWriting(b *testing.B, s *redisstore.Store, number uint32, v variant, documents int) *writing {
	b.Helper()
	def := definition()
	def.Indexes = v.indexes
	must(b, def.Validate())
	w := &writing{variant: v, store: s, g: projections.Generation{Projection: "flights", Number: number, Partitions: projectionPartitions}, def: def, seq: 1}
	w.docs, w.under = make([][]projections.Document, w.g.Partitions), make([][][]projections.IndexEntry, w.g.Partitions)
	for i := range w.g.Partitions {
		h := header(i, w.seq)
		h.State = v.state
		must(b, s.Create(b.Context(), w.g, h))
	}
	for i := range documents {
		d := document(fmt.Sprintf("flight-%07d", i*7919%1_000_000), i, 2)
		p := projections.PartitionOf(d.Key, w.g.Partitions)
		w.docs[p] = append(w.docs[p], d)
		w.under[p] = append(w.under[p], nil)
	}
	w.apply(b)
	return w
}

// apply writes every document once more, with other values.
func (w *writing) apply(b *testing.B) time.Duration {
	indexer := projections.NewIndexer(w.def)
	w.step++
	var commits []projections.Commit
	for p, docs := range w.docs {
		if len(docs) == 0 {
			continue
		}
		c := projections.Commit{Partition: p, Expect: position(w.seq), Next: header(p, w.seq+1)}
		c.Next.State = w.state
		for i := range docs {
			d := &docs[i]
			d.Values = slices.Clone(d.Values)
			d.Values[1] = strconv.Itoa(w.step)
			if w.moves {
				d.Values[3] = strconv.Itoa(i*7 + w.step*13)
				d.Values[2] = []string{"departed", "landed", "late"}[(i+w.step)%3]
			}
			x := projections.Write{Document: *d, Create: w.step == 1}
			for n := range w.def.Indexes {
				value, err := indexer.Value(n, d.Values)
				must(b, err)
				e := projections.IndexEntry{Index: n, Value: string(value)}
				switch {
				case len(w.under[p][i]) <= n:
					w.under[p][i] = append(w.under[p][i], e)
					x.Index = append(x.Index, e)
				case w.under[p][i][n] != e:
					x.Unindex = append(x.Unindex, w.under[p][i][n])
					x.Index = append(x.Index, e)
					w.under[p][i][n] = e
				}
			}
			c.Writes = append(c.Writes, x)
		}
		commits = append(commits, c)
	}
	began := time.Now()
	for _, err := range w.store.Apply(b.Context(), w.g, w.def, commits) {
		must(b, err)
	}
	took := time.Since(began)
	w.seq++
	return took
}

func byDelay() projections.Index {
	return projections.Index{Name: "by_delay", Fields: []string{"delay"}}
}

func byStatus() projections.Index {
	return projections.Index{Name: "by_status", Fields: []string{"status"}}
}

func variants() []variant {
	return []variant{
		{"change log", projections.Live, nil, true},
		{"an index that stays", projections.Building, []projections.Index{byDelay()}, false},
		{"an index that moves", projections.Building, []projections.Index{byDelay()}, true},
		{"two indexes that move", projections.Building, []projections.Index{byDelay(), byStatus()}, true},
		{"change log and two indexes that move", projections.Live, []projections.Index{byDelay(), byStatus()}, true},
	}
}

func BenchmarkApplyMore(b *testing.B) {
	for _, documents := range []int{50, benchDocuments} {
		for i, v := range variants() {
			b.Run(fmt.Sprintf("%d documents/%s", documents, v.name), func(b *testing.B) {
				client := redistest.Start(b).Client()
				s, err := redisstore.New(client, redisstore.Options{})
				must(b, err)
				plain := newWriting(b, s, 100, variant{"nothing", projections.Building, nil, v.moves}, documents)
				more := newWriting(b, s, uint32(101+i), v, documents) //nolint:gosec // small
				var ratios []float64
				var took time.Duration
				for b.Loop() {
					without := plain.apply(b)
					with := more.apply(b)
					ratios = append(ratios, float64(without)/float64(with))
					took += with
				}
				slices.Sort(ratios)
				b.ReportMetric(ratios[len(ratios)/2], "x-without")
				b.ReportMetric(float64(documents)*float64(b.N)/took.Seconds(), "docs/s")
			})
		}
	}
}
