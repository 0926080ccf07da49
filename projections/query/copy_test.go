package query_test

import (
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections/query"
)

// copied is a copy that stands as it says.
type copied struct{ now events.Replication }

func (c *copied) Replication() events.Replication { return c.now }

// TestTheLagOfACopyCountsFromTheLeadersHead: a read model that has everything of a copy that is behind is behind too.
func TestTheLagOfACopyCountsFromTheLeadersHead(t *testing.T) {
	log := memlog.New("us", memlog.Options{Lineage: "abcd"})
	defer log.Close()
	info, err := log.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	here := info.Head()
	ahead := info.Position(info.Last + 7)
	foreign, err := events.ParsePosition("us.ffff@1:900")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		state  events.CopyState
		leader events.Position
		want   *query.Lag
	}{
		{"it leads", events.CopyLeads, events.Position{}, &query.Lag{}},
		{"it follows and is level", events.CopyFollows, here, &query.Lag{}},
		{"it follows and is behind", events.CopyFollows, ahead, &query.Lag{Events: 7}},
		{"the link is down", events.CopyUnknown, here, nil},
		{"it was level when the link went down", events.CopyUnknown, ahead, nil},
		{"it diverged", events.CopyDiverged, here, nil},
		{"the leader never answered", events.CopyFollows, events.Position{}, nil},
		{"the leader is of another history", events.CopyFollows, foreign, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := query.NewCopyHeads(log, &copied{events.Replication{State: c.state, LeaderHead: c.leader}}, nil).Lag(t.Context(), here)
			if (got == nil) != (c.want == nil) || got != nil && (got.Events != c.want.Events || got.At.IsZero()) {
				t.Errorf("the lag is %+v, want %+v", got, c.want)
			}
		})
	}
}
