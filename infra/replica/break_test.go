package replica

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

func TestAfterACutTheCopyIsHonestAndResumes(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	here := openLog(t, p.euConn, copied)
	for range 2 {
		p.confirms(t, last)
		p.wire.Cut()
		last = fill(t, p.leader, 500)
		now := m.reaches(t, events.CopyUnknown)
		if now.Lag != nil || now.Code != events.ErrUnreachable || now.Message == "" || now.Head.IsZero() {
			t.Errorf("while the link is cut: %+v", now)
		}
		if r, err := here.Record(within(t), 100); err != nil || r.Sequence != 100 {
			t.Errorf("the copy cannot be read while the link is cut: %v", err)
		}
		floors := NewFloors(p.usConn, "us", "us")
		eventually(t, "the leader has noticed, too", func() bool {
			all, err := floors.Floors(within(t))
			return err == nil && len(all) == 2 && !all[0].Connected && all[0].Sequence == last-500
		})
		p.wire.Heal()
		healed := time.Now()
		m.catchesUp(t, last)
		t.Logf("caught up %s after the link was healed", time.Since(healed))
	}
	sameRecords(t, p.leader, here, last)
}

// A half-open link carries nothing and says nothing.
func TestAfterAStallTheCopyIsHonestAndResumes(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	p.wire.Stall()
	last = fill(t, p.leader, 500)
	m.reaches(t, events.CopyUnknown)
	eventually(t, "both ends notice", func() bool {
		floors, err := NewFloors(p.usConn, "us", "us").Floors(within(t))
		return err == nil && !floors[0].Connected
	})
	p.wire.Break() // the old connections; new ones find a link that works
	p.wire.Heal()
	healed := time.Now()
	m.catchesUp(t, last)
	t.Logf("caught up %s after the link was healed", time.Since(healed))
	sameRecords(t, p.leader, openLog(t, p.euConn, copied), last)
}

func TestTheLagOfASlowLinkIsTold(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 100)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	p.wire.Rate(200 << 10)
	last = fill(t, p.leader, 3_000)
	var behind events.Replication
	eventually(t, "a lag is told", func() bool {
		behind = m.Replication()
		if at, _ := behind.Head.Point(origin.Origin); at.Sequence >= last { // everything is there, and nobody saw it coming: once more
			last = fill(t, p.leader, 3_000)
		}
		return behind.State == events.CopyFollows && behind.Lag.Events > 100 && behind.Lag.Seconds > 0
	})
	t.Logf("%+v", *behind.Lag)
	p.wire.Rate(0)
	m.catchesUp(t, last)
}

func TestTheMirrorsServerRestarts(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	p.eu.stop()
	last = fill(t, p.leader, 500)
	p.eu.start()
	m.stop()
	m = follow(t, p.eu.connect(), config)
	m.catchesUp(t, last)
	sameRecords(t, p.leader, openLog(t, p.eu.connect(), copied), last)
}

func TestTheLeadersServerRestarts(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	p.us.stop()
	m.reaches(t, events.CopyUnknown)
	p.us.start()
	leader := openLog(t, p.us.connect(), origin)
	last = fill(t, leader, 500)
	m.catchesUp(t, last)
	sameRecords(t, leader, openLog(t, p.euConn, copied), last)
}

// confirms waits until the leader has it down that eu holds everything up to a sequence.
func (p *pair) confirms(t *testing.T, last uint64) {
	t.Helper()
	eventually(t, "the leader has it down as confirmed", func() bool {
		floors, err := NewFloors(p.usConn, "us", "us").Floors(within(t))
		return err == nil && floors[0] == events.Floor{Region: "eu", Sequence: last, Connected: true}
	})
}

// storeOf returns the directory of a server's store.
func storeOf(s *region) string { return filepath.Join(s.dir, "nats", "jetstream") }

// What a power failure takes from a mirror that syncs once a second is mirrored again, though the leader has it down as confirmed.
func TestWhatAMirrorLostIsMirroredAgain(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 300)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	m.stop()
	p.eu.stop()
	older := t.TempDir()
	copyTree(t, storeOf(p.eu), older)
	p.eu.start()
	m = follow(t, p.eu.connect(), config)
	last = fill(t, p.leader, 700)
	m.catchesUp(t, last)
	p.confirms(t, last)
	m.stop()
	p.eu.stop()
	putBack(t, older, storeOf(p.eu))
	p.eu.start()
	m = follow(t, p.eu.connect(), config)
	last = fill(t, p.leader, 50)
	m.catchesUp(t, last)
	sameRecords(t, p.leader, openLog(t, p.eu.connect(), copied), last)
}

