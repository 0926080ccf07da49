package query

import (
	"context"

	"tidemark.dev/projections"
)

// CountOptions say what is counted.
type CountOptions struct {
	Options
	Range
}

// Count is a number of documents.
type Count struct {
	Projection string `json:"projection"`
	Region     string `json:"region"`
	Index      string `json:"index,omitempty"`
	Count      uint64 `json:"count"`
	Standing
}

// Count counts the documents, or those in a part of an index. Each partition is counted at its own checkpoint, and the answer's position is the lowest of them. Errors are those
// of List without cursors.
func (r *Reader) Count(ctx context.Context, projection string, o CountOptions) (Count, error) {
	if err := o.validate(); err != nil {
		return Count{}, err
	}
	var sum uint64
	m, h, err := r.read(ctx, question{
		projection: projection, from: everywhere,
		do: func(ctx context.Context, m *model) (h projections.Header, err error) {
			h, sum, err = r.count(ctx, m, &o.Range)
			return h, err
		},
	}, o.Options)
	a := Count{Projection: projection, Region: r.region, Index: o.Index, Standing: m.standing(h.Checkpoint)}
	if err != nil {
		return a, err
	}
	var t tag
	t.number(sum)
	a.Count, a.ETag = sum, t.of(m.gen.Number)
	a.Lag = r.headsOf(&m).Lag(ctx, h.Checkpoint)
	return a, nil
}

// count adds up the partitions.
func (r *Reader) count(ctx context.Context, m *model, x *Range) (projections.Header, uint64, error) {
	if x.Index == "" {
		headers, err := r.store.Headers(ctx, m.gen)
		if err != nil {
			return projections.Header{}, 0, err
		}
		_, sum, _ := projections.Sum(headers)
		return least(headers), sum, nil
	}
	from, to, err := x.bounds(&m.def)
	if err != nil {
		return projections.Header{}, 0, err
	}
	headers, counts := make([]projections.Header, m.gen.Partitions), make([]uint64, m.gen.Partitions)
	err = scatter(ctx, m.partitions(), func(ctx context.Context, i int) (err error) {
		headers[i], counts[i], err = r.store.Count(ctx, m.gen, &m.def, i, x.Index, from, to)
		return err
	})
	var sum uint64
	for _, n := range counts {
		sum += n
	}
	return least(headers), sum, err
}

// partitions returns the numbers of all.
func (m *model) partitions() []int {
	all := make([]int, m.gen.Partitions)
	for i := range all {
		all[i] = i
	}
	return all
}
