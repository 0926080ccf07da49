package natskv

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

const (
	patience = natstest.Patience
	region   = "tidemark-test"
	// shortTTL is a time to live that tests can wait for, and long enough that a machine that stands still for a second takes no lease away.
	shortTTL = 3 * MinLeaseTTL
)

// Short names of what most tests use.
var (
	dial       = natstest.Dial
	eventually = natstest.Eventually
	jetStream  = natstest.JetStream
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, nc *nats.Conn, c Config) (*KV, *Leases) {
	t.Helper()
	c.Create = true
	if c.Bucket == "" {
		c.Bucket = region
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kv, leases, err := Open(ctx, nc, c)
	must(t, err)
	return kv, leases
}

// buckets counts up, so that each subtest has its own.
type buckets struct {
	mu sync.Mutex
	n  int
}

func (b *buckets) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return fmt.Sprint("tidemark-", b.n)
}

func runSuites(t *testing.T, address string, replicas int) {
	t.Helper()
	t.Parallel()
	var fresh buckets
	t.Run("KV", func(t *testing.T) {
		storetest.RunKV(t, func(t *testing.T) projections.KV {
			kv, _ := open(t, dial(t, address), Config{Bucket: fresh.next(), Replicas: replicas})
			return kv
		})
	})
	t.Run("Leases", func(t *testing.T) {
		storetest.RunLeases(t, func(t *testing.T) storetest.LeaseSubject {
			c := Config{Bucket: fresh.next(), Replicas: replicas, LeaseTTL: shortTTL}
			one, two := dial(t, address), dial(t, address)
			_, a := open(t, one, c)
			_, b := open(t, two, c)
			return storetest.LeaseSubject{A: a, B: b, TTL: shortTTL, Kill: func(testing.TB, string) { one.Close() }}
		})
	})
}

func TestOneServer(t *testing.T) { runSuites(t, natstest.Start(t).ClientURL(), 1) }

func TestThreeServers(t *testing.T) { runSuites(t, natstest.Cluster(t)[0].ClientURL(), 3) }
