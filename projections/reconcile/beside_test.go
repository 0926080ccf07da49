package reconcile_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

var errStuck = errors.New("stuck")

// slowLog takes a while for each pass over all of it, and for each history.
type slowLog struct {
	events.Reader

	pass, history   time.Duration
	broken          bool   // each pass ends with an error
	asked           func() // each time a history is read
	passes, reading atomic.Int64
}

func (s *slowLog) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	if r.To < 100 || r.From > 1 { // a history, or whether the log begins with its beginning
		return s.Reader.Read(ctx, r)
	}
	return func(yield func([]events.Record, error) bool) {
		s.passes.Add(1)
		s.reading.Add(1)
		defer s.reading.Add(-1)
		select {
		case <-time.After(s.pass):
		case <-ctx.Done():
			yield(nil, context.Cause(ctx))
			return
		}
		if s.broken {
			yield(nil, errStuck)
			return
		}
		s.Reader.Read(ctx, r)(yield)
	}
}

func (s *slowLog) History(ctx context.Context, entity events.Entity, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if s.asked != nil {
			s.asked()
		}
		select {
		case <-time.After(s.history):
			s.Reader.History(ctx, entity, from)(yield)
		case <-ctx.Done():
			yield(events.Record{}, context.Cause(ctx))
		}
	}
}

// stuckStore takes five seconds for each partition, and fails with one of them.
type stuckStore struct {
	projections.Store

	fails int // partition; 0: none
}

func (s *stuckStore) Page(ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int) (projections.Header, []projections.Document, error) {
	pass(5 * time.Second)
	if s.fails > 0 && partition == s.fails {
		return projections.Header{}, nil, errStuck
	}
	return s.Store.Page(ctx, g, def, partition, after, limit)
}

// Without a budget the log is read while the other partitions are walked through, once the sums of one are wrong and nothing that is suspect explains it; and not otherwise. Two and two partitions take
// five seconds each, so a pass of seven seconds that begins after the first two ends two seconds after the others.
func TestTheLogIsReadBesideTheWalk(t *testing.T) {
	gone := func(p *place, of ...int) {
		refs := p.refs()
		for _, partition := range of {
			p.vanish(refs[slices.IndexFunc(refs, func(ref projections.Ref) bool { return ref.Partition == partition })])
		}
	}
	emptied := func(p *place, of ...int) {
		refs := p.refs()
		for _, partition := range of {
			p.edit(refs[slices.IndexFunc(refs, func(ref projections.Ref) bool { return ref.Partition == partition })], func(f map[string]string) { clear(f) })
		}
	}
	for name, c := range map[string]struct {
		do      func(*place)
		kind    string // of projection; accounts
		history time.Duration
		broken  bool
		fails   int
		deep    bool
		end     time.Duration // of the examination's context
		found   int
		err     error
		passes  int64
		seconds float64
	}{
		"one is gone":                      {do: func(p *place) { gone(p, 0) }, found: 1, passes: 1, seconds: 12},
		"of several partitions":            {do: func(p *place) { gone(p, 0, 1, 3) }, found: 3, passes: 1, seconds: 12},
		"it explains itself":               {do: func(p *place) { emptied(p, 0, 2) }, found: 2, seconds: 10},
		"sums are right":                   {do: func(p *place) { p.edit(p.refs()[0], func(f map[string]string) { f["sum"] += "1" }) }, found: 1, seconds: 10},
		"all is folded anyway":             {do: func(p *place) { gone(p, 0) }, deep: true, found: 1, passes: 1, seconds: 17},
		"keys are computed":                {do: func(p *place) { emptied(p, 0, 2) }, kind: "tags", found: 2, passes: 1, seconds: 17},
		"the store fails meanwhile":        {do: func(p *place) { gone(p, 0) }, fails: 3, err: errStuck, passes: 1, seconds: 10},
		"the store fails during judging":   {do: func(p *place) { emptied(p, 0) }, history: time.Hour, fails: 3, err: errStuck, seconds: 10},
		"the log fails":                    {do: func(p *place) { gone(p, 0) }, broken: true, err: errStuck, passes: 1, seconds: 12},
		"whoever asked has gone meanwhile": {do: func(p *place) { gone(p, 0) }, end: 11 * time.Second, err: context.DeadlineExceeded, passes: 1, seconds: 11},
	} {
		t.Run(name, func(t *testing.T) {
			kind := "accounts"
			if c.kind != "" {
				kind = c.kind
			}
			inPlace(t, kind, 7, nil, func(p *place) {
				p.add(120)
				p.settle()
				c.do(p)
				log := &slowLog{Reader: p.log, pass: 7 * time.Second, history: c.history, broken: c.broken}
				ctx := context.Background()
				if c.end > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.end)
					defer cancel()
				}
				began := time.Now()
				r, err := reconcile.Examine(ctx, "us", projector.Version{Projection: p.proj, Log: log}, &stuckStore{p.store, c.fails}, p.kv, reconcile.Options{Budget: 1, Deep: c.deep})
				if took := time.Since(began).Seconds(); took < c.seconds-0.5 || took > c.seconds+0.5 {
					t.Errorf("it took %.1f s, want %.0f s", took, c.seconds)
				}
				if log.reading.Load() > 0 {
					t.Error("the log is still being read")
				}
				if n := log.passes.Load(); n != c.passes {
					t.Errorf("the log was read %d times, want %d", n, c.passes)
				}
				if !errors.Is(err, c.err) || err == nil && len(r.Findings) != c.found {
					t.Errorf("it found %+v, %v; want %d, %v", r, err, c.found, c.err)
				}
			})
		})
	}
}

// What changes each time it is looked at, during the walk and in the end, is counted once.
func TestWhatChangesAllTheTimeIsCountedOnce(t *testing.T) {
	for _, found := range []func(context.Context, *reconcile.Report) error{nil, func(context.Context, *reconcile.Report) error { return nil }} {
		inPlace(t, "accounts", 7, nil, func(p *place) {
			p.add(120)
			p.settle()
			ref := p.refs()[0]
			p.edit(ref, func(f map[string]string) { clear(f) })
			asked := 0
			log := &slowLog{Reader: p.log, asked: func() {
				asked++
				if len(p.fieldsOf(ref)) > 0 {
					p.edit(ref, func(f map[string]string) { clear(f) })
					return
				}
				_, err := p.log.Append(context.Background(), events.Batch{Events: []events.Event{{ID: events.NewID(), Source: "urn:test", Type: "Changed", Entity: events.Entity{Type: "acct", ID: ref.Key}, Data: []byte(`{"n":1}`)}}})
				if err != nil {
					t.Error(err)
				}
				p.settle()
			}}
			r, err := reconcile.Examine(context.Background(), "us", projector.Version{Projection: p.proj, Log: log}, p.store, p.kv, reconcile.Options{Budget: 1, Found: found})
			if err != nil || r.Unjudged != 1 || len(r.Findings) > 0 || asked < 10 {
				t.Errorf("looked at %d times it said %+v, %v", asked, r, err)
			}
		})
	}
}
