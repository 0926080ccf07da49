//go:build unix

package clustertest

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Masters is how many masters a Redis Cluster has. They share all slots.
const Masters = 3

const (
	slots = 16_384
	// nodeTimeout is after how many milliseconds of silence the others take a master for dead that a replica can stand in for, and aloneTimeout one of which
	// there is no other: they would only refuse everything, because a machine stood still for a moment.
	nodeTimeout, aloneTimeout = "2000", "30000"
	// failoverBound is after how long a server gives up a failover that was asked for.
	failoverBound = 6 * time.Second
	// RedisPassword is what clients and replicas log in with.
	RedisPassword = "made-up-redis"
)

// Redis is a Redis Cluster of redis-server processes, each with an append-only file. Nodes 0 to 2 begin as masters, and node 3+i as the
// replica of node i when there are replicas.
type Redis struct {
	t      testing.TB
	nodes  []*redisNode
	client *redis.ClusterClient
}

type redisNode struct {
	process
	addr   string
	client *redis.Client
	id     string
}

// StartRedis starts three masters, each with as many replicas (0 or 1), and returns when they serve every slot.
func StartRedis(t testing.TB, replicas int) *Redis {
	t.Helper()
	c, timeout := &Redis{t: t}, nodeTimeout
	if replicas == 0 {
		timeout = aloneTimeout
	}
	for i, port := range freePorts(t, Masters*(1+replicas)) {
		c.nodes = append(c.nodes, newRedisNode(t, fmt.Sprint("r", i), port,
			"--masterauth", RedisPassword, "--cluster-enabled", "yes", "--cluster-node-timeout", timeout,
			"--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"))
		c.Start(i)
	}
	c.join()
	c.client = c.Dial(t)
	return c
}

// StartRedisAlone starts one server that is no cluster, and returns its address.
func StartRedisAlone(t testing.TB) string {
	t.Helper()
	c := &Redis{t: t, nodes: []*redisNode{newRedisNode(t, "alone", freePorts(t, 1)[0])}}
	c.Start(0)
	return c.nodes[0].addr
}

func newRedisNode(t testing.TB, name string, port int, more ...string) *redisNode {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("clustertest: redis-server is not in PATH (Debian, Ubuntu: apt-get install redis-server): ./scripts/test installs it")
	}
	n := &redisNode{process: process{t: t, name: name, dir: folder(t, "redis")}, addr: address(port)}
	n.argv = append([]string{
		binary, "--bind", host, "--port", strconv.Itoa(port), "--dir", n.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
		"--maxmemory-policy", "noeviction", "--requirepass", RedisPassword,
	}, more...)
	n.client = redis.NewClient(&redis.Options{Addr: n.addr, Password: RedisPassword, ContextTimeoutEnabled: true})
	t.Cleanup(func() {
		_ = n.client.Close()
		n.kill()
	})
	return n
}

// join makes one cluster of the nodes.
func (c *Redis) join() {
	c.t.Helper()
	for i, n := range c.nodes {
		n.id = n.text(n.client.Do(c.t.Context(), "cluster", "myid").Text())
		n.must(n.client.Do(c.t.Context(), "cluster", "set-config-epoch", i+1).Err())
		at, port, _ := strings.Cut(c.nodes[0].addr, ":")
		n.must(n.client.ClusterMeet(c.t.Context(), at, port).Err())
		if i < Masters {
			n.must(n.client.ClusterAddSlotsRange(c.t.Context(), i*slots/Masters, (i+1)*slots/Masters-1).Err())
		}
	}
	for _, n := range c.nodes {
		eventually(c.t, n.name+" knows all nodes", func() bool { return n.tells("cluster_known_nodes:" + strconv.Itoa(len(c.nodes))) })
	}
	for i, n := range c.nodes[Masters:] {
		n.must(n.client.ClusterReplicate(c.t.Context(), c.nodes[i].id).Err())
	}
	for i := range c.nodes {
		c.Joined(i)
	}
}

// Dial returns a client of the cluster, for the rest of a test.
func (c *Redis) Dial(t testing.TB) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addresses(), Password: RedisPassword, ContextTimeoutEnabled: true})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("clustertest: %v", err)
		}
	})
	return client
}

// Client returns a client, always the same one.
func (c *Redis) Client() *redis.ClusterClient { return c.client }

