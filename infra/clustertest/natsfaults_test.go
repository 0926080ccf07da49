//go:build cluster

package clustertest_test

import (
	"testing"
	"time"

	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/natslog"
)

const (
	// between is how many more appends must be acknowledged before and after each fault: writing goes on, with a node down too.
	between = 60
	// leaders is how often a stream changes its leader in its test, and stepEvery how often it is told to.
	leaders   = 40
	stepEvery = 100 * time.Millisecond
)

// TestNothingAcknowledgedIsLostOnThreeNodes writes, reads, projects and queries while nodes die and leaders change. Afterwards everything that
// anybody was told is compared with the log.
func TestNothingAcknowledgedIsLostOnThreeNodes(t *testing.T) {
	impatient := natslog.Options{AttemptTimeout: time.Second, ResolveFor: 2 * time.Second}
	grouped := natslog.Options{Commit: natslog.GroupCommit}
	servers, redis := clustertest.StartNATS(t), clustertest.StartRedis(t, 1)
	for _, c := range []struct {
		name    string
		origin  string
		options natslog.Options
		fault   func(t *testing.T, servers *clustertest.NATS, r *region, l *ledger)
	}{
		{"one node after the other is killed", "kill", natslog.Options{}, killEach},
		{"the leader of the stream is killed again and again", "lead", grouped, killLeader},
		{"leaders step down", "step", grouped, stepDown},
		{"rolling restart", "roll", natslog.Options{}, rollingRestart},
		{"one node after the other loses its disk", "disk", natslog.Options{}, loseDisks},
		{"two nodes are killed and come back", "half", impatient, killMajority},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := openRegion(t, servers.Dial(t), redis.Client(), c.origin, clustertest.Nodes, c.options)
			r.project(projection(t), "one")
			r.project(projection(t), "two")
			read := r.follow()
			l := r.write()
			l.more(between)
			r.answers()
			asked := r.ask(l.keys(), &l.written)
			c.fault(t, servers, r, l)
			l.more(between)
			l.close()
			h := r.equal()
			read.reach(t, h.head)
			l.weigh(t, h)
			asked.weigh(t, h)
		})
	}
}

func killEach(t *testing.T, servers *clustertest.NATS, _ *region, l *ledger) {
	for i := range clustertest.Nodes {
		servers.Kill(i)
		l.more(between)
		servers.Start(i)
		l.more(between)
	}
	t.Logf("%d nodes killed", clustertest.Nodes)
}

// loseDisks lets each node come back empty, once the others have everything.
func loseDisks(t *testing.T, servers *clustertest.NATS, _ *region, l *ledger) {
	for i := range clustertest.Nodes {
		servers.Kill(i)
		servers.Discard(i)
		l.more(between)
		servers.Start(i)
		l.more(between)
	}
	t.Logf("%d disks lost", clustertest.Nodes)
}

func killLeader(t *testing.T, servers *clustertest.NATS, r *region, l *ledger) {
	const kills = 4
	for range kills {
		leader := servers.StreamLeader(natslog.StreamName(r.origin))
		servers.Kill(leader)
		l.more(between)
		servers.Start(leader)
	}
	t.Logf("%d leaders killed", kills)
}

// stepDown makes the stream, the region's bucket and the cluster itself change their leaders while everybody works.
func stepDown(t *testing.T, servers *clustertest.NATS, r *region, l *ledger) {
	var stream, bucket, meta int
	stop := make(chan struct{})
	timeout := time.AfterFunc(patience, func() { close(stop) })
	defer timeout.Stop()
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	for stream < leaders {
		select {
		case <-tick.C:
		case <-stop:
			t.Fatalf("the stream changed its leader %d times only", stream)
		}
		if servers.StepDown(natslog.StreamName(r.origin)) {
			stream++
		}
		if stream%4 == 1 && servers.StepDown("KV_tidemark-"+r.origin) {
			bucket++
		}
		if stream%8 == 2 && servers.MetaStepDown() {
			meta++
		}
	}
	l.more(between)
	t.Logf("leaders that stepped down: %d of the stream, %d of the bucket, %d of the cluster", stream, bucket, meta)
	if bucket == 0 || meta == 0 {
		t.Error("that tests less than it should")
	}
}

func rollingRestart(t *testing.T, servers *clustertest.NATS, _ *region, l *ledger) {
	const rounds = 2
	for range rounds {
		for i := range clustertest.Nodes {
			servers.Stop(i)
			servers.Start(i)
			l.more(between)
		}
	}
	t.Logf("%d rolling restarts", rounds)
}

// killMajority leaves one node, which may not acknowledge anything. Writers are told that the outcome is not known, and append the same again.
func killMajority(t *testing.T, servers *clustertest.NATS, r *region, l *ledger) {
	leader := servers.StreamLeader(natslog.StreamName(r.origin))
	other := (leader + 1) % clustertest.Nodes
	servers.Kill(leader)
	servers.Kill(other)
	before := l.acks.Load()
	eventually(t, "appends are in doubt", func() bool { return l.doubts.Load() >= writers })
	if now := l.acks.Load(); now > before+writers { // those that were on their way to the writer
		t.Errorf("one node of three acknowledged %d appends", now-before)
	}
	servers.Start(other) // two are enough
	l.more(between)
	servers.Start(leader)
}
