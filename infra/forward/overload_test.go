package forward

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
)

// gated is a log whose appends wait.
type gated struct {
	events.Appender
	open chan struct{}
}

func (g *gated) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	select {
	case <-g.open:
		return g.Appender.Submit(ctx, b)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func TestAnOverloadedWriterSaysSoAndQueuesNothing(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	for _, o := range []ServerOptions{{MaxRequests: 2}, {MaxRequestBytes: 1}} {
		log := memory(t)
		stuck := &held{Appender: log, open: make(chan struct{})}
		stop := serve(t, s, atLeader, stuck, nil, o)
		a := appender(t, s.ClientURL(), atMirror, Options{ResolveFor: 300 * time.Millisecond})
		var pending []*events.Pending
		for i := range 10 {
			p, err := a.Submit(within(t), events.One(about(entity(i), i), events.ExpectNone()))
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, p)
		}
		refused := 0
		eventually(t, "all but those at work are refused", func() bool {
			refused = 0
			for _, p := range pending {
				select {
				case <-p.Done():
					refused++
				default:
				}
			}
			return refused >= 8
		})
		close(stuck.open)
		stored := uint64(0)
		for _, p := range pending {
			if _, err := p.Wait(within(t)); err == nil {
				stored++
			} else if !errors.Is(err, events.ErrOverloaded) {
				t.Errorf("got %v", err)
			}
		}
		if n := head1(t, log) - 1; n != stored || stored > 2 {
			t.Errorf("%+v: %d stored, %d acknowledged, %d refused", o, n, stored, refused)
		}
		stop()
		a.Close()
	}
}

// held is a log whose outcomes wait.
type held struct {
	events.Appender
	open chan struct{}
}

func (h *held) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	p, finish := events.NewPending()
	go func() {
		<-h.open
		finish(h.Append(context.WithoutCancel(ctx), b))
	}()
	return p, nil
}

func TestAnOverloadThatPassesIsNotSeen(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	log := memory(t)
	var lines lines
	w, err := NewServer(dial(t, s.ClientURL()), atLeader, log, nil, ServerOptions{MaxRequests: 1, Logger: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		t.Fatal(err)
	}
	run(t, w)
	a := appender(t, s.ClientURL(), atMirror, Options{})
	acknowledged := flood(t, a, 10, 30, func(int64) {})
	if len(acknowledged) != 300 {
		t.Errorf("%d were acknowledged", len(acknowledged))
	}
	inOrder(t, exactlyOnce(t, log, acknowledged))
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func TestALogWithoutRoomIsAnOverload(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	serve(t, s, atLeader, &gated{Appender: memory(t), open: make(chan struct{})}, nil, ServerOptions{})
	a := appender(t, s.ClientURL(), atMirror, Options{ResolveFor: 300 * time.Millisecond})
	_, err := a.Append(within(t), several(1, 1, nil))
	wantCode(t, err, events.ErrOverloaded)
}

func TestUnfinishedAppendsAreBounded(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	stuck := &held{Appender: memory(t), open: make(chan struct{})}
	serve(t, s, atLeader, stuck, nil, ServerOptions{})
	a := appender(t, s.ClientURL(), atMirror, Options{MaxPending: 3})
	var pending []*events.Pending
	for i := range 3 {
		p, err := a.Submit(within(t), several(i, 1, nil))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	gone := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(within(t))
	time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
	if _, err := a.Submit(ctx, several(9, 1, nil)); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	close(stuck.open)
	for _, p := range pending {
		if _, err := p.Wait(within(t)); err != nil {
			t.Error(err)
		}
	}
	if _, err := a.Append(within(t), several(9, 1, nil)); err != nil {
		t.Error(err)
	}
}
