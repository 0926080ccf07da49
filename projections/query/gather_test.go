package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"tidemark.dev/projections"
)

// piles are the entries of some partitions.
type piles struct {
	of [][]entry
}

func (p *piles) fetch(backwards bool) fetch {
	return func(_ context.Context, partition int, after place, n int) (projections.Header, []entry, error) {

		var out []entry
		for _, e := range p.of[partition] {
			if after == (place{}) || !backwards && e.compare(after) > 0 || backwards && e.compare(after) < 0 {
				out = append(out, e)
			}
		}
		return projections.Header{Partition: partition, State: projections.Live}, out[:min(n, len(out))], nil
	}
}

// TestTheMergeIsRightForEveryLimit compares it with sorting everything.
func TestTheMergeIsRightForEveryLimit(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a seeded test
	for range 500 {
		p := &piles{of: make([][]entry, 1+r.IntN(9))}
		backwards := r.IntN(2) == 0
		order := func(a, b entry) int {
			if backwards {
				return b.compare(a.place)
			}
			return a.compare(b.place)
		}
		var want []string
		var all []entry
		for i := range r.IntN(200) {
			n := r.IntN(len(p.of))
			if r.IntN(3) == 0 {
				n = 0 // uneven: one has more than its share
			}
			e := entry{place: place{value: fmt.Sprint(r.IntN(5)), key: fmt.Sprint("k", i)}, gone: r.IntN(4) == 0}
			p.of[n] = append(p.of[n], e)
			all = append(all, e)
		}
		for _, pile := range p.of {
			slices.SortFunc(pile, order)
		}
		slices.SortFunc(all, order)
		for _, e := range all {
			if !e.gone {
				want = append(want, e.key)
			}
		}
		limit := 1 + r.IntN(40)
		var got []string
		for after, more := (place{}), true; more; {
			var found []entry
			var err error
			g := newGathering(len(p.of), limit+1, after, backwards, p.fetch(backwards))
			if r.IntN(2) == 0 {
				g.chunk = 1 + r.IntN(limit)
			}
			if found, after, more, err = g.take(t.Context(), limit); err != nil || len(found) > limit || more && len(found) < limit {
				t.Fatalf("%d entries for %d, more %t, %v", len(found), limit, more, err)
			}
			for _, e := range found {
				got = append(got, e.key)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d partitions, in pages of %d: got %v, want %v", len(p.of), limit, got, want)
		}
	}
}

func TestAPageIsShortRatherThanLateWhenNearlyEverythingMoved(t *testing.T) {
	p := &piles{of: make([][]entry, 1)}
	for i := range 10_000 {
		p.of[0] = append(p.of[0], entry{place: place{key: fmt.Sprintf("%05d", i)}, gone: i != 9_990})
	}
	pages, found := 0, 0
	for after, more := (place{}), true; more; pages++ {
		before := after
		var entries []entry
		var err error
		entries, after, more, err = newGathering(1, 11, after, false, p.fetch(false)).take(t.Context(), 10)
		if err != nil || more && after.compare(before) <= 0 {
			t.Fatalf("%v, and it went from %v to %v", err, before, after)
		}
		found += len(entries)
	}
	if pages != 10 || found != 1 {
		t.Errorf("%d pages with %d entries", pages, found)
	}
}

func TestAPartitionThatCannotAnswerOrFailsEndsTheMerge(t *testing.T) {
	broken := errors.New("broken")
	for _, at := range []int{0, 3, 7} {
		f := func(_ context.Context, partition int, _ place, n int) (projections.Header, []entry, error) {
			h := projections.Header{Partition: partition, State: projections.Live}
			if partition == at {
				h.State = projections.Building
			}
			return h, make([]entry, n), nil
		}
		g := newGathering(8, 5, place{}, false, f)
		entries, _, more, err := g.take(t.Context(), 4)
		if err != nil || len(entries) > 0 || more || g.low.State != projections.Building || g.low.Partition != at {
			t.Errorf("%d entries, %t, %v, of %+v", len(entries), more, err, g.low)
		}
		g = newGathering(8, 5, place{}, false, func(_ context.Context, partition int, _ place, _ int) (h projections.Header, list []entry, err error) {
			if partition >= at {
				err = fmt.Errorf("%d: %w", partition, broken)
			}
			return h, list, err
		})
		if _, _, _, err = g.take(t.Context(), 4); !errors.Is(err, broken) || err.Error()[0] != byte('0'+at) {
			t.Errorf("got %v, want the error of partition %d", err, at)
		}
	}
}

func TestAPageAsksEachPartitionForItsShare(t *testing.T) {
	for _, c := range []struct{ wanted, partitions, least, most int }{{51, 16, 4, 20}, {1_001, 16, 63, 100}, {2, 16, 1, 2}, {1_001, 1, 1_001, 1_001}, {51, 256, 1, 8}} {
		if n := chunkOf(c.wanted, c.partitions); n < c.least || n > c.most {
			t.Errorf("for %d of %d partitions it asks each for %d", c.wanted, c.partitions, n)
		}
	}
}
