package projector_test

import (
	"context"
	"iter"
	"math"
	"reflect"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// The last record about a document is the one that it is stored with, unless it is parked; and where there is a document there is a record.
func TestTheLastChangesAreThoseOfTheDocuments(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(9)
		w.mark()
		w.settle()
		proj, err := w.newProjection(w.kind, w.version)
		if err != nil {
			t.Fatal(err)
		}
		ctx, gen, v := context.Background(), w.live(), projector.Version{Projection: proj, Log: w.log}
		headers := w.headers(gen)
		upto := checkpointsOf(headers)
		upto[1] = 0
		w.add(5) // of which nothing may be seen
		last := lastChanges(t, v, nil, upto)
		w.settle()
		if len(last[1]) > 0 {
			t.Errorf("of a partition that is not wanted there is %v", last[1])
		}
		now := lastChanges(t, v, nil, checkpointsOf(w.headers(gen)))
		seen, later := 0, 0
		for i := range headers {
			_, docs, err := w.store.Page(ctx, gen, proj.Definition(), i, "", math.MaxInt)
			if err != nil {
				t.Fatal(err)
			}
			for j := range docs {
				d := &docs[j]
				at := projections.SequenceOf(position(t, d.At))
				if got := now[i][d.Key]; got < at || d.Parked == "" && got != at {
					t.Errorf("the last record about %s is said to be %d, and it is at %s", d.Key, got, d.At)
				}
				if seen++; i != 1 && at > upto[i] {
					if later++; last[i][d.Key] > upto[i] {
						t.Errorf("up to %d the last record about %s is said to be %d", upto[i], d.Key, last[i][d.Key])
					}
				}
			}
		}
		if seen == 0 || later == 0 {
			t.Errorf("%d documents, %d of which changed", seen, later)
		}
	})
}

// With a snapshot only what came after it is read from the log, and every document that is stored has the same last record.
func TestTheLastChangesBeginWithASnapshot(t *testing.T) {
	everyKind(t, func(w *world) {
		kept := w.withSnapshots()
		w.start()
		w.hopeless()
		w.add(20)
		w.settle()
		first := w.snapshot()
		w.add(5)
		w.settle()
		second := w.snapshot()
		w.add(5)
		w.settle()
		proj, err := w.newProjection(w.kind, w.version)
		if err != nil {
			t.Fatal(err)
		}
		ctx, seen := context.Background(), &readings{Reader: w.log}
		v := projector.Version{Projection: proj, Log: seen}
		upto := checkpointsOf(w.headers(w.live()))
		all := lastChanges(t, v, nil, upto)
		compare := func(what string, upto []uint64, want uint64) {
			t.Helper()
			seen.from = nil
			some := lastChanges(t, v, kept, upto)
			if len(seen.from) != 1 || seen.from[0] != want {
				t.Errorf("%s: read from %d, want %d", what, seen.from, want)
			}
			for i := range some {
				for key, at := range some[i] {
					if at != all[i][key] && all[i][key] <= upto[i] {
						t.Errorf("%s: the last record about %s is said to be %d, and is %d", what, key, at, all[i][key])
					}
				}
			}
			for i := range upto {
				_, docs, err := w.store.Page(ctx, w.live(), proj.Definition(), i, "", math.MaxInt)
				if err != nil {
					t.Fatal(err)
				}
				for j := range docs {
					if key := docs[j].Key; some[i][key] == 0 && all[i][key] <= upto[i] {
						t.Errorf("%s: nothing is said of %s", what, key)
					}
				}
			}
		}
		compare("the newest", upto, second.Sequence+1)
		before := slices.Clone(upto)
		before[0] = second.Sequence - 1
		compare("a partition is behind the newest", before, first.Sequence+1)
		before[0] = first.Sequence - 1
		compare("a partition is behind both", before, 1)
		cut := func(b []byte) []byte { return b[:len(b)/2] }
		if !kept.Tamper(w.kind, second.ID, cut) {
			t.Fatal("nothing was damaged")
		}
		compare("the newest is damaged", upto, first.Sequence+1)
		if !kept.Tamper(w.kind, first.ID, cut) {
			t.Fatal("nothing was damaged")
		}
		compare("both are damaged", upto, 1)
	})
}

// readings remembers where the log was read from.
type readings struct {
	events.Reader

	from []uint64
}

func (r *readings) Read(ctx context.Context, wanted events.Range) iter.Seq2[[]events.Record, error] {
	r.from = append(r.from, wanted.From)
	return r.Reader.Read(ctx, wanted)
}

func lastChanges(t *testing.T, v projector.Version, kept projections.Snapshots, upto []uint64) []map[string]uint64 {
	t.Helper()
	last := make([]map[string]uint64, len(upto))
	for i := range last {
		last[i] = map[string]uint64{}
	}
	err := projector.LastChanges(context.Background(), v, kept, upto, func(partition int, key string, sequence uint64) {
		last[partition][key] = max(last[partition][key], sequence)
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// Whether an event is about a document, and which, is the same whether it is routed or not.
func TestAKeyIsThatOfEveryOperation(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(9)
		w.settle()
		proj, err := w.newProjection(w.kind, w.version)
		if err != nil {
			t.Fatal(err)
		}
		upto := checkpointsOf(w.headers(w.live()))
		whole := lastChanges(t, projector.Version{Projection: routed{proj}, Log: w.log}, nil, upto)
		if got := lastChanges(t, projector.Version{Projection: proj, Log: w.log}, nil, upto); !reflect.DeepEqual(got, whole) {
			t.Errorf("by their keys the last records are %v, and routed they are %v", got, whole)
		}
	})
}

// routed hides that a projection is Keyed.
type routed struct{ projections.Projection }

func checkpointsOf(headers []projections.Header) []uint64 {
	upto := make([]uint64, len(headers))
	for i := range headers {
		upto[i] = projections.SequenceOf(headers[i].Checkpoint)
	}
	return upto
}