func putBack(t *testing.T, older, store string) {
	t.Helper()
	if err := os.RemoveAll(store); err != nil {
		t.Fatal(err)
	}
	copyTree(t, older, store)
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// takesNothing fails when the copy takes anything from the leader, and when it is not told why.
func takesNothing(t *testing.T, p *pair, m *running, last uint64, texts ...string) {
	t.Helper()
	now := m.reaches(t, events.CopyDiverged)
	if now.Code != events.ErrForeignHistory || now.Lag != nil {
		t.Errorf("%+v", now)
	}
	for _, s := range texts {
		if !strings.Contains(now.Message, s) {
			t.Errorf("the message does not say %q: %s", s, now.Message)
		}
	}
	leader := openLog(t, p.us.connect(), origin)
	fill(t, leader, 2_000)
	// The mirror would ask again after it has heard nothing for ten seconds.
	js, err := jetstream.New(p.euConn)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mirror hears nothing for long enough", func() bool {
		s, err := js.Stream(within(t), "EVT_us")
		return err == nil && (s.CachedInfo().Mirror.Active > 11*time.Second || s.CachedInfo().Mirror.Active < 0)
	})
	s, err := js.Stream(within(t), "EVT_us")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.LastSeq; got != last {
		t.Errorf("the copy went on from %d to %d", last, got)
	}
	if now := m.Replication(); now.State != events.CopyDiverged || strings.Count(m.logs.String(), "diverged") != 1 {
		t.Errorf("%+v\n%s", now, m.logs)
	}
	floors, err := NewFloors(p.us.connect(), "us", "us").Floors(within(t))
	if err != nil || len(floors) != 1 {
		t.Errorf("the leader still counts on the copy: %+v, %v", floors, err)
	}
}

func TestALeaderThatWasRecreatedIsNotFollowed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	js, err := jetstream.New(p.usConn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(within(t), "EVT_us"); err != nil {
		t.Fatal(err)
	}
	if err := natslog.Setup(within(t), p.usConn, origin); err != nil {
		t.Fatal(err)
	}
	takesNothing(t, p, m, last, "sequence 1", "lineage", "here", "there")

	// A person decides for the leader.
	own, err := jetstream.New(p.euConn)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.DeleteStream(within(t), "EVT_us"); err != nil {
		t.Fatal(err)
	}
	m.catchesUp(t, 2_001)
	sameRecords(t, openLog(t, p.usConn, origin), openLog(t, p.euConn, copied), 2_001)
}

func TestALeaderThatWasRolledBackIsNotFollowed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	fill(t, p.leader, 300)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, 301)
	p.us.stop()
	older := t.TempDir()
	copyTree(t, storeOf(p.us), older)
	p.us.start()
	last := fill(t, openLog(t, p.us.connect(), origin), 200)
	m.catchesUp(t, last)
	p.us.stop()
	putBack(t, older, storeOf(p.us))
	p.us.start()
	takesNothing(t, p, m, last)
	if !strings.Contains(m.Replication().Message, "sequence 501") {
		t.Errorf("%+v", m.Replication())
	}
}

// The leader is put back, and has written new records over the lost ones before anybody looks.
func TestALeaderThatWroteOverLostRecordsIsNotFollowed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	fill(t, p.leader, 300)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, 301)
	p.us.stop()
	older := t.TempDir()
	copyTree(t, storeOf(p.us), older)
	p.us.start()
	last := fill(t, openLog(t, p.us.connect(), origin), 200)
	m.catchesUp(t, last)
	p.wire.Cut()
	p.us.stop()
	putBack(t, older, storeOf(p.us))
	p.us.start()
	fill(t, openLog(t, p.us.connect(), origin), 1_000)
	p.wire.Heal()
	takesNothing(t, p, m, last, "sequence 501", "here", "there", "fingerprint")
}

// A mirror does not begin while nobody keeps the gate, and begins when somebody does.
func TestWithoutAGateTheMirrorWaits(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 300)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	m.stop()
	p.eu.stop()
	p.eu.start()
	now := fill(t, p.leader, 300)
	nc := p.eu.connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is up again", func() bool {
		_, err := remoteAPI(nc, "us").streamInfo(within(t), "EVT_us")
		return err == nil
	})
	asked := time.Now()
	eventually(t, "the mirror has asked and given up", func() bool { return time.Since(asked) > 7*time.Second })
	s, err := js.Stream(within(t), "EVT_us")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.LastSeq; got != last {
		t.Errorf("the copy went on from %d to %d without a gate", last, got)
	}
	began := time.Now()
	m = follow(t, nc, config)
	m.catchesUp(t, now)
	t.Logf("caught up %s after the gate opened", time.Since(began))
}

// The consumer at the leader is taken away by somebody. The mirror claims no lag, and the copy says what is true.
func TestAMirrorWhoseConsumerIsGone(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 300)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	js, err := jetstream.New(p.usConn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(within(t), "EVT_us", "mirror-eu"); err != nil {
		t.Fatal(err)
	}
	last = fill(t, p.leader, 300)
	eventually(t, "the lag is told though the mirror claims none", func() bool {
		now := m.Replication()
		return now.State == events.CopyFollows && now.Lag.Events == 300
	})
	m.reaches(t, events.CopyUnknown)
	m.catchesUp(t, last)
}
