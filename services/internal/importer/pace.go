package importer

import (
	"context"
	"time"

	"tidemark.dev/events"
)

const (
	// DefaultAhead is how many records an import may be ahead of the slowest region that follows the log: some seconds of replication.
	DefaultAhead = 100_000
	// pacePoll is how often the regions are looked at while an import is held back.
	pacePoll = 50 * time.Millisecond
	// paceSilence is how long an import is held back before it is said for whom.
	paceSilence = 5 * time.Second
)

// pace holds an import back while a region that follows the log is too far behind, so that an import does not become lag for everybody. A region whose link
// is down is not waited for: nobody knows for how long. Nor is anything while the floors are not known.
type pace struct {
	floors events.Floors
	ahead  uint64
	lowest uint64 // that was seen last
	held   func(events.Floor)
}

// wait returns when the slowest region holds all but the last ahead records up to seq.
func (p *pace) wait(ctx context.Context, seq uint64) error {
	if p.floors == nil {
		return nil
	}
	told, begun := false, time.Now()
	for p.lowest+p.ahead < seq {
		all, err := p.floors.Floors(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return nil //nolint:nilerr // not known is no reason to stop
		}
		slowest := events.Floor{Sequence: seq}
		for _, f := range all {
			if f.Connected && f.Sequence < slowest.Sequence {
				slowest = f
			}
		}
		if p.lowest = slowest.Sequence; p.lowest+p.ahead >= seq {
			return nil
		}
		if !told && p.held != nil && time.Since(begun) > paceSilence {
			told = true
			p.held(slowest)
		}
		t := time.NewTimer(pacePoll)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
	return nil
}
