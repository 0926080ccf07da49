package redisstore_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

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

// startCluster starts three masters, which share all slots, in processes of this test's own.
func startCluster(t testing.TB) *redis.ClusterClient {
	t.Helper()
	ctx := context.Background()
	var nodes []*redis.Client
	var addrs []string
	for range 3 {
		node := startNode(t)
		nodes = append(nodes, node)
		addrs = append(addrs, node.Options().Addr)
	}
	const slots = 16384
	for i, n := range nodes {
		must(t, n.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err())
		host, port, err := net.SplitHostPort(addrs[0])
		must(t, err)
		must(t, n.ClusterMeet(ctx, host, port).Err())
	}
	for _, n := range nodes {
		eventually(t, "the cluster knows all its slots", func() bool {
			info := n.ClusterInfo(ctx).Val()
			return bytes.Contains([]byte(info), []byte("cluster_state:ok")) && bytes.Contains([]byte(info), []byte("cluster_known_nodes:3"))
		})
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { must(t, client.Close()) })
	return client
}

// startNode starts one redis-server for a cluster. It takes a port for its clients and the same plus 10,000 for the others; when somebody
// was faster it tries others.
func startNode(t testing.TB) *redis.Client {
	t.Helper()
	for range 20 {
		if node := tryNode(t, freePort(t)); node != nil {
			return node
		}
	}
	t.Fatal("no redis-server of the cluster could be started")
	return nil
}

func freePort(t testing.TB) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		must(t, l.Close())
		if port <= 55_000 {
			return port
		}
	}
}

func tryNode(t testing.TB, port int) *redis.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "rediscluster")
	must(t, err)
	var log bytes.Buffer
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no",
		"--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(dir, "nodes.conf"))
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	node := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port)})
	stop := func() {
		_ = node.Close()
		_ = cmd.Process.Kill()
		<-ended
		_ = os.RemoveAll(dir)
	}
	up := false
	eventually(t, "a node of the cluster answers", func() bool {
		if up = node.Ping(context.Background()).Err() == nil; up {
			return true
		}
		select {
		case <-ended: // the port was taken
			return true
		default:
			return false
		}
	})
	if !up {
		t.Logf("a node did not start: %s", log.String())
		stop()
		return nil
	}
	t.Cleanup(stop)
	return node
}

func flushCluster(t testing.TB, client *redis.ClusterClient) {
	t.Helper()
	must(t, client.ForEachMaster(context.Background(), func(ctx context.Context, node *redis.Client) error { return node.FlushAll(ctx).Err() }))
}

func TestStoreOnRedisCluster(t *testing.T) {
	client := startCluster(t)
	storetest.RunStore(t, func(t *testing.T) storetest.Subject {
		flushCluster(t, client)
		return subject(t, client)
	})
	t.Run("a client that does not know the cluster is told so", func(t *testing.T) {
		flushCluster(t, client)
		node := redis.NewClient(&redis.Options{Addr: client.Options().Addrs[0]})
		t.Cleanup(func() { must(t, node.Close()) })
		_, err := open(t, node).Headers(t.Context(), generation(projectionPartitions))
		wantText(t, err, "store-unreachable", "MOVED", "cluster client")
	})
	t.Run("a slot can move while the store runs", func(t *testing.T) {
		flushCluster(t, client)
		testMovingSlot(t, client)
	})
}

// testMovingSlot moves a partition to another node. While half of it is there, single documents can be read and whole commits are refused;
// before and after, everything works.
func testMovingSlot(t *testing.T, client *redis.ClusterClient) {
	ctx, g, def := t.Context(), generation(1), definition()
	s := open(t, client)
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

	m := newMove(t, client, base(g, 0)+":head")
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

func newMove(t *testing.T, client *redis.ClusterClient, key string) *move {
	t.Helper()
	ctx := t.Context()
	m := &move{t: t}
	slot, err := client.ClusterKeySlot(ctx, key).Result()
	must(t, err)
	m.slot = int(slot)
	owner, err := client.MasterForKey(ctx, key)
	must(t, err)
	for _, addr := range client.Options().Addrs {
		node := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { must(t, node.Close()) })
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
	args := []any{"migrate", host, port, "", 0, 10_000, "keys"}
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
