package natslog

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsread"
)

// follower reads a log from its first record on, in a goroutine of its own.
type follower struct {
	last  atomic.Uint64 // the sequence read last
	steps atomic.Int64
	ended chan error
	gone  chan struct{}
	stop  context.CancelFunc
}

// follow fails the test when a sequence is left out or comes twice.
func follow(t *testing.T, l *Log, r events.Range) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{ended: make(chan error, 1), gone: make(chan struct{}), stop: cancel}
	go func() {
		defer close(f.gone)
		next := max(r.From, 1)
		for batch, err := range l.Read(ctx, r) {
			if err != nil {
				f.ended <- err
				return
			}
			f.steps.Add(1)
			for i := range batch {
				if batch[i].Sequence != next {
					t.Errorf("sequence %d came instead of %d", batch[i].Sequence, next)
				}
				next++
			}
			f.last.Store(next - 1)
		}
		f.ended <- nil
	}()
	t.Cleanup(func() {
		cancel()
		<-f.gone
	})
	return f
}

func (f *follower) reaches(t *testing.T, seq uint64) {
	t.Helper()
	eventually(t, "the follower reads on", func() bool { return f.last.Load() >= seq })
}

// ends returns the error that ended the reading.
func (f *follower) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.ended:
		return err
	case <-time.After(patience):
		t.Fatal("the reading did not end")
		return nil
	}
}

func fill(t testing.TB, l *Log, n int) {
	t.Helper()
	submitAll(t, l, eventsOf(n, func(i int) events.Event { return about(entity(i), i) }))
}

func TestAFollowerNoticesAnotherStreamOfTheSameName(t *testing.T) {
	for name, n := range map[string]int{"shorter": 0, "as long": 20, "longer": 200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := dial(t, startServer(t, nil).ClientURL())
			l := openLog(t, nc, config, Options{})
			fill(t, l, 20)
			f := follow(t, l, events.Range{Follow: true})
			f.reaches(t, 21)
			deleteStream(t, nc)
			again := openLog(t, nc, config, Options{})
			fill(t, again, n)
			wantCode(t, f.ends(t), events.ErrForeignHistory)
			if f.last.Load() != 21 {
				t.Errorf("it read up to %d", f.last.Load())
			}
		})
	}
}

// TestAFollowerThatHasReadNothingNoticesToo has no record to compare: only the lineage tells.
func TestAFollowerThatHasReadNothingNoticesToo(t *testing.T) {
	s := startServer(t, nil)
	p := startProxy(t, s.ClientURL())
	nc := dial(t, s.ClientURL())
	fill(t, openLog(t, nc, config, Options{}), 20)
	f := follow(t, reopen(t, dial(t, p.url()), config, Options{}), events.Range{From: 22, Follow: true})
	eventually(t, "it waits", func() bool { return streamInfo(t, nc, "us").State.Consumers == 1 })
	p.cut(true)
	deleteStream(t, nc)
	fill(t, openLog(t, nc, config, Options{}), 200)
	p.cut(false)
	wantCode(t, f.ends(t), events.ErrForeignHistory)
	if f.steps.Load() != 0 {
		t.Error("it read something")
	}
}

func TestAFollowerNoticesADeletedStream(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	f := follow(t, l, events.Range{Follow: true})
	f.reaches(t, 1)
	deleteStream(t, nc)
	wantCode(t, f.ends(t), events.ErrNoLog)
	_, err := l.Append(within(t), events.One(about(entity(1), 1), events.ExpectAny()))
	wantCode(t, err, events.ErrNoLog)
	_, err = l.Record(within(t), 1)
	wantCode(t, err, events.ErrNoLog)
	for _, err := range l.History(within(t), entity(1), 0) {
		wantCode(t, err, events.ErrNoLog)
	}
}

// TestAFollowerNoticesAnOlderCopy puts an older copy of the store back, as after a power failure without syncing: the sequences go on, with
// other events.
func TestAFollowerNoticesAnOlderCopy(t *testing.T) {
	for name, n := range map[string]int{"shorter": 5, "longer": 50} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, nil)
			nc := dial(t, s.ClientURL())
			l := openLog(t, nc, config, Options{})
			fill(t, l, 10)
			s.Stop()
			older := s.Backup()
			s.Restart()
			fill(t, l, 20)
			f := follow(t, l, events.Range{Follow: true})
			f.reaches(t, 31)
			s.Stop()
			s.Options.StoreDir = older
			// A server on another port gets other events into the older copy before the follower can reach it.
			elsewhere := startServer(t, func(o *server.Options) { o.StoreDir = older })
			fill(t, reopen(t, dial(t, elsewhere.ClientURL()), config, Options{}), n)
			elsewhere.Stop()
			s.Restart()
			wantCode(t, f.ends(t), events.ErrForeignHistory)
			if f.last.Load() != 31 {
				t.Errorf("it read up to %d", f.last.Load())
			}
		})
	}
}

