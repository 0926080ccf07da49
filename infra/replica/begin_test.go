package replica

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
)

func beginning(from uint64) Config {
	c := config
	c.From = from
	return c
}

// sameFrom fails unless a copy begins with a sequence, and holds what the leader's log does from there on.
func sameFrom(t *testing.T, leader, copied events.Reader, from, last uint64) {
	t.Helper()
	info, err := copied.Info(within(t))
	if err != nil || info.Begins != from || info.First != from || info.Last != last {
		t.Fatalf("%+v, %v; want %d to %d", info, err, from, last)
	}
	theirs, err := leader.Info(within(t))
	if err != nil || theirs.Terms.Lineage != info.Terms.Lineage || len(theirs.Terms.Starts) != len(info.Terms.Starts) {
		t.Fatalf("the terms are %+v, the leader's %+v, %v", info.Terms, theirs.Terms, err)
	}
	read := func(r events.Reader) (prints []events.Hash) {
		for records, err := range r.Read(within(t), events.Range{From: from, To: last}) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range records {
				prints = append(prints, records[i].Fingerprint())
			}
		}
		return prints
	}
	a, b := read(leader), read(copied)
	if uint64(len(a)) != last-from+1 || len(a) != len(b) {
		t.Fatalf("%d and %d records from %d to %d", len(a), len(b), from, last)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("sequence %d differs", from+uint64(i))
		}
	}
}

// TestACopyBeginsWhereItIsTold pins that the servers let the gate decide where an empty mirror begins: they refuse opt_start_seq for one that is fed by a consumer.
func TestACopyBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	refused := natslog.Config{Origin: "us"}.MirrorStream("eu", config.gate())
	refused.Mirror.OptStartSeq = 10
	if _, err := jetStream(t, p.euConn).CreateStream(within(t), refused); err == nil {
		t.Error("the servers take opt_start_seq beside a consumer: it could be used")
	}
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, beginning(301))
	if now := m.catchesUp(t, last); now.Begins != 301 {
		t.Errorf("%+v", now)
	}
	short := openLog(t, p.euConn, copied)
	sameFrom(t, p.leader, short, 301, last)
	for _, err := range short.Read(within(t), events.Range{From: 300}) {
		if !errors.Is(err, events.ErrHole) || !strings.Contains(err.Error(), "301") {
			t.Errorf("reading what is below: %v", err)
		}
	}
	if _, err := short.Record(within(t), 300); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("a record below: %v", err)
	}
	p.confirms(t, last)

	m.stop()
	short.Close()
	p.euConn.Close()
	p.eu.stop()
	p.eu.start()
	p.euConn = p.eu.connect()
	m = follow(t, p.euConn, config) // what is configured changes nothing of a copy that exists
	if !strings.Contains(m.Note(), "begin with sequence 301") || !strings.Contains(m.Note(), "though 1 is configured") {
		t.Errorf("the note is %q", m.Note())
	}
	last = fill(t, p.leader, 200)
	m.catchesUp(t, last)
	sameFrom(t, p.leader, openLog(t, p.euConn, copied), 301, last)

	if err := m.Remake(within(t)); err != nil {
		t.Fatal(err)
	}
	last = fill(t, p.leader, 20)
	m.catchesUp(t, last)
	sameFrom(t, p.leader, openLog(t, p.euConn, copied), 301, last)
}

// TestACopyBeginsBehindTheHead: it holds nothing at first, and follows.
func TestACopyBeginsBehindTheHead(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 50)
	m := follow(t, p.euConn, beginning(last+1))
	eventually(t, "it follows", func() bool {
		now := m.Replication()
		at, _ := now.Head.Point("us")
		return now.State == events.CopyFollows && now.Lag.Events == 0 && at.Sequence == last
	})
	p.eu.stop()
	p.eu.start()
	from := last + 1
	last = fill(t, p.leader, 30)
	m.stop()
	m = follow(t, p.eu.connect(), beginning(from))
	m.catchesUp(t, last)
	sameFrom(t, p.leader, openLog(t, p.eu.connect(), copied), from, last)
}

func TestACopyCannotBeginBeyondTheHead(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 50)
	m := follow(t, p.euConn, beginning(last+2))
	eventually(t, "it is refused", func() bool { return m.Replication().Code == projections.ErrInvalidOffset })
	if now := m.Replication(); now.State != events.CopyUnknown || !strings.Contains(now.Message, "ends at 51") || !strings.Contains(now.Message, "nothing was made") {
		t.Errorf("%+v", now)
	}
	if _, err := jetStream(t, p.euConn).Stream(within(t), "EVT_us"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a stream was made: %v", err)
	}
	fill(t, p.leader, 1)
	m.reaches(t, events.CopyFollows)
}

// TestACopyThatLostItsBeginningHasAHole: what was made to begin later is told from what lost records.
func TestACopyThatLostItsBeginningHasAHole(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]uint64{"whole": 0, "short": 101} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPair(t)
			last := fill(t, p.leader, 300)
			m := follow(t, p.euConn, beginning(from))
			m.catchesUp(t, last)
			s, err := jetStream(t, p.euConn).Stream(within(t), "EVT_us")
			if err == nil {
				err = s.Purge(within(t), jetstream.WithPurgeSequence(150))
			}
			if err != nil {
				t.Fatal(err)
			}
			if now := m.reaches(t, events.CopyDiverged); now.Code != events.ErrHole {
				t.Errorf("%+v", now)
			}
			if _, err := natslog.Open(within(t), p.euConn, copied, natslog.Options{}); !errors.Is(err, events.ErrUnsafeLog) {
				t.Errorf("it is opened: %v", err)
			}
			if err := m.Remake(within(t)); err != nil {
				t.Fatal(err)
			}
			m.catchesUp(t, last)
			sameFrom(t, p.leader, openLog(t, p.euConn, copied), max(from, 1), last)
		})
	}
}

// TestAWrongBeginningIsRefused: what the copy says of itself is changed by hand.
func TestAWrongBeginningIsRefused(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 100)
	m := follow(t, p.euConn, beginning(51))
	m.catchesUp(t, last)
	m.stop()
	js := jetStream(t, p.euConn)
	s, err := js.Stream(within(t), "EVT_us")
	if err != nil {
		t.Fatal(err)
	}
	for text, code := range map[string]events.Code{
		`{"from":1}`: events.ErrUnsafeLog, `nonsense`: events.ErrUnsafeLog,
		`{"from":51,"lineage":"00000000","starts":[1]}`:    "",
		`{"from":51,"lineage":"00000000","starts":[1,60]}`: events.ErrUnsafeLog,
	} {
		c := s.CachedInfo().Config
		c.Metadata = map[string]string{"tidemark.beginning": text}
		if _, err := js.UpdateStream(within(t), c); err != nil {
			t.Fatal(err)
		}
		_, err := Follow(within(t), p.euConn, beginning(51), Options{})
		if code == "" && err == nil {
			m := follow(t, p.euConn, beginning(51))
			if now := m.reaches(t, events.CopyDiverged); now.Code != events.ErrForeignHistory {
				t.Errorf("%s: %+v", text, now)
			}
			m.stop()
			continue
		}
		if !errors.Is(err, code) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
