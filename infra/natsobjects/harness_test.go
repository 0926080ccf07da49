package natsobjects

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

const bucket = "tidemark-snapshots-test"

// Short names of what most tests use.
var (
	dial       = natstest.Dial
	eventually = natstest.Eventually
	jetStream  = natstest.JetStream
	within     = natstest.Within
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, nc *nats.Conn, c Config) *Snapshots {
	t.Helper()
	c.Create = true
	if c.Bucket == "" {
		c.Bucket = bucket
	}
	return reopen(t, nc, c)
}

func reopen(t testing.TB, nc *nats.Conn, c Config) *Snapshots {
	t.Helper()
	s, err := Open(within(t), nc, c)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func runSuite(t *testing.T, address string, replicas int) {
	var fresh atomic.Int64
	storetest.RunSnapshots(t, func(t *testing.T) storetest.SnapshotSubject {
		nc := dial(t, address)
		s := open(t, nc, Config{Bucket: fmt.Sprint("tidemark-snapshots-", fresh.Add(1)), Replicas: replicas})
		return subject(t, nc, s)
	})
}

func subject(t *testing.T, nc *nats.Conn, s *Snapshots) storetest.SnapshotSubject {
	t.Helper()
	return storetest.SnapshotSubject{Snapshots: s, Tamper: func(t testing.TB, projection, id string, edit func([]byte) []byte) {
		t.Helper()
		rewrite(t, nc, s, projection, id, edit)
	}}
}

// stream returns the bucket's stream as it is now.
func stream(t testing.TB, nc *nats.Conn, s *Snapshots) jetstream.Stream {
	t.Helper()
	st, err := jetStream(t, nc).Stream(within(t), streamName(s.bucket))
	must(t, err)
	return st
}

// parts returns the subject of a snapshot's parts, and the parts.
func parts(t testing.TB, nc *nats.Conn, s *Snapshots, projection, id string) (subject string, list []*jetstream.RawStreamMsg) {
	t.Helper()
	st := stream(t, nc, s)
	m, err := st.GetLastMsgForSubject(within(t), s.descriptionOf(projection, id))
	must(t, err)
	var o jetstream.ObjectInfo
	must(t, json.Unmarshal(m.Data, &o))
	subject = s.subject("C." + o.NUID)
	for seq := uint64(1); ; {
		m, err := st.GetMsg(within(t), seq, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			return subject, list
		}
		list, seq = append(list, m), m.Sequence+1
	}
}

// rewrite puts other parts in the place of those that a snapshot has.
func rewrite(t testing.TB, nc *nats.Conn, s *Snapshots, projection, id string, edit func([]byte) []byte) {
	t.Helper()
	subject, list := parts(t, nc, s, projection, id)
	var content []byte
	for _, m := range list {
		content = append(content, m.Data...)
	}
	must(t, stream(t, nc, s).Purge(within(t), jetstream.WithPurgeSubject(subject)))
	for content = edit(content); len(content) > 0; {
		n := min(len(content), maxPart)
		_, err := jetStream(t, nc).Publish(within(t), subject, content[:n])
		must(t, err)
		content = content[n:]
	}
}

func describing(id string, sequence uint64) projections.Snapshot {
	return projections.Snapshot{ID: id, Projection: "flights", Sequence: sequence, Taken: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// body returns so many bytes.
func body(n int) *bytes.Reader {
	return bytes.NewReader(bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n])
}

func list(t testing.TB, s *Snapshots) string {
	t.Helper()
	all, err := s.List(within(t), "flights")
	must(t, err)
	var ids []string
	for _, x := range all {
		ids = append(ids, x.ID)
	}
	return strings.Join(ids, " ")
}

func TestOneServer(t *testing.T) { runSuite(t, natstest.Start(t).ClientURL(), 1) }

func TestThreeServers(t *testing.T) { runSuite(t, natstest.Cluster(t)[0].ClientURL(), 3) }
