package query_test

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
)

// mark writes a mark, and returns its position.
func (r *region) mark() events.Position {
	r.t.Helper()
	at, err := marks.New(r.log, marks.Options{}).Now(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}

func (r *region) marks(o query.MarksOptions) query.Marks {
	r.t.Helper()
	m, err := r.reader.Marks(context.Background(), "airports", o)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func TestAReadModelSaysWhatItWasAtEachMark(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		if m := r.marks(query.MarksOptions{}); len(m.Marks) != 0 || m.Unhealthy != nil || !m.Passed.IsZero() || m.Definition == "" || m.Version != 1 || m.Partitions != 4 || m.Generation != 1 {
			t.Errorf("before the first mark it says %+v", m)
		}
		first := r.mark()
		r.departures(5)
		second := r.mark()
		r.applied(second)
		headers, err := r.store.Headers(context.Background(), r.live())
		if err != nil {
			t.Fatal(err)
		}
		digest, documents, _ := projections.Sum(headers)
		r.applied(r.depart("LAX"))
		pass(time.Second)
		m := r.marks(query.MarksOptions{At: second.Points()[0].Sequence})
		if len(m.Marks) != 2 || m.Marks[0].Sequence != first.Points()[0].Sequence || m.Marks[0].Documents != 3 || m.Marks[1].Number != 2 {
			t.Fatalf("the marks are %+v", m.Marks)
		}
		if newest, _ := m.Newest(); newest.Documents != documents || newest.Digest != digest {
			t.Errorf("at the second mark it was %+v, and the headers had %d documents with %s", newest, documents, digest)
		}
		if m.At == nil || len(m.At.Partitions) != 4 || m.At.Number != 2 || m.Region != "us" || m.Lag == nil || m.Lag.Events != 0 || m.Age == nil || *m.Age < 1 || m.Unhealthy != nil {
			t.Errorf("it says %+v", m)
		}
		for i, s := range m.At.Partitions {
			if s.Documents == headers[i].Documents && s.Digest == headers[i].Digest {
				continue
			}
			t.Errorf("partition %d was %+v, and its header had %d documents with %s", i, s, headers[i].Documents, headers[i].Digest)
		}
		text, err := json.Marshal(m)
		var again query.Marks
		if err == nil {
			err = json.Unmarshal(text, &again)
		}
		if err != nil || !strings.Contains(string(text), `"lag":{`) || !reflect.DeepEqual(again.Standing, m.Standing) {
			t.Errorf("%s is read as %+v, %v", text, again, err)
		}
		r.replay()
		if m := r.marks(query.MarksOptions{}); m.Generation != 2 || len(m.Marks) != 2 || m.Marks[1].Digest != digest {
			t.Errorf("after a replay it says %+v", m)
		}
	})
}

func TestMarksAreWaitedFor(t *testing.T) {
	inQuietRegion(t, func(r *region) {
		r.until(func() bool {
			_, err := r.reader.Marks(context.Background(), "airports", query.MarksOptions{})
			return err == nil
		})
		at := r.mark()
		if m := r.marks(query.MarksOptions{Options: query.Options{AtLeast: at, Wait: time.Minute}}); len(m.Marks) != 1 || !m.Position.Equal(at) {
			t.Errorf("it says %+v", m)
		}
		r.end()
		at = r.mark()
		m, err := r.reader.Marks(context.Background(), "airports", query.MarksOptions{Options: query.Options{AtLeast: at, Wait: time.Second}})
		wants(t, err, projections.ErrNotReached)
		if m.Position.IsZero() || m.Generation != 1 || m.Region != "us" {
			t.Errorf("it says %+v", m)
		}
	})
}

func TestMarksThatCannotBeToldAreRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		r.applied(r.mark())
		ask := func(projection string, o query.MarksOptions) error {
			_, err := r.reader.Marks(context.Background(), projection, o)
			return err
		}
		wants(t, ask("nothing", query.MarksOptions{}), projections.ErrUnknownProjection)
		wants(t, ask("a b", query.MarksOptions{}), projections.ErrUnknownProjection)
		wants(t, ask("airports", query.MarksOptions{At: 2}), events.ErrNotFound)
		wants(t, ask("airports", query.MarksOptions{Options: query.Options{Wait: query.MaxWait + 1}}), projections.ErrInvalidQuery)
		r.end()
		r.store.Fail(memstore.Fault{Op: memstore.OpMarks})
		wants(t, ask("airports", query.MarksOptions{}), projections.ErrStoreUnreachable)
		r.store.Disarm()
		r.setState(projections.Building)
		wants(t, ask("airports", query.MarksOptions{}), projections.ErrUnavailable)
	})
}

// TestAReadModelWithEqualMarksIsUnhealthyWhenItPassesNoMore: green while dead.
func TestAReadModelWithEqualMarksIsUnhealthyWhenItPassesNoMore(t *testing.T) {
	ill := func(r *region) string {
		if m := r.marks(query.MarksOptions{}); m.Unhealthy != nil {
			return m.Unhealthy.Code
		}
		return ""
	}
	for name, c := range map[string]struct {
		do   func(r *region)
		want string
	}{
		"nobody writes":       {func(*region) { pass(reconcile.OverdueMarks*marks.DefaultIdle - time.Minute) }, ""},
		"nobody writes marks": {func(*region) { pass(reconcile.OverdueMarks*marks.DefaultIdle + time.Second) }, "overdue"},
		"nobody writes marks, and others write": {func(r *region) {
			r.depart("ORD")
			pass(reconcile.OverdueMarks*marks.DefaultInterval + time.Second)
		}, "overdue"},
		"written to a moment ago": {func(r *region) {
			pass(time.Minute)
			r.depart("ORD")
			pass(time.Second)
		}, ""},
		"the projector ended": {func(r *region) {
			r.end()
			r.mark()
			pass(reconcile.OverdueMarks*marks.DefaultInterval + time.Second)
		}, "silent"},
		"the log does not answer": {func(r *region) {
			r.end()
			pass(time.Second)
			r.log.Unreachable(-1)
		}, "unreachable"},
		"what projectors say is not known": {func(r *region) {
			r.end()
			r.kv.Fail(memstore.Fault{Op: memstore.OpKVGet, Match: func(c memstore.Call) bool { return c.Key == projections.StatusKey("airports") }})
		}, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, func(r *region) {
				r.departures(3)
				r.applied(r.mark())
				pass(time.Second)
				if got := ill(r); got != "" {
					t.Fatalf("it is %s from the start", got)
				}
				c.do(r)
				if got := ill(r); got != c.want {
					t.Errorf("it is %q, want %q", got, c.want)
				}
			})
		})
	}
}
