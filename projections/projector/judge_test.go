package projector_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// byTheLog has the log judge everything that the live generation holds, while nothing moves: it must find nothing, and the recorded marks right.
func (w *world) byTheLog() error {
	w.t.Helper()
	ctx, gen := context.Background(), w.live()
	proj, err := w.newProjection(w.kind, w.version)
	if err != nil {
		return err
	}
	v, def := projector.Version{Projection: proj, Log: w.log}, proj.Definition()
	copied := memstore.New()
	copied.Restore(w.store.Snapshot())
	headers, marks, err := copied.Marks(ctx, gen)
	if err != nil {
		return err
	}
	surveys := make([]*projector.Survey, gen.Partitions)
	var cases []projector.Case
	for i := range surveys {
		at := projections.SequenceOf(headers[i].Checkpoint)
		surveys[i] = &projector.Survey{Partition: i, Upto: at, Marks: marks[i]}
		_, docs, err := copied.Page(ctx, gen, def, i, "", math.MaxInt)
		if err != nil {
			return err
		}
		for j := range docs {
			cases = append(cases, projector.Case{Key: docs[j].Key, Upto: at, Found: &docs[j]})
		}
	}
	cases = append(cases, projector.Case{Key: "nobody", Upto: projections.SequenceOf(headers[0].Checkpoint)})
	if err := projector.Judge(ctx, v, cases); err != nil {
		return err
	}
	for i := range cases {
		if c := &cases[i]; c.Wrong() || !c.Once || c.FirstBad != 0 {
			return fmt.Errorf("%s is %+v, and should be %+v; once %t, wrong since %d", c.Key, c.Found, c.Right, c.Once, c.FirstBad)
		}
	}
	if err := projector.FoldPartitions(ctx, v, gen.Partitions, surveys); err != nil {
		return err
	}
	for i, s := range surveys {
		h := &headers[i]
		if s.Digest != h.Digest || uint64(len(s.Documents)) != h.Documents || s.Parked != h.Parked {
			return fmt.Errorf("partition %d has %d documents, %d parked, %s; folded again %d, %d, %s", i, h.Documents, h.Parked, h.Digest, len(s.Documents), s.Parked, s.Digest)
		}
		if s.Bad != 0 {
			return fmt.Errorf("partition %d is said to have been wrong at the mark at %d, good at %d; it recorded %v", i, s.Bad, s.Good, s.Marks)
		}
		for j := range cases {
			c := &cases[j]
			if c.Found != nil && projections.PartitionOf(c.Key, gen.Partitions) == i && s.Documents[c.Key] != (projector.Sum{At: c.Right.At, Digest: c.Right.Digest}) {
				return fmt.Errorf("%s is %+v in its partition, and %+v alone", c.Key, s.Documents[c.Key], c.Right)
			}
		}
	}
	return nil
}

func TestTheLogSaysWhatIsWrongAndSinceWhen(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(9)
		w.mark()
		w.settle()
		before := w.store.Snapshot()
		w.add(1) // of a4 or t0
		w.mark()
		w.add(6)
		w.settle()
		if err := w.byTheLog(); err != nil {
			t.Fatal(err)
		}
		proj, err := w.newProjection(w.kind, w.version)
		if err != nil {
			t.Fatal(err)
		}
		ctx, gen, def := context.Background(), w.live(), proj.Definition()
		old := memstore.New()
		old.Restore(before)
		var touched []projector.Case
		for i, h := range w.headers(gen) {
			_, docs, err := old.Page(ctx, gen, def, i, "", math.MaxInt)
			if err != nil {
				t.Fatal(err)
			}
			for j := range docs {
				now, err := w.store.Load(ctx, gen, def, []projections.Ref{{Partition: i, Key: docs[j].Key}})
				if err != nil {
					t.Fatal(err)
				}
				if slices.Equal(now[0].Values, docs[j].Values) {
					continue
				}
				edited := *now[0]
				edited.Values = slices.Clone(edited.Values)
				edited.Values[0] += "9"
				at := projections.SequenceOf(h.Checkpoint)
				touched = append(touched, projector.Case{Key: docs[j].Key, Upto: at, Found: &docs[j]}, projector.Case{Key: docs[j].Key, Upto: at}, projector.Case{Key: docs[j].Key, Upto: at, Found: &edited})
			}
		}
		if len(touched) == 0 {
			t.Fatal("no document changed")
		}
		for i := range touched { // one by one: a document can be judged once at a time
			list := touched[i : i+1]
			if err := projector.Judge(ctx, projector.Version{Projection: proj, Log: w.log}, list); err != nil {
				t.Fatal(err)
			}
			c := &list[0]
			_, after, _ := strings.Cut(c.Right.At, "@1:")
			switch last := fmt.Sprint(c.Touched[len(c.Touched)-1]); {
			case !c.Wrong() || last != after:
				t.Errorf("%s is %+v, and should be %+v, last touched at %s", c.Key, c.Found, c.Right, last)
			case i%3 == 0 && (!c.Once || c.FirstBad <= projections.SequenceOf(position(t, c.Found.At)) || !slices.Contains(c.Touched, c.FirstBad)):
				t.Errorf("the old %s is wrong since %d, once %t", c.Key, c.FirstBad, c.Once)
			case i%3 == 1 && (!c.Once || c.FirstBad != c.Touched[0]):
				t.Errorf("that there is no %s is wrong since %d, once %t", c.Key, c.FirstBad, c.Once)
			case i%3 == 2 && (c.Once || c.FirstBad != 0):
				t.Errorf("the edited %s is wrong since %d, once %t", c.Key, c.FirstBad, c.Once)
			}
		}
	})
}

func position(t *testing.T, text string) events.Position {
	t.Helper()
	p, err := events.ParsePosition(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A partition whose sums went wrong at some event is told the last mark at which it was right.
func TestPartitionsAreToldSinceWhichMarkTheyAreWrong(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		for range 5 {
			w.add(5)
			w.mark()
		}
		w.settle()
		proj, err := w.newProjection(w.kind, w.version)
		if err != nil {
			t.Fatal(err)
		}
		headers, marks, err := w.store.Marks(context.Background(), w.live())
		if err != nil {
			t.Fatal(err)
		}
		surveys := make([]*projector.Survey, len(headers))
		for i := range surveys {
			for n := 3; n < 5; n++ {
				marks[i][n].Digest = marks[i][n].Digest.Add(marks[i][0].Digest).Add(marks[0][4].Digest)
				marks[i][n].Documents++
			}
			surveys[i] = &projector.Survey{Partition: i, Upto: projections.SequenceOf(headers[i].Checkpoint), Marks: marks[i]}
		}
		if err := projector.FoldPartitions(context.Background(), projector.Version{Projection: proj, Log: w.log}, len(headers), surveys); err != nil {
			t.Fatal(err)
		}
		for i, s := range surveys {
			if s.Good != marks[i][2].Sequence || s.Bad != marks[i][3].Sequence {
				t.Errorf("partition %d is right up to %d and wrong from %d, want %v", i, s.Good, s.Bad, marks[i])
			}
		}
	})
}
