package events

import (
	"sync"
	"time"
)

// Timestamp is a reading of a hybrid logical clock: 48 bits of milliseconds since 1970 and 16 bits of a counter.
// Timestamps of causally related events are ordered; 0 is no timestamp.
//
// Source: S. Kulkarni, M. Demirbas et al., "Logical Physical Clocks and Consistent Snapshots", 2014.
type Timestamp uint64

const (
	logicalBits = 16
	// MaxClockAhead is how far a timestamp may be ahead of the wall clock.
	MaxClockAhead = 500 * time.Millisecond
)

// TimestampAt returns the timestamp of a wall-clock time with a zero counter: 0 before 1970, the largest there is after
// the year 10889.
func TimestampAt(t time.Time) Timestamp {
	const largest = 1<<(64-logicalBits) - 1
	ms := min(max(t.UnixMilli(), 0), largest)
	return Timestamp(ms) << logicalBits //nolint:gosec // not negative
}

// Time returns the physical part, to the millisecond, in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t >> logicalBits)).UTC() }

// Logical returns the counter.
func (t Timestamp) Logical() uint16 { return uint16(t) }

// Clamp returns t, or the broker's time when t is further ahead of it than MaxClockAhead. Every reader clamps alike,
// because the broker's time of a record is the same everywhere.
func (t Timestamp) Clamp(broker time.Time) Timestamp {
	if t > TimestampAt(broker.Add(MaxClockAhead)) {
		return TimestampAt(broker)
	}
	return t
}

// Clock is a hybrid logical clock. Its zero value reads the system's wall clock. It is safe for concurrent use.
type Clock struct {
	// Wall reads the wall clock; nil means time.Now.
	Wall func() time.Time

	mu   sync.Mutex
	last Timestamp
}

// Now returns a timestamp above every one returned or observed before. It returns ErrClockAhead when that would be
// further ahead of the wall clock than MaxClockAhead: the wall clock went back, or the counter is exhausted.
func (c *Clock) Now() (Timestamp, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := c.wall()
	next := max(c.last+1, TimestampAt(wall))
	if err := ahead(next, wall); err != nil {
		return 0, err
	}
	c.last = next
	return next, nil
}

// Observe makes later readings larger than t. It returns ErrClockAhead, and ignores t, when t is further ahead of the
// wall clock than MaxClockAhead.
func (c *Clock) Observe(t Timestamp) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ahead(t, c.wall()); err != nil {
		return err
	}
	c.last = max(c.last, t)
	return nil
}

func (c *Clock) wall() time.Time {
	if c.Wall != nil {
		return c.Wall()
	}
	return time.Now()
}

func ahead(t Timestamp, wall time.Time) error {
	if t > TimestampAt(wall.Add(MaxClockAhead)) {
		return Errorf(ErrClockAhead, "timestamp %s is more than %s ahead of the wall clock %s",
			t.Time().Format(time.RFC3339Nano), MaxClockAhead, wall.UTC().Format(time.RFC3339Nano)).
			Hint("Check that the clocks of all writers are synchronised.")
	}
	return nil
}
