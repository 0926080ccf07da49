package replica

import (
	"testing"

	"tidemark.dev/events"
)

func TestACopyIsMadeAndFollows(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 2_000)
	m := follow(t, p.euConn, config)
	now := m.catchesUp(t, last)
	if now.Head.String() != now.LeaderHead.String() || now.Code != "" {
		t.Errorf("%+v", now)
	}
	last = fill(t, p.leader, 1_000)
	m.catchesUp(t, last)
	here := openLog(t, p.euConn, copied)
	sameRecords(t, p.leader, here, last)
	floors := NewFloors(p.usConn, "us", "us")
	eventually(t, "the floor is the head", func() bool {
		all, err := floors.Floors(within(t))
		return err == nil && len(all) == 2 && all[0] == events.Floor{Region: "eu", Sequence: last, Connected: true} && all[1].Sequence == last
	})
	t.Log(m.logs.String())
}