// Addresses returns host:port of every node.
func (c *Redis) Addresses() []string {
	addrs := make([]string, 0, len(c.nodes))
	for _, n := range c.nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

// Node returns a client of one node alone.
func (c *Redis) Node(i int) *redis.Client { return c.nodes[i].client }

// FlushAll empties every master.
func (c *Redis) FlushAll() {
	c.t.Helper()
	for i, n := range c.nodes {
		if n.alive() && c.IsMaster(i) { // a client of the cluster learns late who is one
			n.must(n.client.FlushAll(c.t.Context()).Err())
		}
	}
}

// Kill ends a node with SIGKILL.
func (c *Redis) Kill(i int) { c.nodes[i].kill() }

// Start starts a node, and returns when it answers.
func (c *Redis) Start(i int) {
	c.t.Helper()
	n := c.nodes[i]
	n.start()
	n.answers(n.name+" answers", func() bool { return n.client.Ping(c.t.Context()).Err() == nil })
}

// Joined waits until a node sees a complete cluster and, as a replica, has its master's data.
func (c *Redis) Joined(i int) {
	c.t.Helper()
	n := c.nodes[i]
	n.answers(n.name+" sees a complete cluster", func() bool {
		if !n.tells("cluster_state:ok") || !n.tells("cluster_slots_ok:"+strconv.Itoa(slots)) {
			return false
		}
		replication := n.client.Info(c.t.Context(), "replication").Val()
		return strings.Contains(replication, "role:master") || strings.Contains(replication, "master_link_status:up")
	})
}

// IsMaster reports whether a node is a master, by its own account.
func (c *Redis) IsMaster(i int) bool {
	return strings.Contains(c.nodes[i].client.Info(c.t.Context(), "replication").Val(), "role:master")
}

// Promoted waits until a replica has become a master and the cluster is complete with it. Without a master that dies it never does.
func (c *Redis) Promoted(i int) {
	c.t.Helper()
	eventually(c.t, c.nodes[i].name+" is promoted", func() bool { return c.IsMaster(i) })
	c.Joined(i)
}

// Detach makes a replica keep what it has and get nothing more, until Attach.
func (c *Redis) Detach(i int) {
	c.t.Helper()
	n := c.nodes[i]
	n.must(n.client.ConfigSet(c.t.Context(), "masterauth", "wrong").Err())
	n.must(n.client.Do(c.t.Context(), "client", "kill", "type", "master").Err())
	n.answers(n.name+" has lost its master", func() bool {
		return strings.Contains(n.client.Info(c.t.Context(), "replication").Val(), "master_link_status:down")
	})
}

// Attach takes Detach back.
func (c *Redis) Attach(i int) {
	c.t.Helper()
	c.nodes[i].must(c.nodes[i].client.ConfigSet(c.t.Context(), "masterauth", RedisPassword).Err())
}

// tells reports whether CLUSTER INFO has a line.
func (n *redisNode) tells(line string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askBound)
	defer cancel()
	return strings.Contains(n.client.ClusterInfo(ctx).Val()+"\r\n", line+"\r\n")
}

func (n *redisNode) text(text string, err error) string {
	n.t.Helper()
	n.must(err)
	return text
}

// Failover makes a replica take its master's place while both run, as for a maintenance: nothing is lost. The other becomes its replica.
func (c *Redis) Failover(i int) {
	c.t.Helper()
	before := c.masterOf(i)
	var asked time.Time
	eventually(c.t, c.nodes[i].name+" takes over", func() bool {
		if c.IsMaster(i) {
			return true
		}
		if time.Since(asked) > failoverBound { // the others do not vote twice in so short a time: then it has to be asked again
			_ = c.nodes[i].client.ClusterFailover(c.t.Context()).Err()
			asked = time.Now()
		}
		return false
	})
	c.Joined(i)
	eventually(c.t, c.nodes[before].name+" is a replica", func() bool { return !c.IsMaster(before) })
	c.Joined(before)
}

// masterOf returns the node that a replica follows.
func (c *Redis) masterOf(i int) int {
	c.t.Helper()
	replication := c.nodes[i].client.Info(c.t.Context(), "replication").Val()
	for m, n := range c.nodes {
		if _, port, _ := strings.Cut(n.addr, ":"); strings.Contains(replication, "master_port:"+port+"\r\n") {
			return m
		}
	}
	c.t.Fatalf("clustertest: %s is no replica", c.nodes[i].name)
	return -1
}
