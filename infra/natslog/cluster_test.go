package natslog

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/infra/natstest"
)

func TestSuiteReplicated(t *testing.T) {
	servers := natstest.Cluster(t, large)
	var n atomic.Int64
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		return subject(t, servers[0].ClientURL(), Config{Replicas: 3}, Options{}, n.Add(1))
	})
}

// TestReplicatedLeaderChanges makes the stream change its leader while many write: what was in flight is lost or kept, and
// answered or not.
func TestReplicatedLeaderChanges(t *testing.T) {
	servers := natstest.Cluster(t, large)
	nc := dial(t, servers[0].ClientURL())
	cfg := Config{Origin: "us", Replicas: 3}
	l := openLog(t, nc, cfg, Options{AttemptTimeout: time.Second})
	stopped := make(chan struct{})
	var changes sync.WaitGroup
	var changed atomic.Int64
	changes.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if m, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.EVT_us", nil, time.Second); err == nil && strings.Contains(string(m.Data), `"success":true`) {
					changed.Add(1)
				}
			case <-stopped:
				return
			}
		}
	})
	const writers, rounds, leaders = 8, 50, 3
	var mu sync.Mutex
	wanted := map[string]bool{}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(w)))
			var last uint64
			for i := 0; i < rounds || changed.Load() < leaders; i++ {
				b := randomBatch(random, w, i, last)
				r, err := l.Append(within(t), b)
				if err != nil || r.Duplicate {
					t.Errorf("append %d of writer %d: %+v, %v", i, w, r, err)
					return
				}
				mu.Lock()
				for j, e := range b.Events {
					wanted[e.ID] = true
					if e.Entity == entity(w) {
						last = r.First + uint64(j)
					}
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	close(stopped)
	changes.Wait()
	exactlyOnce(t, l, wanted)
	t.Logf("%d events, %d changes of the leader", len(wanted), changed.Load())
}

// TestReplicatedLeaderDies stops the server that leads the stream while appends are under way.
func TestReplicatedLeaderDies(t *testing.T) {
	servers := natstest.Cluster(t, large)
	nc := dial(t, servers[0].ClientURL())
	l := openLog(t, nc, Config{Origin: "us", Replicas: 3}, Options{})
	f := follow(t, l, events.Range{Follow: true})
	wanted := map[string]bool{}
	var pending []*events.Pending
	for i := range 2_000 {
		e := about(entity(i%100), i)
		wanted[e.ID] = true
		p, err := l.Submit(within(t), events.One(e, events.ExpectAny()))
		if err != nil {
			t.Fatal(err)
		}
		if pending = append(pending, p); i == 1_000 {
			for _, s := range servers {
				if s.JetStreamIsStreamLeader("$G", StreamName("us")) {
					go s.Shutdown()
				}
			}
		}
	}
	for i, p := range pending {
		if r, err := p.Wait(within(t)); err != nil || r.Duplicate {
			t.Fatalf("append %d: %+v, %v", i, r, err)
		}
	}
	f.reaches(t, 2_001)
	exactlyOnce(t, l, wanted)
}

// startLeafNodes runs two servers with a domain each, us and eu, the second a leaf node of the first.
func startLeafNodes(t testing.TB) (hub, leaf *natstest.Server) {
	t.Helper()
	port := natstest.FreePorts(t, 1)[0]
	hub = startServer(t, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = "us", "us"
		o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", port
	})
	leaf = startServer(t, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = "eu", "eu"
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{
			URLs: []*url.URL{{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)}}, DenyImports: []string{"evt.>", "ctl.>"}, DenyExports: []string{"evt.>", "ctl.>"},
		}}
	})
	eventually(t, "the leaf node is connected", func() bool { return hub.NumLeafNodes() == 1 })
	return hub, leaf
}
