package query

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"tidemark.dev/projections"
)

const (
	// maxScatter bounds how many partitions one query reads at the same time.
	maxScatter = 16
	// spare is how many entries more than its share a partition is asked for, beside three times what such a share is off by, so that it is rarely asked twice.
	spare = 4
	// maxChunk bounds how many entries a partition is asked for at once.
	maxChunk = 1_000
	// examineFactor and examineLeast bound how many entries are looked at for one page: it may be short when many documents moved while it was made.
	examineFactor, examineLeast = 8, 1_000
)

// place is where an entry of a listing stands: by its value, then by its key.
type place struct{ value, key string }

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.value, q.value), cmp.Compare(p.key, q.key))
}

// entry is one document of a listing, at the place where it was found.
type entry struct {
	place
	document projections.Document
	// gone says that the document has left that place since.
	gone bool
}

// fetch reads up to n entries of a partition behind a place; the zero place is the beginning.
type fetch func(ctx context.Context, partition int, after place, n int) (projections.Header, []entry, error)

// gathering merges the entries of all partitions in order. It reads of each what it needs, some at a time.
type gathering struct {
	fetch   fetch
	compare func(a, b place) int
	chunk   int
	parts   []gathered
	low     projections.Header // of all headers seen, the one that says least
	seen    bool
}

// gathered is what is known of one partition.
type gathered struct {
	buffer []entry
	after  place // the last entry that was read
	ended  bool
	header projections.Header
}

// newGathering begins behind a place. wanted is how many entries will probably be needed.
func newGathering(partitions, wanted int, after place, backwards bool, f fetch) *gathering {
	g := &gathering{fetch: f, compare: place.compare, chunk: chunkOf(wanted, partitions), parts: make([]gathered, partitions)}
	if backwards {
		g.compare = func(a, b place) int { return b.compare(a) }
	}
	for i := range g.parts {
		g.parts[i].after = after
	}
	return g
}

// chunkOf returns how many entries to ask a partition for: keys are spread evenly, so its share is off by the root of it.
func chunkOf(wanted, partitions int) int {
	share := float64(wanted) / float64(partitions)
	return min(wanted, int(math.Ceil(share+3*math.Sqrt(share)))+spare)
}

// take returns up to n entries that are still there, in order, and whether there may be more behind the last place that it looked at. When a partition cannot answer it
// returns nothing; low says so.
func (g *gathering) take(ctx context.Context, n int) (entries []entry, last place, more bool, err error) {
	for examined := max(examineLeast, examineFactor*n); ; examined-- {
		if err := g.fill(ctx); err != nil || g.low.State != projections.Live {
			return nil, place{}, false, err
		}
		next := -1
		for i := range g.parts {
			if b := g.parts[i].buffer; len(b) > 0 && (next < 0 || g.compare(b[0].place, g.parts[next].buffer[0].place) < 0) {
				next = i
			}
		}
		if next < 0 {
			return entries, last, false, nil
		}
		found := g.parts[next].buffer[0]
		if !found.gone && len(entries) == n || examined == 0 {
			return entries, last, true, nil
		}
		g.parts[next].buffer = g.parts[next].buffer[1:]
		last = found.place
		if !found.gone {
			entries = append(entries, found)
		}
	}
}

// fill reads on in every partition of which no entry is known, so that the first one of all is.
func (g *gathering) fill(ctx context.Context) error {
	var empty []int
	for i := range g.parts {
		if p := &g.parts[i]; len(p.buffer) == 0 && !p.ended {
			empty = append(empty, i)
		}
	}
	err := scatter(ctx, empty, func(ctx context.Context, i int) (err error) {
		p := &g.parts[i]
		p.header, p.buffer, err = g.fetch(ctx, i, p.after, g.chunk)
		if p.ended = len(p.buffer) < g.chunk; len(p.buffer) > 0 {
			p.after = p.buffer[len(p.buffer)-1].place
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(empty) > 0 {
		g.chunk = max(g.chunk, min(2*g.chunk, maxChunk)) // whoever has to ask again is not where keys are spread evenly
	}
	for _, i := range empty {
		if h := &g.parts[i].header; !g.seen || worse(h, &g.low) {
			g.low, g.seen = *h, true
		}
	}
	return nil
}

// scatter calls do for each partition, several at the same time, and returns the error of the first in order that has one.
func scatter(ctx context.Context, partitions []int, do func(ctx context.Context, partition int) error) error {
	if len(partitions) == 1 {
		return do(ctx, partitions[0])
	}
	errs := make([]error, len(partitions))
	next := make(chan int, len(partitions))
	for i := range partitions {
		next <- i
	}
	close(next)
	var working sync.WaitGroup
	for range min(maxScatter, len(partitions)) {
		working.Go(func() {
			for i := range next {
				errs[i] = do(ctx, partitions[i])
			}
		})
	}
	working.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
