package natsstream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

// TestAReplicatedStreamIsReadThroughChangesOfItsLeader: it is the same stream under each of them, and what it forgot stays so.
func TestAReplicatedStreamIsReadThroughChangesOfItsLeader(t *testing.T) {
	servers := natstest.Cluster(t)
	nc := dial(t, servers[0].ClientURL())
	o := makeStream(t, nc, func(c *jetstream.StreamConfig) { c.Replicas = 3 })
	s := open(t, nc)
	o.fill(9)
	o.remove(4)
	want := " 1 2 3 d4-4 5 6 7 8 9"
	f := follow(t, s, events.Range{})
	f.reads(t, want)
	first, err := s.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for round := range uint64(3) {
		before := o.leader()
		eventually(t, "the leader steps down", func() bool {
			m, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.ORDERS", nil, time.Second)
			return err == nil && strings.Contains(string(m.Data), `"success":true`)
		})
		eventually(t, "somebody leads", func() bool { return o.leader() != "" })
		eventually(t, "it takes messages", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := o.js.Publish(ctx, "orders.more", []byte("{}"), jetstream.WithExpectLastSequence(9+round))
			return err == nil || o.lastSequence() == 10+round // the answer was lost
		})
		want += fmt.Sprintf(" %d", 10+round)
		f.reads(t, want)
		now, err := s.Info(within(t))
		if err != nil || now.Terms.Lineage != first.Terms.Lineage {
			t.Errorf("under %s the lineage is %s, %v; under %s it was %s", o.leader(), now.Terms.Lineage, err, before, first.Terms.Lineage)
		}
	}
	if got := read(t, s, events.Range{}); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// leader returns the server that leads the stream; empty while there is none.
func (o *theirs) leader() string {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a question to a leader that steps down is lost
	defer cancel()
	info, err := o.s.Info(ctx)
	if err != nil || info.Cluster == nil {
		return ""
	}
	return info.Cluster.Leader
}

// lastSequence returns the head of the stream; 0 when nobody says.
func (o *theirs) lastSequence() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info, err := o.s.Info(ctx)
	if err != nil {
		return 0
	}
	return info.State.LastSeq
}
