package redisstore_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/clustertest"
	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

// within bounds what a test waits for.
const within = time.Minute

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("after %s it is still not so: %s", within, what)
		}
	}
}

func TestStoreOnRedisCluster(t *testing.T) {
	cluster := clustertest.StartRedis(t, 0)
	client := cluster.Client()
	storetest.RunStore(t, func(t *testing.T) storetest.Subject {
		cluster.FlushAll()
		return subject(t, client)
	})
	t.Run("a client that does not know the cluster is told so", func(t *testing.T) {
		cluster.FlushAll()
		_, err := open(t, cluster.Node(0)).Headers(t.Context(), generation(projectionPartitions))
		wantText(t, err, "store-unreachable", "MOVED", "cluster client")
	})
	t.Run("a slot can move while the store runs", func(t *testing.T) {
		cluster.FlushAll()
		testMovingSlot(t, cluster)
	})
}

// testMovingSlot moves a partition to another node. While half of it is there, single documents can be read and whole commits are refused;
// before and after, everything works.
func testMovingSlot(t *testing.T, cluster *clustertest.Redis) {
	ctx, g, def := t.Context(), generation(1), definition()
	s := open(t, cluster.Client())
	must(t, s.Create(ctx, g, header(0, 1)))
	fill(t, s, g, 0, 100)
	refs := make([]projections.Ref, 100)
	for i := range refs {
		refs[i].Key = fmt.Sprint("k", i)
	}
	all := func() {
		t.Helper()
		docs, err := s.Load(ctx, g, def, refs)
		must(t, err)
		for i, d := range docs {
			if d == nil || d.Key != refs[i].Key || d.Values == nil {
				t.Fatalf("the document %s was read as %v", refs[i].Key, d)
			}
		}
	}
	all()

	m := newMove(t, cluster, base(g, 0)+":head")
	m.begin()
	all()
	m.keys(docKey(g, refs[0]), docKey(g, refs[1]))
	all()
	half := commit(0, 2, 3, document("k0", 1, 3), document("k50", 1, 3))
	if err := s.Apply(ctx, g, def, []projections.Commit{half})[0]; err != nil {
		wantCode(t, err, projections.ErrStoreUnreachable)
		wantText(t, err, "a slot is being moved")
	} else {
		t.Fatal("a commit took effect on half a partition")
	}
	m.keys(m.rest()...)
	m.finish()
	all()
	must(t, s.Apply(ctx, g, def, []projections.Commit{half})[0])
	h, d, err := s.Get(ctx, g, def, refs[0])
	must(t, err)
	if !h.Checkpoint.Equal(position(3)) || d.At != position(3).String() {
		t.Fatalf("after the move the header is at %s, the document at %s", h.Checkpoint, d.At)
	}
	_, page, err := s.Page(ctx, g, def, 0, "", 1_000)
	must(t, err)
	if len(page) != len(refs) {
		t.Fatalf("after the move a page has %d documents", len(page))
	}
}

// move is the move of one slot between two nodes, as an operator makes it.
type move struct {
	t          *testing.T
	nodes      []*redis.Client
	slot       int
	from, to   *redis.Client
	fromID, id string
}

func newMove(t *testing.T, cluster *clustertest.Redis, key string) *move {
	t.Helper()
	ctx := t.Context()
	m := &move{t: t}
	slot, err := cluster.Client().ClusterKeySlot(ctx, key).Result()
	must(t, err)
	m.slot = int(slot)
	owner, err := cluster.Client().MasterForKey(ctx, key)
	must(t, err)
	for i, addr := range cluster.Addresses() {
		node := cluster.Node(i)
		m.nodes = append(m.nodes, node)
		id := node.Do(ctx, "cluster", "myid").Val().(string)
		if addr == owner.Options().Addr {
			m.from, m.fromID = node, id
		} else {
			m.to, m.id = node, id
		}
	}
	return m
}

func (m *move) begin() {
	m.t.Helper()
	must(m.t, m.to.Do(m.t.Context(), "cluster", "setslot", m.slot, "importing", m.fromID).Err())
	must(m.t, m.from.Do(m.t.Context(), "cluster", "setslot", m.slot, "migrating", m.id).Err())
}

func (m *move) keys(keys ...string) {
	m.t.Helper()
	host, port, err := net.SplitHostPort(m.to.Options().Addr)
	must(m.t, err)
	args := []any{"migrate", host, port, "", 0, 10_000, "auth", clustertest.RedisPassword, "keys"}
	for _, k := range keys {
		args = append(args, k)
	}
	must(m.t, m.from.Do(m.t.Context(), args...).Err())
}

func (m *move) rest() []string {
	m.t.Helper()
	keys, err := m.from.ClusterGetKeysInSlot(m.t.Context(), m.slot, 10_000).Result()
	must(m.t, err)
	return keys
}

func (m *move) finish() {
	m.t.Helper()
	must(m.t, m.to.Do(m.t.Context(), "cluster", "setslot", m.slot, "node", m.id).Err())
	for _, n := range m.nodes {
		must(m.t, n.Do(m.t.Context(), "cluster", "setslot", m.slot, "node", m.id).Err())
	}
}
