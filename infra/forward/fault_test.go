package forward

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
)

// What the requests and answers that a test loses look like on the wire.
var (
	appendText  = []byte{mark, kindAppend, version}
	receiptText = []byte{mark, kindAnswer, version, answerReceipt}
)

// accepted appends until it is: a test whose time-outs are short may need another go on a busy machine, and a repeat is not stored again.
func accepted(t *testing.T, a *Appender, b events.Batch) {
	t.Helper()
	eventually(t, "it is stored", func() bool {
		_, err := a.Append(within(t), b)
		return err == nil
	})
}

// once returns a function that is true for the first data that contains what.
func once(what []byte) (match func([]byte) bool, met *atomic.Bool) {
	met = new(atomic.Bool)
	return func(data []byte) bool { return bytes.Contains(data, what) && met.CompareAndSwap(false, true) }, met
}

func several(first, n int, x map[events.Entity]events.Expectation) events.Batch {
	b := events.Batch{Expect: x}
	for i := range n {
		b.Events = append(b.Events, about(entity(first+i/2), i))
	}
	return b
}

func TestALostRequestOrAnswerIsResolved(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	client := wire(t, r.eu.Addr().String())
	a := appender(t, "nats://"+client.Addr(), atMirror, Options{})
	control := func(name string) events.ControlWrite {
		return events.ControlWrite{Control: events.Control{Name: name, Data: []byte("4")}, Expect: events.ExpectNone()}
	}
	next := 0
	for _, lost := range []string{"request", "answer"} {
		for _, k := range []struct {
			name string
			make func(i int) events.Batch
		}{
			{"one, any", func(i int) events.Batch { return events.One(about(entity(i), 1), events.ExpectAny()) }},
			{"one, none", func(i int) events.Batch { return events.One(about(entity(i), 1), events.ExpectNone()) }},
			{"several, any", func(i int) events.Batch { return several(i, 5, nil) }},
			{"several, some", func(i int) events.Batch {
				return several(i, 5, map[events.Entity]events.Expectation{entity(i): events.ExpectNone()})
			}},
			{"events and a control", func(i int) events.Batch {
				b := several(i, 3, nil)
				b.Controls = []events.ControlWrite{control(fmt.Sprint("import.", i))}
				return b
			}},
		} {
			next += 10
			b := k.make(next)
			before := head1(t, r.log)
			d, what := losing(lost)
			match, met := once(what)
			client.LoseWhen(d, match)
			receipt, err := a.Append(within(t), b)
			if err != nil {
				t.Fatalf("%s, lost %s: %v", k.name, lost, err)
			}
			n := uint64(len(b.Events) + len(b.Controls))
			if !met.Load() {
				t.Fatalf("%s: the %s was not lost", k.name, lost)
			}
			if receipt.First != before+1 || head1(t, r.log) != before+n {
				t.Errorf("%s, lost %s: receipt %+v; the head was %d and is %d", k.name, lost, receipt, before, head1(t, r.log))
			}
			if receipt.Duplicate != (lost == "answer") {
				t.Errorf("%s, lost %s: receipt %+v", k.name, lost, receipt)
			}
		}
	}
}

func TestControlsAloneAreNeverGuessedAbout(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	client := wire(t, r.eu.Addr().String())
	a := appender(t, "nats://"+client.Addr(), atMirror, Options{})
	for i, c := range []struct {
		lost   string
		expect events.Expectation
		code   events.Code // "": it succeeds
		stored uint64
	}{
		{"request", events.ExpectNone(), "", 1},
		{"answer", events.ExpectNone(), events.ErrUnknownOutcome, 1}, // the conflict may be with itself
		{"request", events.ExpectAny(), events.ErrUnknownOutcome, 0}, // not repeated: nobody would recognise it
		{"answer", events.ExpectAny(), events.ErrUnknownOutcome, 1},
	} {
		before := head1(t, r.log)
		d, what := losing(c.lost)
		match, met := once(what)
		client.LoseWhen(d, match)
		_, err := a.Append(within(t), events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: fmt.Sprint("mark.", i)}, Expect: c.expect}}})
		if got, _ := events.CodeOf(err); got != c.code || !met.Load() {
			t.Errorf("lost %s, %+v: got %v, want %q", c.lost, c.expect, err, c.code)
		}
		if got := head1(t, r.log) - before; got != c.stored {
			t.Errorf("lost %s, %+v: %d records were stored, want %d", c.lost, c.expect, got, c.stored)
		}
	}
}