func TestAHoleIsAnError(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	fill(t, l, 20) // the event of entity i has sequence i+2, more or less
	missing := uint64(0)
	for r, err := range l.History(within(t), entity(7), 0) {
		if err != nil {
			t.Fatal(err)
		}
		missing = r.Sequence
	}
	early := follow(t, l, events.Range{Follow: true})
	early.reaches(t, 21)
	if err := stream(t, nc, "us").Purge(within(t), jetstream.WithPurgeSubject("evt.us.airport.A7")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []events.Range{{}, {Follow: true}, {From: 3, To: 20}, {From: missing}, {From: missing, To: missing}} {
		f := follow(t, l, r)
		wantCode(t, f.ends(t), events.ErrHole)
		if last := f.last.Load(); r.From < missing && last != missing-1 {
			t.Errorf("%+v: read up to %d, sequence %d is missing", r, last, missing)
		}
	}
	for _, r := range []events.Range{{To: missing - 1}, {From: missing + 1}} {
		if err := follow(t, l, r).ends(t); err != nil {
			t.Errorf("%+v does not touch the hole: %v", r, err)
		}
	}
	_, err := l.Record(within(t), missing)
	wantCode(t, err, events.ErrNotFound)
	appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	early.reaches(t, 22) // it had read the record before
	wantCode(t, openError(t, nc, config), events.ErrUnsafeLog)
	if err := stream(t, nc, "us").Purge(within(t), jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, follow(t, l, events.Range{}).ends(t), events.ErrHole)
}

// TestASkippedRecordIsFetched lets every consumer leave one record out, as was seen when a reader fell behind.
func TestASkippedRecordIsFetched(t *testing.T) {
	s := startServer(t, nil)
	p := startProxy(t, s.ClientURL())
	l := openLog(t, dial(t, p.url()), config, Options{})
	fill(t, l, 20)
	skipped := 0
	hide := func(data []byte) { // a client drops what comes for a subscription it does not know
		line := []byte("HMSG evt.us.airport.A7 ")
		if i := bytes.Index(data, line); i >= 0 && bytes.Contains(data[i:min(i+200, len(data))], []byte("$JS.ACK")) {
			data[i+len(line)] = '9'
			skipped++
		}
	}
	p.mangle.Store(&hide)
	if err := follow(t, l, events.Range{}).ends(t); err != nil {
		t.Fatal(err)
	}
	p.mangle.Store(nil)
	if skipped < natsread.MaxGaps {
		t.Errorf("only %d consumers skipped it", skipped)
	}
}

// TestAFollowerLeavesASilentConsumer pauses the consumer: its server goes on with heartbeats and delivers nothing.
func TestAFollowerLeavesASilentConsumer(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	f := follow(t, l, events.Range{Follow: true})
	f.reaches(t, 1)
	for c := range stream(t, nc, "us").ListConsumers(within(t)).Info() {
		if _, err := stream(t, nc, "us").PauseConsumer(within(t), c.Name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	f.reaches(t, 2)
}

func TestAFollowerResumesAfterARestart(t *testing.T) {
	s := startServer(t, nil)
	l := openLog(t, dial(t, s.ClientURL()), config, Options{})
	f := follow(t, l, events.Range{Follow: true})
	head := uint64(1)
	for i := range 3 {
		fill(t, l, 100)
		f.reaches(t, head+100)
		s.Restart()
		appendOne(t, l, about(entity(1), i), events.ExpectAny()) // it waits for the server
		head += 101
		f.reaches(t, head)
	}
}

func TestReadingThroughACuttingProxyLeavesNothingOut(t *testing.T) {
	s := startServer(t, nil)
	p := startProxy(t, s.ClientURL())
	direct := openLog(t, dial(t, s.ClientURL()), config, Options{})
	l := reopen(t, dial(t, p.url()), config, Options{})
	var seen atomic.Int64
	last := time.Now()
	cut := func(data []byte) bool {
		if !bytes.Contains(data, []byte("$JS.ACK")) || seen.Add(1)%100 != 0 || time.Since(last) < 30*time.Millisecond {
			return false
		}
		last = time.Now()
		return true
	}
	p.loseReply.Store(&cut)
	f := follow(t, l, events.Range{Follow: true, Batch: 500})
	const n = 15_000
	fill(t, direct, n)
	f.reaches(t, n+1)
	if p.cuts.Load() < 3 {
		t.Errorf("only %d connections were cut: the test tests nothing", p.cuts.Load())
	}
	t.Logf("%d connections cut", p.cuts.Load())
}

func TestABoundedReadGivesUp(t *testing.T) {
	s := startServer(t, nil)
	fill(t, openLog(t, dial(t, s.ClientURL()), config, Options{}), 2_000)
	l := reopen(t, dial(t, s.ClientURL()), config, Options{ReadPatience: 300 * time.Millisecond, AttemptTimeout: 500 * time.Millisecond})
	stopped := false
	var ended error
	for _, err := range l.Read(within(t), events.Range{Batch: 10}) {
		if !stopped {
			stopped = true
			s.Stop()
		}
		ended = err
	}
	if ended != nil { // all of it may have been on its way already
		wantCode(t, ended, events.ErrUnreachable)
	}
	for _, err := range l.Read(within(t), events.Range{}) {
		wantCode(t, err, events.ErrUnreachable)
	}
	_, err := l.Info(within(t))
	wantCode(t, err, events.ErrUnreachable)
	_, err = l.Record(within(t), 1)
	wantCode(t, err, events.ErrUnreachable)
	for _, err := range l.History(within(t), entity(1), 0) {
		wantCode(t, err, events.ErrUnreachable)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(within(t), 500*time.Millisecond, cause)
	defer cancel()
	for _, err := range l.Read(ctx, events.Range{Follow: true}) { // which waits for ever
		if !errors.Is(err, cause) {
			t.Errorf("a reading that follows ended with %v", err)
		}
	}
}

// TestASlowFollowerGetsLargerBatches: while the reader is busy, what comes is gathered.
func TestASlowFollowerGetsLargerBatches(t *testing.T) {
	l := openLog(t, dial(t, startServer(t, nil).ClientURL()), config, Options{})
	const n = 2_000
	read, steps := 0, 0
	for batch, err := range l.Read(within(t), events.Range{Follow: true, To: n + 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if steps++; steps == 1 {
			for i := range n {
				appendOne(t, l, about(entity(i), i), events.ExpectAny())
			}
		}
		read += len(batch)
	}
	if read != n+1 || steps > n/40 { // without gathering each record is a step
		t.Errorf("%d records in %d steps", read, steps)
	}
}

func TestBatchesOfLargeEventsAreBounded(t *testing.T) {
	l := openLog(t, dial(t, startServer(t, nil).ClientURL()), config, Options{})
	const n = 40
	for i := range n {
		e := about(entity(i), i)
		e.ContentType, e.Data = "text/plain", bytes.Repeat([]byte{'x'}, events.MaxDataBytes)
		appendOne(t, l, e, events.ExpectAny())
	}
	read := 0
	for batch, err := range l.Read(within(t), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for i := range batch {
			size += len(batch[i].Event.Data)
		}
		if read += len(batch); size > natsread.MaxBatchBytes+events.MaxDataBytes {
			t.Errorf("a batch of %d bytes", size)
		}
	}
	if read != n+1 {
		t.Errorf("%d records", read)
	}
}

func TestConsumersAreRemoved(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	fill(t, l, 100)
	for range 3 {
		for _, err := range l.Read(within(t), events.Range{Follow: true, Batch: 7}) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		wantConsumers(t, nc, 0)
	}
	f := follow(t, l, events.Range{Follow: true})
	f.reaches(t, 101)
	wantConsumers(t, nc, 1)
	l.Close()
	wantCode(t, f.ends(t), events.ErrClosed)
	wantConsumers(t, nc, 0)
}

// TestAMirrorTellsTheSame reads the origin's log from another domain's copy of it, over a leaf node connection.
func TestAMirrorTellsTheSame(t *testing.T) {
	hub, leaf := startLeafNodes(t)
	l := openLog(t, dial(t, hub.ClientURL()), config, Options{})
	fill(t, l, 50)
	nc := dial(t, leaf.ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{
		Name: "EVT_us", AllowDirect: true, DenyDelete: true, Discard: jetstream.DiscardNew,
		Mirror: &jetstream.StreamSource{Name: "EVT_us", External: &jetstream.ExternalStream{APIPrefix: "$JS.us.API"}},
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, openError(t, nc, config), events.ErrUnsafeLog)
	eventually(t, "the mirror holds all", func() bool { return streamInfo(t, nc, "us").State.LastSeq == 51 })
	m := reopen(t, nc, Config{Origin: "us", Domain: "eu", Mirror: true}, Options{})
	there, here := info(t, l), info(t, m)
	if !here.Head().Equal(there.Head()) || !here.Time.Equal(there.Time) {
		t.Errorf("the leader is at %+v, the mirror at %+v", there, here)
	}
	for batch, err := range m.Read(within(t), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			r, err := l.Record(within(t), batch[i].Sequence)
			if err != nil || r.Fingerprint() != batch[i].Fingerprint() {
				t.Errorf("sequence %d differs: %v", r.Sequence, err)
			}
		}
	}
	for r, err := range m.History(within(t), entity(3), 0) {
		if err != nil || number(t, r) != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	_, err = m.Append(within(t), events.One(about(entity(1), 1), events.ExpectAny()))
	wantCode(t, err, events.ErrNoLog)
	f := follow(t, m, events.Range{Follow: true})
	appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	f.reaches(t, 52)

	// The leader's log is seen from the other domain, too, and not written to from there.
	far := reopen(t, nc, Config{Origin: "us", Domain: "us", ReadOnly: true}, Options{})
	if head := info(t, far).Head(); !head.Equal(info(t, l).Head()) {
		t.Errorf("from afar the leader is at %s", head)
	}
	_, err = far.Append(within(t), events.One(about(entity(1), 1), events.ExpectAny()))
	wantCode(t, err, events.ErrNoLog)
}

// TestAReadingThatEndsAtOnceLeavesNoConsumer, not even one whose making was asked for and not waited for.
func TestAReadingThatEndsAtOnceLeavesNoConsumer(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
		for _, err := range l.Read(ctx, events.Range{Follow: true}) {
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		cancel()
	}
	wantConsumers(t, nc, 0)
}
