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

	"tidemark.dev/infra/redisstore"
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
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
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
		case err := <-ended: // the port was taken
			ended <- err
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
		s, err := redisstore.New(node, redisstore.Options{})
		must(t, err)
		_, err = s.Headers(t.Context(), generation(projectionPartitions))
		wantText(t, err, "store-unreachable", "MOVED", "cluster client")
	})
}
