package memstore_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strings"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// buggyKV is a good KV with one planted bug.
type buggyKV struct {
	*memstore.KV
	bug string
}

// letOthersRun makes a race that is possible happen.
func letOthersRun() {
	for range 20 {
		runtime.Gosched()
	}
}

func (b *buggyKV) Get(ctx context.Context, key string) (projections.Entry, error) {
	e, err := b.KV.Get(ctx, key)
	switch {
	case b.bug == "an empty value is none" && len(e.Value) == 0:
		e.Value = nil
	case b.bug == "a put loses races":
		letOthersRun()
	}
	return e, err
}

func (b *buggyKV) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	next, err := b.KV.Put(ctx, key, value, revision)
	if (b.bug == "a put ignores the revision" || b.bug == "a put loses races" && revision > 0) && errors.Is(err, projections.ErrRevision) {
		e, err := b.KV.Get(ctx, key)
		if err != nil {
			e.Revision = 0
		}
		return b.KV.Put(ctx, key, value, e.Revision)
	}
	return next, err
}

func (b *buggyKV) Delete(ctx context.Context, key string, revision uint64) error {
	if e, err := b.KV.Get(ctx, key); err == nil && b.bug == "a delete ignores the revision" {
		revision = e.Revision
	}
	return b.KV.Delete(ctx, key, revision)
}

func (b *buggyKV) Watch(ctx context.Context, key string) iter.Seq2[projections.Entry, error] {
	return func(yield func(projections.Entry, error) bool) {
		first := true
		for e, err := range b.KV.Watch(ctx, key) {
			switch {
			case first && b.bug == "a watch begins with a change":
				e.Value = nil
			case !first && e.Value == nil && b.bug == "the watch of a deletion is silent":
				continue
			}
			if first = false; !yield(e, err) {
				return
			}
		}
	}
}

func (b *buggyKV) Keys(ctx context.Context, prefix string) ([]string, error) {
	keys, err := b.KV.Keys(ctx, prefix)
	if b.bug == "deleted keys are listed" && strings.HasPrefix("live.gone", prefix) {
		keys = append(keys, "live.gone")
		slices.Sort(keys)
	}
	return keys, err
}

// buggyLeases are good leases with one planted bug.
type buggyLeases struct {
	*memstore.Leases
	other *memstore.Leases
	bug   string
	turn  int
}

func (b *buggyLeases) name(name string) string {
	if b.bug == "names are one" {
		return "n"
	}
	return name
}

func (b *buggyLeases) Acquire(ctx context.Context, name, holder string) (projections.Lease, error) {
	from := b.Leases
	switch b.bug {
	case "two have the lease":
		if b.turn++; b.turn%2 == 0 {
			from = b.other
		}
	case "waiting does not look at the end":
		if ctx.Err() != nil && b.Holder(name) == "" {
			ctx = context.WithoutCancel(ctx)
		}
	case "names are one":
		short, cancel := context.WithTimeout(ctx, 1)
		defer cancel()
		ctx = short
	}
	l, err := from.Acquire(ctx, b.name(name), holder)
	return &buggyLease{Lease: l, of: b, name: name}, err
}

type buggyLease struct {
	projections.Lease
	of   *buggyLeases
	name string
}

func (l *buggyLease) Token() uint64 {
	if l.of.bug == "tokens begin anew" {
		return 1 + l.Lease.Token()%4
	}
	return l.Lease.Token()
}

func (l *buggyLease) Context() context.Context {
	if l.of.bug != "a loss has no cause" {
		return l.Lease.Context()
	}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(l.Lease.Context(), cancel)
	if l.Lease.Context().Err() != nil {
		cancel()
	}
	return ctx
}

func (l *buggyLease) Release(ctx context.Context) error {
	if l.of.bug == "a late release frees the name" {
		l.of.Expire(l.name)
	}
	return l.Lease.Release(ctx)
}
