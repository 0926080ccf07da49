package natslog

import (
	"errors"
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
			logtest.Run(t, func(t *testing.T) logtest.Subject {
				return subject(t, s.ClientURL(), config, Options{Commit: c.commit})
			})
		})
	}
}

// subject returns a fresh log; one made before under the same name is deleted.
func subject(t *testing.T, url string, cfg Config, o Options) logtest.Subject {
	t.Helper()
	nc := dial(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(within(t), StreamName(cfg.Origin)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
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
				changeStream(t, nc, func(c *jetstream.StreamConfig) { c.Subjects[0] = "evt." + cfg.Origin + ".>" })
				ack, err = js.PublishMsg(within(t), m)
			}
			if err != nil {
				t.Fatal(err)
			}
			return ack.Sequence
		},
		ExpireDuplicates: func() {
			t.Helper()
			setWindow(t, nc, 100*time.Millisecond)
			last, err := stream(t, nc).GetMsg(within(t), streamInfo(t, nc).State.LastSeq)
			if err != nil {
				t.Fatal(err)
			}
			m := &nats.Msg{Subject: last.Subject, Header: nats.Header{events.HeaderMessageID: last.Header[events.HeaderMessageID]}}
			eventually(t, "the servers forget the ids", func() bool {
				s, err := l.writer.standingByID(within(t), m)
				return err == nil && s.sequence == 0
			})
			setWindow(t, nc, events.DefaultDuplicateWindow)
		},
	}
}

func setWindow(t testing.TB, nc *nats.Conn, d time.Duration) {
	t.Helper()
	changeStream(t, nc, func(c *jetstream.StreamConfig) { c.Duplicates = d })
}

// changeStream edits the stream as an operator could.
func changeStream(t testing.TB, nc *nats.Conn, change func(*jetstream.StreamConfig)) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := streamInfo(t, nc).Config
	change(&cfg)
	if _, err := js.UpdateStream(within(t), cfg); err != nil {
		t.Fatal(err)
	}
}