// flood appends from some goroutines to entities of their own, in order, and returns what was acknowledged.
func flood(t *testing.T, a *Appender, writers, each int, progress func(done int64)) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	var done atomic.Int64
	acknowledged := map[string]bool{}
	for w := range writers {
		all.Go(func() {
			var last uint64
			var pending []*events.Pending
			var ids []string
			for i := range each {
				e := about(entity(w), i)
				x := events.ExpectAny()
				if w%2 == 1 {
					x = events.ExpectExactly(last)
				}
				p, err := a.Submit(within(t), events.One(e, x))
				if err != nil {
					t.Error(err)
					return
				}
				ids, pending = append(ids, e.ID), append(pending, p)
				if w%2 == 1 || i == each-1 || len(pending) == 50 {
					for j, p := range pending {
						r, err := p.Wait(within(t))
						if err != nil {
							t.Errorf("writer %d, append %d: %v", w, i, err)
							return
						}
						last = r.Last
						mu.Lock()
						acknowledged[ids[j]] = true
						mu.Unlock()
						progress(done.Add(1))
					}
					pending, ids = nil, nil
				}
			}
		})
	}
	all.Wait()
	return acknowledged
}

// inOrder fails the test unless each entity's events count up from 0.
func inOrder(t *testing.T, records []events.Record) {
	t.Helper()
	next := map[events.Entity]int{}
	for i := range records {
		e := &records[i].Event
		if n := number(t, e); n != next[e.Entity] {
			t.Fatalf("sequence %d: event %d of %s comes where %d should", records[i].Sequence, n, e.Entity, next[e.Entity])
		}
		next[e.Entity]++
	}
}

func TestEveryEventOnceOverALinkThatBreaks(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	client := wire(t, r.eu.Addr().String())
	a := appender(t, "nats://"+client.Addr(), atMirror, Options{Patience: patience, AttemptTimeout: time.Second})
	var answers atomic.Int64
	client.LoseWhen(netfault.ToTarget, func(b []byte) bool { return bytes.Contains(b, appendText) && answers.Add(1)%211 == 0 })
	client.LoseWhen(netfault.FromTarget, func(b []byte) bool { return bytes.Contains(b, receiptText) && answers.Add(1)%199 == 0 })
	acknowledged := flood(t, a, 20, 250, func(done int64) {
		if done%1_000 == 0 {
			r.link.Break()
		}
	})
	if len(acknowledged) != 20*250 {
		t.Fatalf("%d of %d were acknowledged", len(acknowledged), 20*250)
	}
	inOrder(t, exactlyOnce(t, r.log, acknowledged))
}

