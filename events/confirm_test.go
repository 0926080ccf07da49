package events_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
)

// floors answers with one list after the other; the last one stays.
type floors struct {
	lists [][]events.Floor
	err   error
}

func (f *floors) Floors(context.Context) ([]events.Floor, error) {
	now := f.lists[0]
	if len(f.lists) > 1 {
		f.lists = f.lists[1:]
	}
	return now, f.err
}

func at(seqs ...uint64) []events.Floor {
	var out []events.Floor
	for i, s := range seqs {
		out = append(out, events.Floor{Region: []string{"us", "eu", "ap"}[i], Sequence: s, Connected: true})
	}
	return out
}

func position(t *testing.T, text string) events.Position {
	t.Helper()
	p, err := events.ParsePosition(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConfirmWaitsUntilEnoughRegionsHoldThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &floors{lists: [][]events.Floor{at(10, 3, 9), at(10, 3, 10)}}
		got, err := events.Confirm(t.Context(), f, position(t, "us.7f3a@1:10"), 2)
		if want := []string{"us", "ap"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("confirmed by %v, %v; want %v", got, err, want)
		}
	})
}

func TestConfirmSaysWhoHoldsItWhenTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := events.Confirm(ctx, &floors{lists: [][]events.Floor{at(10, 10, 9)}}, position(t, "us.7f3a@1:10"), 3)
		if !errors.Is(err, events.ErrNotConfirmed) || !slices.Equal(got, []string{"us", "eu"}) || !strings.Contains(err.Error(), "2 of the 3 wanted regions confirmed it in time (us, eu)") {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestConfirmKeepsAskingAFloorThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f := &floors{lists: [][]events.Floor{nil}, err: events.Errorf(events.ErrUnreachable, "the leader us does not answer")}
		got, err := events.Confirm(ctx, f, position(t, "us.7f3a@1:10"), 1)
		if !errors.Is(err, events.ErrNotConfirmed) || !strings.Contains(err.Error(), "the leader us does not answer") || len(got) != 0 {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// TestConfirmWaitsForARegionThatIsNotKnownYet: after a restart of the leader its mirrors are known again one by one.
func TestConfirmWaitsForARegionThatIsNotKnownYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		f := &floors{lists: [][]events.Floor{at(10), at(10), at(10, 10)}}
		if got, err := events.Confirm(ctx, f, position(t, "us.7f3a@1:10"), 2); err != nil || len(got) != 2 {
			t.Errorf("confirmed by %v, %v", got, err)
		}
		_, err := events.Confirm(ctx, f, position(t, "us.7f3a@1:10"), 3)
		if !errors.Is(err, events.ErrNotConfirmed) || !strings.Contains(err.Error(), "the leader knows of 2") {
			t.Errorf("three of two regions: %v", err)
		}
	})
}

func TestARegionThatIsAwayConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		list := at(10, 10)
		list[1].Connected = false
		if got, err := events.Confirm(ctx, &floors{lists: [][]events.Floor{list}}, position(t, "us.7f3a@1:10"), 2); !errors.Is(err, events.ErrNotConfirmed) || len(got) != 1 {
			t.Errorf("confirmed by %v, %v", got, err)
		}
	})
}

func TestConfirmRefusesWhatIsNoPositionOfAnAppend(t *testing.T) {
	for _, p := range []events.Position{{}, position(t, "eu.7f3a@1:1,us.7f3a@1:10")} {
		if _, err := events.Confirm(t.Context(), &floors{lists: [][]events.Floor{at(10)}}, p, 1); !errors.Is(err, events.ErrInvalidPosition) {
			t.Errorf("%q: %v", p, err)
		}
	}
}
