package replica

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// madeAt returns when the copy's stream was made.
func madeAt(t *testing.T, nc *nats.Conn) time.Time {
	t.Helper()
	s, err := jetStream(t, nc).Stream(within(t), "EVT_us")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().Created
}

func TestACopyIsMadeAnew(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	for range 2 {
		before := madeAt(t, p.euConn)
		if err := m.Remake(within(t)); err != nil {
			t.Fatal(err)
		}
		if now := m.Replication(); now.State == events.CopyDiverged || now.State == events.CopyFollows && now.Lag.Events == 0 && now.Head.IsZero() {
			t.Errorf("%+v", now)
		}
		last = fill(t, p.leader, 100)
		m.catchesUp(t, last)
		sameRecords(t, p.leader, openLog(t, p.euConn, copied), last)
		if !madeAt(t, p.euConn).After(before) {
			t.Error("it is the same stream")
		}
	}
	p.confirms(t, last)
}

// TestACopyWithAHoleIsMadeAnew: the copy had been given up.
func TestACopyWithAHoleIsMadeAnew(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 200)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	s, err := jetStream(t, p.euConn).Stream(within(t), "EVT_us")
	if err == nil {
		err = s.Purge(within(t), jetstream.WithPurgeSubject("evt.us.airport.A7"))
	}
	if err != nil {
		t.Fatal(err)
	}
	m.reaches(t, events.CopyDiverged)
	if err := m.Remake(within(t)); err != nil {
		t.Fatal(err)
	}
	m.catchesUp(t, last)
	sameRecords(t, p.leader, openLog(t, p.euConn, copied), last)
}

// TestACopyIsKeptWhenItsLeaderCannotReplaceIt: a leader that does not answer, that is another log, and that is shorter.
func TestACopyIsKeptWhenItsLeaderCannotReplaceIt(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 300)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	made := madeAt(t, p.euConn)
	kept := func(code events.Code) {
		t.Helper()
		err := m.Remake(within(t))
		if !errors.Is(err, code) || !madeAt(t, p.euConn).Equal(made) {
			t.Errorf("%v", err)
		}
	}
	p.wire.Cut()
	kept(events.ErrUnreachable)
	p.wire.Heal()
	eventually(t, "the leader answers", func() bool { return m.Replication().State == events.CopyFollows })
	if err := jetStream(t, p.usConn).DeleteStream(within(t), "EVT_us"); err != nil {
		t.Fatal(err)
	}
	kept(events.ErrNoLog)
	if err := natslog.Setup(within(t), p.usConn, origin); err != nil {
		t.Fatal(err)
	}
	kept(events.ErrForeignHistory)
	fill(t, openLog(t, p.usConn, origin), 1_000)
	kept(events.ErrForeignHistory)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	m.stop()
	if err := m.Remake(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("while nobody tends it: %v", err)
	}
}
