package replica

import (
	"context"
	"errors"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// followed is a reading that goes on in the background.
type followed struct {
	records chan events.Record
	done    chan error
}

func readOn(t *testing.T, l events.Reader, from uint64) *followed {
	t.Helper()
	f := &followed{records: make(chan events.Record, 10_000), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for rs, err := range l.Read(ctx, events.Range{From: from, Follow: true}) {
			if err != nil {
				f.done <- err
				return
			}
			for _, r := range rs {
				f.records <- r
			}
		}
		f.done <- nil
	}()
	return f
}

// next returns the next record.
func (f *followed) next(t *testing.T) events.Record {
	t.Helper()
	select {
	case r := <-f.records:
		return r
	case err := <-f.done:
		t.Fatalf("the reading ended: %v", err)
	case <-time.After(patience):
		t.Fatal("no record in time")
	}
	return events.Record{}
}

func TestTheCopyIsReadWhileTheLinkIsDown(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 500)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	p.wire.Cut()
	m.reaches(t, events.CopyUnknown)

	// A reader that comes now needs nothing from the leader.
	here := openLog(t, p.euConn, copied)
	info, err := here.Info(within(t))
	if err != nil || info.Last != last || info.First != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	theirs, err := p.leader.Info(within(t))
	if err != nil || info.Head().String() != theirs.Head().String() {
		t.Fatalf("heads %s and %s, %v", info.Head(), theirs.Head(), err)
	}
	sameRecords(t, p.leader, here, last)
	var of int
	for r, err := range here.History(within(t), events.Entity{Type: "airport", ID: "A7"}, 1) {
		if err != nil || r.Event.Entity.ID != "A7" {
			t.Fatalf("%+v, %v", r, err)
		}
		of++
	}
	if of != 10 {
		t.Errorf("the history has %d records", of)
	}
	if r, err := here.LastControl(within(t), events.ControlGenesis); err != nil || r.Sequence != 1 {
		t.Errorf("genesis: %+v, %v", r, err)
	}
	if _, err := here.Append(within(t), events.One(events.Event{
		ID: "x", Source: "urn:test", Type: "Counted", Entity: events.Entity{Type: "airport", ID: "A7"}, Data: []byte(`{}`),
	}, events.ExpectAny())); !errors.Is(err, events.ErrNoLog) {
		t.Errorf("an append to the copy: %v", err)
	}

	// And goes on when the link is back.
	f := readOn(t, here, last+1)
	p.wire.Heal()
	next := fill(t, p.leader, 300)
	for seq := last + 1; seq <= next; seq++ {
		if r := f.next(t); r.Sequence != seq {
			t.Fatalf("sequence %d after %d", r.Sequence, seq-1)
		}
	}
}

func TestNewRecordsReachTheCopySoon(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, 1)
	f := readOn(t, openLog(t, p.euConn, copied), 2)
	var slowest time.Duration
	for range 100 {
		last := fill(t, p.leader, 1)
		stored := time.Now()
		if r := f.next(t); r.Sequence != last {
			t.Fatalf("sequence %d, want %d", r.Sequence, last)
		}
		slowest = max(slowest, time.Since(stored))
	}
	t.Logf("the slowest of 100 took %s", slowest)
}

// The copy is deleted and made anew from another history while it is read.
func TestAReplacedCopyIsNoticedByItsReaders(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	last := fill(t, p.leader, 200)
	m := follow(t, p.euConn, config)
	m.catchesUp(t, last)
	f := readOn(t, openLog(t, p.euConn, copied), 1)
	for range last {
		f.next(t)
	}
	m.stop()
	if err := jetStream(t, p.usConn).DeleteStream(within(t), "EVT_us"); err != nil {
		t.Fatal(err)
	}
	if err := natslog.Setup(within(t), p.usConn, origin); err != nil {
		t.Fatal(err)
	}
	again := fill(t, openLog(t, p.usConn, origin), 400)
	if err := jetStream(t, p.euConn).DeleteStream(within(t), "EVT_us"); err != nil {
		t.Fatal(err)
	}
	follow(t, p.euConn, config).catchesUp(t, again)
	select {
	case err := <-f.done:
		if !errors.Is(err, events.ErrForeignHistory) {
			t.Errorf("the reading ended with %v", err)
		}
	case r := <-f.records:
		t.Errorf("it went on with sequence %d of another history", r.Sequence)
	case <-time.After(patience):
		t.Error("nothing was noticed")
	}
}
