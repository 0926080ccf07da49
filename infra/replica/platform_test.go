package replica

import (
	"testing"
	"time"

	"tidemark.dev/events"
)

// TestAFloorIsWhatTheMirrorHolds pins what a floor means and how fast it moves: never ahead of the copy, and at its head within a heartbeat and a bit.
func TestAFloorIsWhatTheMirrorHolds(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, 1)
	floors := NewFloors(p.usConn, "us", "us")
	own := ownAPI(p.euConn, "eu")
	var slowest time.Duration
	for range 5 {
		last := fill(t, p.leader, 150)
		began := time.Now()
		eventually(t, "the floor is the head", func() bool {
			all, err := floors.Floors(within(t))
			if err != nil {
				return false
			}
			info, err := own.streamInfo(within(t), "EVT_us")
			if err != nil {
				return false
			}
			if all[0].Sequence > info.State.LastSeq {
				t.Fatalf("the floor is %d, and the copy ends at %d", all[0].Sequence, info.State.LastSeq)
			}
			return all[0] == events.Floor{Region: "eu", Sequence: last, Connected: true}
		})
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("the slowest of 5 took %s", slowest)
}
