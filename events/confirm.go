package events

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// confirmPoll bounds how often Confirm looks at the floors.
const (
	confirmPollFrom = 5 * time.Millisecond
	confirmPollTo   = 200 * time.Millisecond
)

// Confirm waits until at least n regions that are connected hold every record up to p, and returns their names. The leader counts as one. Floors carry no
// lineage: p is the position of an append to the log whose floors these are, and the caller vouches for that. Errors: ErrNotConfirmed when ctx ends first,
// naming the regions that do hold it; ErrInvalidPosition. The append itself is not undone by any of them: it is stored at the leader.
func Confirm(ctx context.Context, floors Floors, p Position, n int) ([]string, error) {
	if len(p.Points()) != 1 {
		return nil, Errorf(ErrInvalidPosition, "%q is not the position of an append", p)
	}
	seq := p.Points()[0].Sequence
	var holds []string
	var last error
	for poll := confirmPollFrom; ; poll = min(2*poll, confirmPollTo) {
		all, err := floors.Floors(ctx)
		if err == nil {
			holds = holders(all, seq)
			if len(holds) >= n {
				return holds, nil
			}
			if len(all) < n { // one that is not known yet, or not known again since the leader was restarted, may still come
				err = fmt.Errorf("the leader knows of %d", len(all))
			}
		}
		last = err
		t := time.NewTimer(poll)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return holds, notConfirmed(p, holds, n, last)
		}
	}
}

func holders(all []Floor, seq uint64) []string {
	var names []string
	for _, f := range all {
		if f.Connected && f.Sequence >= seq { // what a region that is away confirmed once says nothing about now
			names = append(names, f.Region)
		}
	}
	return names
}

func notConfirmed(p Position, holds []string, n int, why error) error {
	who := "it is not known which"
	if len(holds) > 0 {
		who = strings.Join(holds, ", ")
	}
	text := fmt.Sprintf("the events are stored at %s; %d of the %d wanted regions confirmed it in time (%s)", p, len(holds), n, who)
	err := Errorf(ErrNotConfirmed, "%s", text)
	if why != nil {
		err = Errorf(ErrNotConfirmed, "%s: %w", text, why)
	}
	return err.Hint("They are not lost and need not be published again; the other regions get them when their link is up. tidemark status shows them.")
}
