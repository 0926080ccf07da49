package embedded

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
)

// clusterSlots is how many slots the masters of a cluster must serve between them.
const clusterSlots = "16384"

// node is what a master of a cluster tells about itself, and about the cluster as it sees it.
type node struct {
	addr    string
	info    map[string]string
	cluster map[string]string
}

// checkCluster checks every master. The first that cannot be asked, by address, decides; otherwise all findings are told at once.
func checkCluster(ctx context.Context, client *redis.ClusterClient) error {
	seeds := strings.Join(client.Options().Addrs, ", ")
	nodes, err := askMasters(ctx, client, seeds)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return events.Errorf(events.ErrUnreachable, "the Redis Cluster at %s has no master that serves a slot", seeds).
			Hint("Wait until it is made: redis-cli --cluster create, then --cluster check.")
	}
	var findings []finding
	for _, n := range nodes {
		if err := n.complete(); err != nil {
			return err
		}
		for _, f := range judge(n.info) {
			f.found = n.addr + ": " + f.found
			findings = append(findings, f)
		}
	}
	return unsafeRedis(seeds, findings)
}

// askMasters returns what each master tells, sorted by address.
func askMasters(ctx context.Context, client *redis.ClusterClient, seeds string) ([]node, error) {
	var mu sync.Mutex
	var nodes []node
	failed := make(map[string]error) // by address
	err := client.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		n, err := askMaster(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[n.addr] = err
		} else {
			nodes = append(nodes, n)
		}
		return nil
	})
	switch { // the masters could not even be found
	case isNoCluster(err):
		return nil, unsafeRedis(seeds, []finding{{"it is no Redis Cluster and was given as one", "Give its one address, and do not say that it is a cluster."}})
	case redis.IsPermissionError(err):
		return nil, denied(seeds, "CLUSTER|SLOTS", err)
	case err != nil:
		return nil, connectError(seeds, err)
	}
	if len(failed) > 0 {
		return nil, failed[slices.Min(slices.Collect(maps.Keys(failed)))]
	}
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.addr, b.addr) })
	return nodes, nil
}

func askMaster(ctx context.Context, c *redis.Client) (node, error) {
	n := node{addr: c.Options().Addr, cluster: make(map[string]string)}
	var err error
	if n.info, err = describeNode(ctx, c); err != nil {
		return n, err
	}
	text, err := c.ClusterInfo(ctx).Result()
	if err := denied(n.addr, "CLUSTER|INFO", err); err != nil {
		return n, err
	}
	readSection(n.cluster, text)
	return n, nil
}

// complete returns ErrUnreachable while the master sees a cluster that cannot serve every slot. A cluster that is being made, or a
// failover, looks like that, so it is not a reason to give up.
func (n node) complete() error {
	state, served := n.cluster["cluster_state"], n.cluster["cluster_slots_ok"]
	if (state == "" || state == "ok") && (served == "" || served == clusterSlots) {
		return nil
	}
	return events.Errorf(events.ErrUnreachable, "the Redis Cluster is not complete, as %s sees it: its state is %q and %s of %s slots are served",
		n.addr, state, served, clusterSlots).
		Hint("Wait for a failover to end. If it lasts, give every slot a master that runs: redis-cli --cluster check %s", n.addr)
}

// isNoCluster reports whether a server said that it is not part of a cluster.
func isNoCluster(err error) bool {
	return err != nil && strings.Contains(err.Error(), "cluster support disabled")
}
