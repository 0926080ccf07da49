package forward

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
)

func embeddedRegion(t *testing.T, cfg embedded.NATSConfig) *embedded.NATS {
	t.Helper()
	dir, err := embedded.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	cfg.Dir, cfg.MaxPayload = dir, 16<<20
	n, err := embedded.StartNATS(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	return n
}

// TestTheSuiteAcrossTheEmbeddedMesh runs it over isolated links whose users have no rights but those of links.
func TestTheSuiteAcrossTheEmbeddedMesh(t *testing.T) {
	t.Parallel()
	us := embeddedRegion(t, embedded.NATSConfig{Region: "us", Peers: []string{"eu"}})
	eu := embeddedRegion(t, embedded.NATSConfig{Region: "eu", Links: []embedded.Link{us.LinkFor("eu")}})
	connect := func(t *testing.T, n *embedded.NATS) *nats.Conn {
		t.Helper()
		nc, err := n.Connect()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	var n atomic.Int64
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		origin := fmt.Sprint("us-", n.Add(1))
		atUs := connect(t, us)
		if err := natslog.Setup(within(t), atUs, natslog.Config{Origin: origin}); err != nil {
			t.Fatal(err)
		}
		log, err := natslog.Open(within(t), atUs, natslog.Config{Origin: origin}, natslog.Options{Commit: natslog.GroupCommit})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(log.Close)
		w, err := NewServer(atUs, Config{Origin: origin, Region: "us", Leader: "us"}, log, nil, ServerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		run(t, w)
		a, err := NewAppender(connect(t, eu), Config{Origin: origin, Region: "eu", Leader: "us"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		return logtest.Subject{Log: joined{a, events.Reader(log)}}
	})
}
