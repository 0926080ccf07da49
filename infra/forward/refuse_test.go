package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

// restricted starts a server with users that have these rights only.
func restricted(t *testing.T, rights map[string]*server.Permissions) (connect func(user string) *nats.Conn) {
	t.Helper()
	users := []*server.User{{Username: "admin", Password: "made-up"}}
	for user, p := range rights {
		users = append(users, &server.User{Username: user, Password: "made-up", Permissions: p})
	}
	s := natstest.Start(t, asLeader, func(o *server.Options) { o.JetStream, o.Users = false, users })
	return func(user string) *nats.Conn {
		return dial(t, s.ClientURL(), nats.UserInfo(user, "made-up"), nats.CustomInboxPrefix("_INBOX."+user),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { t.Error("the caller's handler was called") }))
	}
}

func allow(subjects ...string) *server.SubjectPermission {
	return &server.SubjectPermission{Allow: subjects}
}

func TestTheRightsInTheReadmeSuffice(t *testing.T) {
	t.Parallel()
	connect := restricted(t, map[string]*server.Permissions{
		"afar": {Publish: allow("tm.append.us", "tm.floors.us"), Subscribe: allow("_INBOX.afar.>")},
		"writer": {Publish: &server.SubjectPermission{Deny: []string{">"}}, Subscribe: allow("tm.append.us", "tm.floors.us"),
			Response: &server.ResponsePermission{MaxMsgs: 1, Expires: answerWithin}},
	})
	w, err := NewServer(connect("writer"), atLeader, memory(t), known{}, ServerOptions{Head: known{}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, w)
	a, err := NewAppender(connect("afar"), atMirror, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Append(within(t), several(1, 1, nil)); err != nil {
		t.Error(err)
	}
	f, err := NewFloors(connect("afar"), atMirror, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	eventually(t, "the floors are told", func() bool {
		got, err := f.Floors(within(t))
		return err == nil && fmt.Sprint(got) == fmt.Sprint(known{}.list())
	})
	if got, err := f.Head(within(t)); err != nil || !got.Equal(known{}.at()) {
		t.Errorf("the head is %s, %v", got, err)
	}
}

// known is a Floors and a Leader that know.
type known struct{}

func (known) list() []events.Floor {
	return []events.Floor{{Region: "ap", Sequence: 3}, {Region: "eu", Sequence: 7, Connected: true}, {Region: "us", Sequence: 9, Connected: true}}
}

func (k known) Floors(context.Context) ([]events.Floor, error) { return k.list(), nil }

func (known) at() events.Position {
	return events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 3, Sequence: 1042})
}

func (k known) Head(context.Context) (events.Position, error) { return k.at(), nil }

func TestAMissingRightIsToldAtOnce(t *testing.T) {
	t.Parallel()
	connect := restricted(t, map[string]*server.Permissions{
		"mute": {Publish: allow("nothing"), Subscribe: allow("_INBOX.mute.>")},
		"deaf": {Publish: allow("tm.>"), Subscribe: allow("nothing")},
	})
	log := memory(t)
	w, err := NewServer(connect("admin"), atLeader, log, known{}, ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, w)
	o := Options{AttemptTimeout: patience, Patience: patience} // a time-out would fail the test
	for _, user := range []string{"mute", "deaf"} {
		a, err := NewAppender(connect(user), atMirror, o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Append(within(t), several(1, 1, nil))
		wantCode(t, err, events.ErrUnauthorized)
		f, err := NewFloors(connect(user), atMirror, o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Floors(within(t))
		wantCode(t, err, events.ErrUnauthorized)
		_, err = f.Head(within(t))
		wantCode(t, err, events.ErrUnauthorized)
		f.Close()
		a.Close()
	}
	if head1(t, log) != 1 {
		t.Error("something was written")
	}
	w, err = NewServer(connect("deaf"), atLeader, log, nil, ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.Run(within(t)), events.ErrUnauthorized)
}

// script answers appends as a test wants, after a proper greeting.
func script(t *testing.T, s *natstest.Server, reply func(n int64, request []byte) []byte) (asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	nc := dial(t, s.ClientURL())
	sub, err := nc.Subscribe(AppendSubject("us"), func(m *nats.Msg) {
		b := reply(0, m.Data)
		if bytes.Equal(m.Data, head(kindHello)) {
			if b == nil {
				a := answer{what: answerHello, clock: time.Now().UnixMilli(), leader: "us", maxPayload: 1 << 20}
				b = a.encode()
			}
		} else {
			b = reply(asked.Add(1), m.Data)
		}
		_ = m.Respond(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return asked
}

func TestGarbageInsteadOfAGreetingMeansThatNothingWasWritten(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	asked := script(t, s, func(int64, []byte) []byte { return []byte("-ERR what?") })
	a := appender(t, s.ClientURL(), atMirror, Options{})
	_, err := a.Append(within(t), several(1, 1, nil))
	wantCode(t, err, ErrProtocol)
	if asked.Load() != 0 {
		t.Error("the append was sent")
	}
}

func TestGarbageInsteadOfAnAnswerLeavesTheOutcomeUnknown(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	asked := script(t, s, func(n int64, _ []byte) []byte {
		if n == 0 {
			return nil
		}
		return []byte{mark, kindAnswer, version, answerReceipt}
	})
	a := appender(t, s.ClientURL(), atMirror, Options{ResolveFor: 2 * time.Second})
	_, err := a.Append(within(t), several(1, 1, nil))
	wantCode(t, err, events.ErrUnknownOutcome)
	if asked.Load() < 2 {
		t.Errorf("it was asked %d times", asked.Load())
	}
}

func TestOnceInDoubtOnlyTheAppendsOwnFateCounts(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	refusals := []events.Code{
		events.ErrUnreachable, events.ErrOverloaded, events.ErrClosed, events.ErrUnauthorized, events.ErrNoLog, ErrNotLeader, events.ErrTooLarge, events.ErrImpossiblePosition,
	}
	var last atomic.Bool
	asked := script(t, s, func(n int64, _ []byte) []byte {
		a := answer{what: answerError, clock: time.Now().UnixMilli()}
		switch {
		case n == 0:
			return nil
		case n == 1:
			a.err = events.Errorf(events.ErrUnknownOutcome, "it may be stored")
		case int(n-2) < len(refusals):
			a.err = events.Errorf(refusals[n-2], "nothing was written")
		default:
			a = answer{what: answerReceipt, clock: a.clock, receipt: events.Receipt{First: 7, Last: 7, Duplicate: true}}
			last.Store(true)
		}
		return a.encode()
	})
	a := appender(t, s.ClientURL(), atMirror, Options{})
	r, err := a.Append(within(t), several(1, 1, nil))
	if err != nil || r.Last != 7 || !last.Load() {
		t.Fatalf("after %d attempts: %+v, %v", asked.Load(), r, err)
	}
}

func TestWithoutExpectationNothingIsRepeatedBeyondHalfOfTheWindow(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	const window = 4 * time.Second
	var mu sync.Mutex
	var deadlines []int64
	var first time.Time
	script(t, s, func(n int64, request []byte) []byte {
		if n == 0 {
			return nil
		}
		_, deadline, err := decodeAppend(request)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		if first.IsZero() {
			first = time.Now()
		}
		deadlines = append(deadlines, deadline)
		a := answer{what: answerError, clock: time.Now().UnixMilli(), err: events.Errorf(events.ErrUnknownOutcome, "it may be stored")}
		return a.encode()
	})
	a := appender(t, s.ClientURL(), atMirror, Options{DuplicateWindow: window, ResolveFor: patience})
	_, err := a.Append(within(t), events.One(about(entity(1), 1), events.ExpectAny()))
	wantCode(t, err, events.ErrUnknownOutcome)
	mu.Lock()
	defer mu.Unlock()
	if len(deadlines) < 2 {
		t.Fatalf("%d attempts", len(deadlines))
	}
	for _, d := range deadlines {
		if d > first.Add(window/2).UnixMilli()+1 {
			t.Errorf("a deadline is %d ms after the first attempt, over half of the window", d-first.UnixMilli())
		}
	}
}

func TestAnAppendThatNoServerCarriesNamesTheLeader(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, asLeader, func(o *server.Options) { o.JetStream, o.MaxPayload = false, 64<<10 })
	a := appender(t, s.ClientURL(), atMirror, Options{})
	e := about(entity(1), 1)
	e.ContentType, e.Data = "text/plain", make([]byte, 64<<10)
	_, err := a.Submit(within(t), events.One(e, events.ExpectAny()))
	wantCode(t, err, events.ErrTooLarge)
	if !strings.Contains(err.Error(), "region us") || !strings.Contains(err.Error(), "nothing was written") {
		t.Error(err)
	}
}

func TestTheLeadersBoundOfAMessageCountsToo(t *testing.T) {
	t.Parallel()
	s := startLeader(t) // the script's greeting says 1 MiB
	asked := script(t, s, func(int64, []byte) []byte { return nil })
	a := appender(t, s.ClientURL(), atMirror, Options{})
	e := about(entity(1), 1)
	e.ContentType, e.Data = "text/plain", make([]byte, events.MaxDataBytes)
	_, err := a.Append(within(t), events.One(e, events.ExpectAny()))
	wantCode(t, err, events.ErrTooLarge)
	if asked.Load() != 0 {
		t.Error("the append was sent")
	}
}

func TestCloseEndsEverythingAndEveryAppendHasAnOutcome(t *testing.T) {
	s := startLeader(t)
	nc := dial(t, s.ClientURL())
	before := runtime.NumGoroutine()
	stuck := &held{Appender: memory(t), open: make(chan struct{})}
	w, err := NewServer(nc, atLeader, stuck, nil, ServerOptions{Grace: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, w)
	a, err := NewAppender(nc, atMirror, Options{AttemptTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var pending []*events.Pending
	for i := range 20 {
		p, err := a.Submit(within(t), several(i%2, 1, nil))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	a.Close()
	a.Close()
	for _, p := range pending {
		select {
		case <-p.Done():
		default:
			t.Fatal("an append has no outcome")
		}
		if _, err := p.Wait(within(t)); !errors.Is(err, events.ErrClosed) && !errors.Is(err, events.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	}
	_, err = a.Submit(within(t), several(1, 1, nil))
	wantCode(t, err, events.ErrClosed)
	stop() // though the log is stuck
	close(stuck.open)
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestAWriterThatStopsFinishesWhatItHasTaken(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	log := memory(t)
	stuck := &held{Appender: log, open: make(chan struct{})}
	w, err := NewServer(dial(t, s.ClientURL()), atLeader, stuck, nil, ServerOptions{Grace: patience})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, w)
	a := appender(t, s.ClientURL(), atMirror, Options{})
	p, err := a.Submit(within(t), several(1, 1, nil))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is taken", func() bool {
		w.appends.mu.Lock()
		defer w.appends.mu.Unlock()
		return w.appends.now == 1
	})
	var stopping sync.WaitGroup
	stopping.Go(stop)
	close(stuck.open)
	if r, err := p.Wait(within(t)); err != nil || r.Duplicate {
		t.Errorf("%+v, %v", r, err)
	}
	stopping.Wait()
}

func TestChangesOfTheLeadersReachAreLoggedOnce(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	var out lines
	a := appender(t, s.ClientURL(), atMirror, Options{Patience: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	for range 3 {
		_, err := a.Append(within(t), several(1, 1, nil))
		wantCode(t, err, events.ErrUnreachable)
	}
	serve(t, s, atLeader, memory(t), nil, ServerOptions{})
	for range 3 {
		accepted(t, a, several(1, 1, nil))
	}
	if lost, back := out.count("cannot be reached"), out.count("answers again"); lost != 1 || back != 1 {
		t.Errorf("%d and %d lines", lost, back)
	}
}

func TestFloorsThatAreNotKnownAreNeverZero(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	f, err := NewFloors(dial(t, s.ClientURL()), atMirror, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := f.Floors(within(t))
	wantCode(t, err, events.ErrUnreachable)
	if got != nil || !strings.Contains(err.Error(), "region us") {
		t.Errorf("%v, %v", got, err)
	}
	stop := serve(t, s, atLeader, memory(t), nil, ServerOptions{})
	eventually(t, "a writer without floors says so", func() bool {
		got, err = f.Floors(within(t))
		return errors.Is(err, events.ErrNoLog) && got == nil
	})
	stop()
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gave up")
	cancel(gone)
	if _, err := f.Floors(ctx); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

func TestAWriterWaitsForItsServersAndEndsWhenItIsTold(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	nc := dial(t, s.ClientURL())
	s.Shutdown()
	var out lines
	w, err := NewServer(nc, atLeader, memory(t), nil, ServerOptions{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, w)
	eventually(t, "it says that it waits", func() bool { return out.count("waiting for") == 1 })
	stop()
}
