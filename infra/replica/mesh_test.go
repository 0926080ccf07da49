package replica

import (
	"slices"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
)

func TestTwoRegionsFollowOneLeader(t *testing.T) {
	t.Parallel()
	us := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "us", Peers: []string{"eu", "ap"}, LazySync: true})
	eu := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "eu", Peers: []string{"ap"}, Links: []embedded.Link{us.LinkFor("eu")}, SyncInterval: embedded.MirrorSyncInterval})
	ap := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "ap", Links: []embedded.Link{us.LinkFor("ap"), eu.LinkFor("ap")}, SyncInterval: embedded.MirrorSyncInterval})
	leader := openLeader(t, us.connect())
	last := fill(t, leader, 500)
	one := follow(t, eu.connect(), config)
	two := follow(t, ap.connect(), Config{Origin: "us", Region: "ap", Leader: "us"})
	one.catchesUp(t, last)
	two.catchesUp(t, last)
	sameRecords(t, openLog(t, eu.connect(), copied), openLog(t, ap.connect(), copied), last)
	floors := NewFloors(us.connect(), "us", "us")
	tells := func(want ...events.Floor) {
		t.Helper()
		eventually(t, "each region's floor is told", func() bool {
			all, err := floors.Floors(within(t))
			return err == nil && slices.Equal(all, want)
		})
	}
	tells(events.Floor{Region: "ap", Sequence: last, Connected: true}, events.Floor{Region: "eu", Sequence: last, Connected: true}, events.Floor{Region: "us", Sequence: last, Connected: true})
	ap.stop()
	defer ap.start() // the cleanup stops it again
	next := fill(t, leader, 500)
	one.catchesUp(t, next)
	tells(events.Floor{Region: "ap", Sequence: last}, events.Floor{Region: "eu", Sequence: next, Connected: true}, events.Floor{Region: "us", Sequence: next, Connected: true})
}

// Requests take 200 ms and more here, and so do answers.
func TestALinkWithLatencyIsFollowed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.wire.Delay(100*time.Millisecond, 20*time.Millisecond)
	last := fill(t, p.leader, 2_000)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	p.confirms(t, last)
	p.wire.Cut()
	last = fill(t, p.leader, 2_000)
	m.reaches(t, events.CopyUnknown)
	p.wire.Heal()
	healed := time.Now()
	m.catchesUp(t, last)
	t.Logf("caught up %s after the link was healed", time.Since(healed))
	sameRecords(t, p.leader, openLog(t, p.euConn, copied), last)
}

// What one side sends vanishes; what the other sends arrives.
func TestALinkThatCarriesOneWayIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, dir := range []netfault.Direction{netfault.ToTarget, netfault.FromTarget} {
		p := startPair(t)
		last := fill(t, p.leader, 100)
		m := follow(t, p.euConn, config)
		m.catchesUp(t, last)
		p.wire.OneWay(dir)
		last = fill(t, p.leader, 100)
		m.reaches(t, events.CopyUnknown)
		p.wire.Heal()
		m.catchesUp(t, last)
		m.stop()
	}
}

// Each request of the mirror reaches one of the processes that keep the gate.
func TestSeveralProcessesKeepTheGate(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 300)
	all := []*running{follow(t, p.euConn, config), follow(t, p.euConn, config), follow(t, p.euConn, config)}
	for range 2 {
		for _, m := range all {
			m.catchesUp(t, last)
		}
		if err := jetStream(t, p.usConn).DeleteConsumer(within(t), "EVT_us", "mirror-eu"); err != nil {
			t.Fatal(err)
		}
		p.wire.Break()
		last = fill(t, p.leader, 300)
	}
	all[0].stop()
	for _, m := range all[1:] {
		m.catchesUp(t, last)
	}
	sameRecords(t, p.leader, openLog(t, p.euConn, copied), last)
}
