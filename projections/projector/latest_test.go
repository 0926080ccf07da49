package projector_test

import (
	"context"
	"math"
	"reflect"
	"testing"

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
		last := lastChanges(t, v, upto)
		w.settle()
		if len(last[1]) > 0 {
			t.Errorf("of a partition that is not wanted there is %v", last[1])
		}
		now := lastChanges(t, v, checkpointsOf(w.headers(gen)))
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

func lastChanges(t *testing.T, v projector.Version, upto []uint64) []map[string]uint64 {
	t.Helper()
	last := make([]map[string]uint64, len(upto))
	for i := range last {
		last[i] = map[string]uint64{}
	}
	err := projector.LastChanges(context.Background(), v, upto, func(partition int, key string, sequence uint64) {
		if before := last[partition][key]; before > sequence {
			t.Errorf("record %d about %s is named behind %d", sequence, key, before)
		}
		last[partition][key] = sequence
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
		whole := lastChanges(t, projector.Version{Projection: routed{proj}, Log: w.log}, upto)
		if got := lastChanges(t, projector.Version{Projection: proj, Log: w.log}, upto); !reflect.DeepEqual(got, whole) {
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
