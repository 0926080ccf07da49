package memlog_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
)

// ids folds the ids of an entity's events.
func ids(state []string, r events.Record) ([]string, error) { return append(state, r.Event.ID), nil }

func TestMutateWaitsForACopyThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := memlog.New("us", memlog.Options{})
		defer leader.Close()
		fill(t, leader, 1, 3)
		mirror := leader.Copy(2)
		go func() {
			<-time.After(time.Minute) // of the bubble: the mirror catches up much later
			mirror.Restore(leader)
		}()
		var decided []string
		r, err := events.Mutate(t.Context(), behind{mirror, leader}, ord(), ids, func(state []string) ([]events.Event, error) {
			decided = append(decided, fmt.Sprint(state))
			return []events.Event{event(100)}, nil
		})
		if err != nil || r.Last != 5 || fmt.Sprint(decided) != "[[e1] [e1 e2 e3]]" {
			t.Fatalf("%+v, %v, decided on %v", r, err, decided)
		}
	})
}

// behind reads a mirror and writes to the leader.
type behind struct {
	*memlog.Log
	leader *memlog.Log
}

func (b behind) Append(ctx context.Context, batch events.Batch) (events.Receipt, error) {
	return b.leader.Append(ctx, batch)
}

func TestMutateLeavesOutWhatAPromotionCutOff(t *testing.T) {
	l := filled(t, 1)
	for _, b := range []events.Batch{batch(10, 12), batch(20, 24)} {
		if _, err := l.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	l.Tear(2)
	fill(t, l, 30, 30)
	var decided []string
	r, err := events.Mutate(t.Context(), l, ord(), ids, func(state []string) ([]events.Event, error) {
		decided = state
		return []events.Event{event(40)}, nil
	})
	if err != nil || fmt.Sprint(decided) != "[e1 e10 e11 e12 e30]" || r.Last != 10 {
		t.Fatalf("%+v, %v, decided on %v", r, err, decided)
	}
}

func TestMutateForgetsWhatAPromotionMadeVoid(t *testing.T) {
	leader := filled(t, 1)
	if _, err := leader.Append(t.Context(), batch(10, 12)); err != nil {
		t.Fatal(err)
	}
	mirror := leader.Copy(4) // two of the three
	defer mirror.Close()
	var decided []string
	_, err := events.Mutate(t.Context(), mirror, ord(), ids, func(state []string) ([]events.Event, error) {
		if decided = append(decided, fmt.Sprint(state)); len(decided) == 1 {
			mirror.Promote()
			fill(t, mirror, 20, 20)
		}
		return []events.Event{event(30)}, nil
	})
	if err != nil || fmt.Sprint(decided) != "[[e1 e10 e11] [e1 e20]]" {
		t.Fatalf("%v, decided on %v", err, decided)
	}
}
