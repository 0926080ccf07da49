package events

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// handClock is a wall clock set by hand.
type handClock struct{ now time.Time }

func (c *handClock) wall() time.Time { return c.now }

func noon() time.Time { return time.Date(2024, 3, 9, 12, 0, 0, 0, time.UTC) }

func TestTimestampHoldsMillisecondsAndACounter(t *testing.T) {
	at := noon().Add(123*time.Millisecond + 999*time.Microsecond)
	ts := TimestampAt(at) + 7
	if !ts.Time().Equal(noon().Add(123*time.Millisecond)) || ts.Logical() != 7 || ts.Time().Location() != time.UTC {
		t.Errorf("%d is %s with counter %d", ts, ts.Time(), ts.Logical())
	}
	if got := TimestampAt(time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)); got != 0 {
		t.Errorf("a time before 1970 is %d", got)
	}
	if early, late := TimestampAt(noon()), TimestampAt(time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)); late < early {
		t.Errorf("the year 20,000 is %s", late.Time())
	}
}

func TestClockRisesWithTheWallAndBetweenItsTicks(t *testing.T) {
	hand := &handClock{now: noon()}
	c := Clock{Wall: hand.wall}
	var last Timestamp
	for i := range 1_000 {
		if i%100 == 99 {
			hand.now = hand.now.Add(time.Millisecond)
		}
		ts, err := c.Now()
		if err != nil || ts <= last {
			t.Fatalf("%d after %d: %v", ts, last, err)
		}
		last = ts
	}
	if !last.Time().Equal(hand.now) || last.Logical() != 0 { // the wall's last tick came with the last reading
		t.Errorf("the last timestamp is %s+%d, the wall %s", last.Time(), last.Logical(), hand.now)
	}
}

func TestClockSurvivesAWallThatGoesBackUpToTheBound(t *testing.T) {
	hand := &handClock{now: noon()}
	c := Clock{Wall: hand.wall}
	first, err := c.Now()
	if err != nil {
		t.Fatal(err)
	}
	hand.now = noon().Add(-MaxClockAhead + time.Millisecond)
	second, err := c.Now()
	if err != nil || second != first+1 {
		t.Fatalf("%d after %d: %v", second, first, err)
	}
	hand.now = noon().Add(-MaxClockAhead - time.Millisecond)
	if ts, err := c.Now(); !errors.Is(err, ErrClockAhead) || ts != 0 {
		t.Fatalf("%d: %v", ts, err)
	}
	hand.now = noon()
	if third, err := c.Now(); err != nil || third != second+1 {
		t.Fatalf("a refused reading changed the clock: %d after %d, %v", third, second, err)
	}
}

func TestClockFollowsWhatItObservesUpToTheBound(t *testing.T) {
	hand := &handClock{now: noon()}
	c := Clock{Wall: hand.wall}
	seen := TimestampAt(noon().Add(MaxClockAhead))
	if err := c.Observe(seen); err != nil {
		t.Fatal(err)
	}
	if ts, err := c.Now(); !errors.Is(err, ErrClockAhead) {
		t.Fatalf("beyond the bound: %d, %v", ts, err)
	}
	hand.now = noon().Add(time.Millisecond)
	if ts, err := c.Now(); err != nil || ts != seen+1 {
		t.Fatalf("%d, want %d: %v", ts, seen+1, err)
	}
	if err := c.Observe(TimestampAt(noon().AddDate(10, 0, 0))); !errors.Is(err, ErrClockAhead) {
		t.Fatalf("ten years ahead: %v", err)
	}
	if err := c.Observe(1); err != nil {
		t.Fatalf("the past: %v", err)
	}
	if ts, err := c.Now(); err != nil || ts != seen+2 {
		t.Fatalf("%d, want %d: %v", ts, seen+2, err)
	}
}

func TestClockCountsOnWhenItsCounterIsFull(t *testing.T) {
	hand := &handClock{now: noon()}
	c := Clock{Wall: hand.wall}
	last, _ := c.Now()
	for range 1<<logicalBits + 10 {
		ts, err := c.Now()
		if err != nil || ts != last+1 {
			t.Fatalf("%d after %d: %v", ts, last, err)
		}
		last = ts
	}
	if !last.Time().Equal(noon().Add(time.Millisecond)) {
		t.Errorf("the counter ran over into %s", last.Time())
	}
}

func TestClockIsUniqueUnderConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock // the wall stands still in the bubble
		const workers, readings = 8, 2_000
		all := make([][]Timestamp, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for range readings {
					ts, err := c.Now()
					if err != nil {
						t.Error(err)
						return
					}
					all[w] = append(all[w], ts)
				}
			})
		}
		wg.Wait()
		for _, mine := range all {
			if !slices.IsSorted(mine) {
				t.Error("one goroutine saw the clock go back")
			}
		}
		merged := slices.Concat(all...)
		slices.Sort(merged)
		if got := len(slices.Compact(merged)); got != workers*readings {
			t.Errorf("%d different timestamps of %d", got, workers*readings)
		}
	})
}

func TestClampIsTheBrokersTimeBeyondTheBoundOnly(t *testing.T) {
	broker := noon()
	for _, c := range []struct{ ts, want Timestamp }{
		{0, 0},
		{TimestampAt(broker.Add(-time.Hour)) + 3, TimestampAt(broker.Add(-time.Hour)) + 3},
		{TimestampAt(broker.Add(MaxClockAhead)), TimestampAt(broker.Add(MaxClockAhead))},
		{TimestampAt(broker.Add(MaxClockAhead + time.Millisecond)), TimestampAt(broker)},
		{TimestampAt(broker.AddDate(10, 0, 0)), TimestampAt(broker)},
		{^Timestamp(0), TimestampAt(broker)},
	} {
		got := c.ts.Clamp(broker)
		if got != c.want || got.Clamp(broker) != got {
			t.Errorf("%s clamps to %s, want %s", c.ts.Time(), got.Time(), c.want.Time())
		}
	}
}
