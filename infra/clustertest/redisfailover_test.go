//go:build cluster

package clustertest_test

import (
	"testing"

	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/natslog"
)

// TestARedisClusterThatLosesItsMastersNeverLies takes the masters of the read model away under writes and queries.
func TestARedisClusterThatLosesItsMastersNeverLies(t *testing.T) {
	for name, fault := range map[string]func(*clustertest.Redis, *ledger){
		"each master dies and its replica takes over":                   dieInTurn,
		"each master dies and its replica, which lags, takes over":      dieWithOldReplica,
		"masters hand over to their replicas":                           handOver,
		"a master dies with its replica":                                dieTogether,
		"all masters are emptied":                                       func(c *clustertest.Redis, _ *ledger) { c.FlushAll() },
		"all nodes are killed and started again":                        dieAtOnce,
		"one master is emptied, dies, and its empty replica takes over": emptyAndDie,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := clustertest.StartRedis(t, 1)
			r := openRegion(t, embeddedNATS(t), redis.Client(), "us", 1, natslog.Options{})
			r.project(projection(t), "one")
			l := r.write()
			l.more(300)
			r.answers()
			asked := r.ask(l.keys(), &l.written)
			l.more(300)
			fault(redis, l)
			l.more(300)
			r.answers()
			l.close()
			h := r.equal()
			l.weigh(t, h)
			asked.weigh(t, h)
		})
	}
}

func replicaOf(master int) int { return clustertest.Masters + master }

func dieInTurn(c *clustertest.Redis, l *ledger) {
	for i := range clustertest.Masters {
		c.Kill(i)
		c.Promoted(replicaOf(i))
		l.more(50)
		c.Start(i)
		c.Joined(i)
	}
}

func dieWithOldReplica(c *clustertest.Redis, l *ledger) {
	for i := range clustertest.Masters {
		c.Detach(replicaOf(i))
		l.more(500)
		c.Kill(i)
		c.Promoted(replicaOf(i))
		c.Attach(replicaOf(i))
		l.more(50)
		c.Start(i)
		c.Joined(i)
	}
}

func handOver(c *clustertest.Redis, l *ledger) {
	for i := range clustertest.Masters {
		c.Failover(replicaOf(i))
		l.more(50)
		c.Failover(i)
	}
}

func dieTogether(c *clustertest.Redis, l *ledger) {
	c.Kill(1)
	c.Kill(replicaOf(1))
	l.more(500)
	c.Start(1)
	c.Start(replicaOf(1))
	for i := range 2 * clustertest.Masters {
		c.Joined(i)
	}
}

func dieAtOnce(c *clustertest.Redis, l *ledger) {
	for i := range 2 * clustertest.Masters {
		c.Kill(i)
	}
	l.more(300)
	for i := range 2 * clustertest.Masters {
		c.Start(i)
	}
	for i := range 2 * clustertest.Masters {
		c.Joined(i)
	}
}

func emptyAndDie(c *clustertest.Redis, l *ledger) {
	c.FlushAll()
	c.Kill(0)
	c.Promoted(replicaOf(0))
	l.more(50)
	c.Start(0)
	c.Joined(0)
}
