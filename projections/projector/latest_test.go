package projector_test

import (
	"context"
	"math"
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
		last, err := projector.LastChanges(ctx, v, upto)
		if err != nil {
			t.Fatal(err)
		}
		w.settle()
		if len(last[1]) > 0 {
			t.Errorf("of a partition that is not wanted there is %v", last[1])
		}
		now, err := projector.LastChanges(ctx, v, checkpointsOf(w.headers(gen)))
		if err != nil {
			t.Fatal(err)
		}
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

func checkpointsOf(headers []projections.Header) []uint64 {
	upto := make([]uint64, len(headers))
	for i := range headers {
		upto[i] = projections.SequenceOf(headers[i].Checkpoint)
	}
	return upto
}
