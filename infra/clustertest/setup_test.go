//go:build cluster

package clustertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/natskv"
	"tidemark.dev/infra/natslog"
)

// TestARegionIsSetUpWithoutOneNodeAndWaitsWithoutTwo: what is new is made as soon as the others know that a node is gone; without a majority
// nothing is made, and the error is one that is waited for, never one for a person.
func TestARegionIsSetUpWithoutOneNodeAndWaitsWithoutTwo(t *testing.T) {
	servers := clustertest.StartNATS(t)
	nc := servers.Dial(t)
	servers.Kill(2)
	eventually(t, "a region is set up on two nodes", func() bool { return setUp(t, nc, "one") })
	l, err := natslog.Open(t.Context(), nc, natslog.Config{Origin: "one", Replicas: clustertest.Nodes}, natslog.Options{})
	must(t, err)
	defer l.Close()
	receipt, err := l.Append(t.Context(), events.One(about("a", 1), events.ExpectNone()))
	must(t, err)

	servers.Kill(1)
	if setUp(t, nc, "two") {
		t.Error("a region was set up on one node of three")
	}
	servers.Start(1)
	eventually(t, "a region is set up on two nodes again", func() bool { return setUp(t, nc, "two") })
	servers.Start(2)
	if again, err := l.Append(t.Context(), events.One(about("a", 2), events.ExpectExactly(receipt.Last))); err != nil || again.First != receipt.Last+1 {
		t.Errorf("the event after %d got %+v, %v", receipt.Last, again, err)
	}
}

// setUp makes a region's log and bucket. It reports whether that was done; only ErrUnreachable may keep it from it.
func setUp(t *testing.T, nc *nats.Conn, origin string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := natslog.Setup(ctx, nc, natslog.Config{Origin: origin, Replicas: clustertest.Nodes})
	if err == nil {
		_, _, err = natskv.Open(ctx, nc, natskv.Config{Bucket: "tidemark-" + origin, Create: true, Replicas: clustertest.Nodes})
	}
	if err != nil && !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("set up %s: %v", origin, err)
	}
	return err == nil
}