// process is the leader in a process of its own, at fixed addresses.
type process struct {
	dir, port, linkPort string
	cmd                 *exec.Cmd
	stdin               io.Closer
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(os.Args[0], p.dir, p.port, p.linkPort)
	p.cmd.Env = append(os.Environ(), leaderRole+"=1")
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe() // it ends when this process does
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the leader did not start: %q", lines.Text())
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

func TestEveryEventOnceThoughTheLeadersProcessIsKilled(t *testing.T) {
	t.Parallel()
	ports := natstest.FreePorts(t, 2)
	p := &process{dir: t.TempDir(), port: strconv.Itoa(ports[0]), linkPort: strconv.Itoa(ports[1])}
	p.start(t)
	defer func() { p.kill() }()
	eu := startMirror(t, "127.0.0.1:"+p.linkPort)
	a := appender(t, eu.ClientURL(), atMirror, Options{Patience: patience, AttemptTimeout: time.Second})
	const writers, each = 20, 500
	kills := make(chan struct{}, 3)
	var killed sync.WaitGroup
	killed.Go(func() {
		for range 3 {
			<-kills
			p.kill()
			p.start(t)
		}
	})
	acknowledged := flood(t, a, writers, each, func(done int64) {
		if done == 1_500 || done == 4_500 || done == 7_500 {
			kills <- struct{}{}
		}
	})
	killed.Wait()
	if len(acknowledged) != writers*each {
		t.Fatalf("%d of %d were acknowledged", len(acknowledged), writers*each)
	}
	log, err := natslog.Open(within(t), dial(t, "nats://127.0.0.1:"+p.port), natslog.Config{Origin: "us"}, natslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	inOrder(t, exactlyOnce(t, log, acknowledged))
}

func TestALeaderThatIsOutOfReachIsNamedAndNothingWasWritten(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	a := appender(t, r.eu.ClientURL(), atMirror, Options{Patience: 200 * time.Millisecond})
	accepted(t, a, several(1, 1, nil))
	before := head1(t, r.log)
	r.link.Cut()
	eventually(t, "the link is down", func() bool { return r.eu.NumLeafNodes() == 0 })
	_, err := a.Append(within(t), several(1, 1, nil))
	wantCode(t, err, events.ErrUnreachable)
	if !strings.Contains(err.Error(), "region us") || !strings.Contains(err.Error(), "nothing was written") {
		t.Error(err)
	}
	r.link.Heal()
	accepted(t, a, several(2, 1, nil))
	if n := head1(t, r.log) - before; n != 1 {
		t.Errorf("%d events were stored, want 1", n)
	}
}

func TestAHalfOpenLinkLeavesAnUnknownOutcomeThatARepeatResolves(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	a := appender(t, r.eu.ClientURL(), atMirror, Options{AttemptTimeout: time.Second, ResolveFor: 4 * time.Second, Patience: time.Second})
	accepted(t, a, several(1, 1, nil))
	before := head1(t, r.log)
	b := events.One(about(entity(2), 0), events.ExpectNone())
	r.link.OneWay(netfault.ToTarget) // requests arrive, answers do not
	_, err := a.Append(within(t), b)
	wantCode(t, err, events.ErrUnknownOutcome)
	_, err = a.Append(within(t), events.One(about(entity(3), 0), events.ExpectNone()))
	wantCode(t, err, events.ErrUnreachable) // it knows by now, and does not send it
	r.link.Heal()
	eventually(t, "the repeat is a duplicate", func() bool {
		receipt, err := a.Append(within(t), b)
		return err == nil && receipt.Duplicate && receipt.Last == before+1
	})
	if n := head1(t, r.log) - before; n != 1 {
		t.Errorf("%d events were stored, want 1", n)
	}
}

func TestARequestThatWasHeldUpIsRefusedAfterItsDeadline(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	client := wire(t, r.eu.Addr().String())
	a := appender(t, "nats://"+client.Addr(), atMirror, Options{AttemptTimeout: 500 * time.Millisecond, ResolveFor: 2 * time.Second, Patience: 500 * time.Millisecond})
	accepted(t, a, several(1, 1, nil))
	before, carried := head1(t, r.log), client.Carried(netfault.ToTarget)
	client.Stall()
	_, err := a.Append(within(t), events.One(about(entity(2), 0), events.ExpectAny()))
	wantCode(t, err, events.ErrUnknownOutcome)
	client.Heal() // now it arrives, and its deadline is over
	eventually(t, "what was held arrives", func() bool { return client.Carried(netfault.ToTarget) > carried })
	accepted(t, a, several(3, 1, nil)) // on the same connection, behind it
	if n := head1(t, r.log) - before; n != 1 {
		t.Errorf("%d events were stored, want 1", n)
	}
}

func TestARequestThatIsDeliveredTwiceIsStoredOnce(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	eu := dial(t, r.eu.ClientURL())
	eventually(t, "the writer is heard of", func() bool {
		m, err := eu.Request(AppendSubject("us"), head(kindHello), time.Second)
		return err == nil && len(m.Data) > headBytes
	})
	before := head1(t, r.log)
	b := several(1, 3, map[events.Entity]events.Expectation{entity(1): events.ExpectNone()})
	request := withDeadline(encodeAppend(&b), time.Now().Add(time.Minute).UnixMilli())
	inbox := eu.NewInbox()
	answers, err := eu.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	const copies = 20
	for range copies {
		if err := eu.PublishRequest(AppendSubject("us"), inbox, request); err != nil {
			t.Fatal(err)
		}
	}
	stored := 0
	for range copies {
		m, err := answers.NextMsgWithContext(within(t))
		if err != nil {
			t.Fatal(err)
		}
		a, err := decodeAnswer(m.Data)
		if err != nil || a.what != answerReceipt || a.receipt.First != before+1 {
			t.Fatalf("%+v, %v", a, err)
		}
		if !a.receipt.Duplicate {
			stored++
		}
	}
	if n := head1(t, r.log) - before; n != 3 || stored != 1 {
		t.Errorf("%d records, stored %d times", n, stored)
	}
}

// counting counts the appends that one writer was given.
type counting struct {
	events.Appender
	n atomic.Int64
}

func (c *counting) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	c.n.Add(1)
	return c.Appender.Submit(ctx, b)
}

func TestTwoWritersShareAndOneMayGo(t *testing.T) {
	t.Parallel()
	us := startLeader(t)
	eu := startMirror(t, linkAddress(us))
	first, second := &counting{Appender: openLog(t, us, "us")}, &counting{Appender: openLog(t, us, "us")}
	serve(t, us, atLeader, first, nil, ServerOptions{})
	stop := serve(t, us, atLeader, second, nil, ServerOptions{})
	a := appender(t, eu.ClientURL(), atMirror, Options{})
	var stopping sync.WaitGroup
	acknowledged := flood(t, a, 20, 200, func(done int64) {
		if done == 2_000 {
			stopping.Go(stop)
		}
	})
	stopping.Wait()
	if len(acknowledged) != 20*200 {
		t.Fatalf("%d were acknowledged", len(acknowledged))
	}
	inOrder(t, exactlyOnce(t, first.Appender.(events.Reader), acknowledged))
	if first.n.Load() == 0 || second.n.Load() == 0 {
		t.Errorf("%d and %d appends", first.n.Load(), second.n.Load())
	}
}

func TestARefusalCrossesTheLink(t *testing.T) {
	t.Parallel()
	r := startRegions(t)
	a := appender(t, r.eu.ClientURL(), atMirror, Options{})
	e := about(entity(1), 0)
	receipt, err := a.Append(within(t), events.One(e, events.ExpectNone()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Append(within(t), events.One(about(entity(1), 1), events.ExpectNone()))
	if c, ok := errors.AsType[*events.ConflictError](err); !ok || *c != (events.ConflictError{Entity: entity(1), Actual: receipt.Last}) || !errors.Is(err, events.ErrConflict) {
		t.Errorf("got %#v", err)
	}
	e.Data = []byte(`{"n":99}`)
	_, err = a.Append(within(t), events.One(e, events.ExpectAny()))
	if !errors.Is(err, events.ErrIDConflict) || !strings.Contains(err.Error(), e.ID) {
		t.Errorf("got %v", err)
	}
	late := about(entity(2), 1)
	late.Time = time.Now().AddDate(1, 0, 0)
	_, err = a.Append(within(t), events.One(late, events.ExpectAny()))
	if !errors.Is(err, events.ErrClockAhead) || !strings.Contains(err.Error(), "region us") {
		t.Errorf("got %v", err)
	}
	if n := head1(t, r.log); n != 2 {
		t.Errorf("the head is %d", n)
	}
}

func TestAWriterInAnotherRegionNamesTheLeader(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	log := memory(t)
	serve(t, s, Config{Origin: "us", Region: "ap", Leader: "us"}, log, log0{}, ServerOptions{})
	a := appender(t, s.ClientURL(), atMirror, Options{})
	_, err := a.Append(within(t), several(1, 1, nil))
	wantCode(t, err, ErrNotLeader)
	if !strings.Contains(err.Error(), "region us") {
		t.Error(err)
	}
	if head1(t, log) != 1 {
		t.Error("something was written")
	}
}

// log0 knows no floors.
type log0 struct{}

func (log0) Floors(context.Context) ([]events.Floor, error) { return nil, events.ErrNoLog }

func losing(lost string) (netfault.Direction, []byte) {
	if lost == "request" {
		return netfault.ToTarget, appendText
	}
	return netfault.FromTarget, receiptText
}
