package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

func TestTheLagIsUnknownAndNeverZeroWhenTheLogDoesNotAnswer(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		r.end()
		r.depart("ORD")
		r.log.Unreachable(-1)
		pass(time.Second) // what was known before is too old
		a, err := r.get("A001", query.Options{})
		if err != nil || a.Lag != nil || !a.Position.Equal(at) {
			t.Errorf("the answer is %+v, %v", a, err)
		}
		if a, err = r.get("ORD", query.Options{}); !errors.Is(err, projections.ErrNoDocument) || a.Lag != nil {
			t.Errorf("the answer is %+v, %v", a, err)
		}
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
		if err != nil || page.Lag != nil || len(page.Items) != 3 {
			t.Errorf("the page is %+v, %v", page, err)
		}
		o, err := r.reader.Overview(context.Background())
		if err != nil || o.Projections[0].Lag != nil || !o.Head.IsZero() || o.Projections[0].State != "live" {
			t.Errorf("the overview is %+v, %v", o, err)
		}
		if text, err := json.Marshal(page); err != nil || !strings.Contains(string(text), `"lag":null`) {
			t.Errorf("as JSON: %s, %v", text, err)
		}
		_, err = r.get("A001", query.Options{AtLeast: at})
		wants(t, err, events.ErrUnreachable)

		r.log.Unreachable(0)
		pass(2 * time.Second)
		if a, err = r.get("A001", query.Options{AtLeast: at}); err != nil || a.Lag == nil || a.Lag.Events != 1 {
			t.Errorf("the answer is %+v, %v", a, err)
		}
	})
}

func TestAQueryDoesNotHangOnALogThatHangs(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		r.asked.hangs.Store(true)
		pass(time.Minute)
		began := time.Now()
		var waiting sync.WaitGroup
		for range 50 {
			waiting.Go(func() {
				if a, err := r.get("A001", query.Options{}); err != nil || a.Lag != nil {
					t.Errorf("the answer is %+v, %v", a, err)
				}
			})
		}
		waiting.Wait()
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("fifty queries took %s", took)
		}
		began = time.Now()
		if _, err := r.get("A001", query.Options{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the next query took %s", took)
		}
		pass(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		began = time.Now()
		if a, err := r.reader.Get(ctx, "airports", "A001", query.Options{}); err == nil && a.Lag != nil || time.Since(began) != 10*time.Millisecond {
			t.Errorf("after %s the answer is %+v, %v", time.Since(began), a, err)
		}
		// Somebody who gave up says nothing about the log: the next one asks.
		r.asked.hangs.Store(false)
		if a, err := r.get("A001", query.Options{}); err != nil || a.Lag == nil {
			t.Errorf("the answer is %+v, %v", a, err)
		}
	})
}

func TestTheLogIsAskedAFewTimesASecondHoweverManyQueriesThereAre(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		before := r.asked.questions.Load()
		for range 1_000 { // one second, in which the read model moves on between any two queries
			at := r.depart("A001")
			pass(time.Millisecond)
			a, err := r.get("A001", query.Options{AtLeast: at})
			if err != nil || a.Lag == nil {
				t.Fatalf("the answer is %+v, %v", a, err)
			}
		}
		if n := r.asked.questions.Load() - before; n > 10 {
			t.Errorf("a thousand queries asked %d times", n)
		}
	})
}

func TestAReadModelThatIsNotOnTheLogsHistoryDoesNotAnswer(t *testing.T) {
	for name, change := range map[string]func(r *region){
		"recreated": func(r *region) { r.log.Recreate() },
		"truncated": func(r *region) { r.log.Truncate(3) },
		"failed over": func(r *region) {
			r.log.Truncate(3)
			r.log.Promote()
			r.depart("ORD")
			r.depart("ORD")
			r.depart("ORD")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, func(r *region) {
				r.departures(5)
				for _, err := range r.bothWays(query.Options{}) {
					if err != nil && !errors.Is(err, projections.ErrNoDocument) {
						t.Fatal(err)
					}
				}
				change(r)
				pass(time.Second)
				for range 200 { // not sometimes: always
					for _, err := range r.bothWays(query.Options{}) {
						wants(t, err, events.ErrForeignHistory)
					}
					pass(7 * time.Millisecond)
				}
			})
		})
	}
}

// Between two questions to the log a checkpoint beyond the known head is taken on trust. When the log then turns out to be shorter, that is
// noticed, whichever partition is asked about.
func TestAShorterLogIsNoticedThoughItIsAskedOnBehalfOfAPartitionItReaches(t *testing.T) {
	inRegion(t, func(r *region) {
		behind := "A001"
		r.departures(5)
		heads := query.NewHeads(r.asked)
		info, err := r.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := heads.Info(context.Background()); err != nil {
			t.Fatal(err)
		}
		ahead := info.Position(info.Last + 10)
		if _, err := heads.Contains(context.Background(), ahead); err != nil {
			t.Fatalf("a checkpoint beyond a head that is a moment old is not believed: %v", err)
		}
		pass(time.Second)
		if _, err := heads.Contains(context.Background(), info.Position(2)); err != nil { // asks the log
			t.Fatal(err)
		}
		_, err = heads.Contains(context.Background(), ahead)
		wants(t, err, events.ErrForeignHistory)
		if _, err := r.get(behind, query.Options{}); err != nil {
			t.Error(err)
		}
	})
}

func TestACheckpointBeyondTheKnownHeadIsNoForeignHistory(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		for range 300 {
			r.depart("A001")
			if _, err := r.get("A001", query.Options{}); err != nil {
				t.Fatal(err)
			}
			pass(3 * time.Millisecond)
		}
		r.log.Promote()
		for range 300 {
			r.depart("A001")
			if _, err := r.get("A001", query.Options{}); err != nil {
				t.Fatal(err)
			}
			pass(3 * time.Millisecond)
		}
	})
}
