package natslog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
)

func TestSuite(t *testing.T) {
	for _, c := range []struct {
		name   string
		server func(*server.Options)
		commit CommitMode
	}{
		{"pipelined", nil, Pipelined},
		{"group commit, synced always", syncAlways, GroupCommit},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, c.server)
			var n atomic.Int64
			logtest.Run(t, func(t *testing.T) logtest.Subject {
				return subject(t, s.ClientURL(), config, Options{Commit: c.commit}, n.Add(1))
			})
		})
	}
}

// subject returns a fresh log of an origin of its own. (A stream that is deleted and made again at once may come back with its old
// messages: the server removes the files behind the scenes.)
func subject(t *testing.T, url string, cfg Config, o Options, n int64) logtest.Subject {
	t.Helper()
	cfg.Origin = fmt.Sprint("us-", n)
	nc := dial(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	l := openLog(t, nc, cfg, o)
	return logtest.Subject{
		Log:   l,
		Close: l.Close,
		StoreRaw: func(subject string, header map[string][]string, data []byte) uint64 {
			t.Helper()
			m := &nats.Msg{Subject: subject, Header: header, Data: data}
			ack, err := js.PublishMsg(within(t), m, jetstream.WithRetryAttempts(0))
			if errors.Is(err, jetstream.ErrNoStreamResponse) { // our subjects let in entities only: somebody has widened them
				changeStream(t, nc, cfg.Origin, func(c *jetstream.StreamConfig) { c.Subjects[0] = "evt." + cfg.Origin + ".>" })
				ack, err = js.PublishMsg(within(t), m)
			}
			if err != nil {
				t.Fatal(err)
			}
			return ack.Sequence
		},
		ExpireDuplicates: func() {
			t.Helper()
			expireDuplicates(t, nc, l)
		},
	}
}

// expireDuplicates shortens the window until the servers have forgotten all ids.
func expireDuplicates(t *testing.T, nc *nats.Conn, l *Log) {
	t.Helper()
	last, err := stream(t, nc, l.Origin()).GetMsg(within(t), streamInfo(t, nc, l.Origin()).State.LastSeq)
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: last.Subject, Header: nats.Header{events.HeaderMessageID: last.Header[events.HeaderMessageID]}}
	window := 100 * time.Millisecond
	var changed time.Time
	eventually(t, "the servers forget the ids", func() bool {
		if time.Since(changed) > time.Second { // a server that is slow to change the window forgets nothing until the old one is over
			window += time.Millisecond
			setWindow(t, nc, l.Origin(), window)
			changed = time.Now()
		}
		s, err := l.writer.standingByID(within(t), m)
		return err == nil && s.sequence == 0
	})
	setWindow(t, nc, l.Origin(), events.DefaultDuplicateWindow)
}

func setWindow(t testing.TB, nc *nats.Conn, origin string, d time.Duration) {
	t.Helper()
	changeStream(t, nc, origin, func(c *jetstream.StreamConfig) { c.Duplicates = d })
}

// changeStream edits the stream as an operator could.
func changeStream(t testing.TB, nc *nats.Conn, origin string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := streamInfo(t, nc, origin).Config
	change(&cfg)
	if _, err := js.UpdateStream(within(t), cfg); err != nil {
		t.Fatal(err)
	}
}
