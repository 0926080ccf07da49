package projector_test

import (
	"context"
	"iter"
	"math"
	"reflect"
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
		to := headOf(headers)
		w.add(5) // of which nothing may be seen
		last := lastChanges(t, v, nil, len(headers), 0, to)
		w.settle()
		end := headOf(w.headers(gen))
		now := lastChanges(t, v, nil, len(headers), 0, end)
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
				if seen++; at > to {
					if later++; last[i][d.Key] > to {
						t.Errorf("up to %d the last record about %s is said to be %d", to, d.Key, last[i][d.Key])
					}
				}
			}
		}
		if seen == 0 || later == 0 {
			t.Errorf("%d documents, %d of which changed", seen, later)
		}
		for i, more := range lastChanges(t, v, nil, len(headers), to, end) {
			for key, at := range more {
				if at <= to {
					t.Errorf("after %d the last record about %s is said to be %d", to, key, at)
				}
				last[i][key] = max(last[i][key], at)
			}
		}
		if !reflect.DeepEqual(last, now) {
			t.Errorf("read on it is %v, and at once %v", last, now)
		}
		if none := lastChanges(t, v, nil, len(headers), end, to); !reflect.DeepEqual(none, lastChanges(t, v, nil, len(headers), 0, 0)) {
			t.Errorf("of nothing it is %v", none)
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
		partitions, end := len(w.headers(w.live())), headOf(w.headers(w.live()))
		all := lastChanges(t, v, nil, partitions, 0, end)
		compare := func(what string, to, want uint64) {
			t.Helper()
			seen.from = nil
			some := lastChanges(t, v, kept, partitions, 0, to)
			if len(seen.from) != 1 || seen.from[0] != want {
				t.Errorf("%s: read from %d, want %d", what, seen.from, want)
			}
			for i := range some {
				for key, at := range some[i] {
					if at != all[i][key] && all[i][key] <= to {
						t.Errorf("%s: the last record about %s is said to be %d, and is %d", what, key, at, all[i][key])
					}
				}
			}
			for i := range some {
				_, docs, err := w.store.Page(ctx, w.live(), proj.Definition(), i, "", math.MaxInt)
				if err != nil {
					t.Fatal(err)
				}
				for j := range docs {
					if key := docs[j].Key; some[i][key] == 0 && all[i][key] <= to {
						t.Errorf("%s: nothing is said of %s", what, key)
					}
				}
			}
		}
		compare("the newest", end, second.Sequence+1)
		compare("the newest is of later", second.Sequence-1, first.Sequence+1)
		compare("both are of later", first.Sequence-1, 1)
		cut := func(b []byte) []byte { return b[:len(b)/2] }
		if !kept.Tamper(w.kind, second.ID, cut) {
			t.Fatal("nothing was damaged")
		}
		compare("the newest is damaged", end, first.Sequence+1)
		if !kept.Tamper(w.kind, first.ID, cut) {
			t.Fatal("nothing was damaged")
		}
		compare("both are damaged", end, 1)
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

func lastChanges(t *testing.T, v projector.Version, kept projections.Snapshots, partitions int, after, to uint64) []map[string]uint64 {
	t.Helper()
	last := make([]map[string]uint64, partitions)
	for i := range last {
		last[i] = map[string]uint64{}
	}
	err := projector.LastChanges(context.Background(), v, kept, partitions, after, to, func(partition int, key string, sequence uint64) {
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
		headers := w.headers(w.live())
		whole := lastChanges(t, projector.Version{Projection: routed{proj}, Log: w.log}, nil, len(headers), 0, headOf(headers))
		if got := lastChanges(t, projector.Version{Projection: proj, Log: w.log}, nil, len(headers), 0, headOf(headers)); !reflect.DeepEqual(got, whole) {
			t.Errorf("by their keys the last records are %v, and routed they are %v", got, whole)
		}
	})
}

// routed hides that a projection is Keyed.
type routed struct{ projections.Projection }

// headOf returns how far the partition has come that has come furthest.
func headOf(headers []projections.Header) (at uint64) {
	for i := range headers {
		at = max(at, projections.SequenceOf(headers[i].Checkpoint))
	}
	return at
}
