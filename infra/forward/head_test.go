package forward

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

// theHeadOf is a Leader that asks a log.
type theHeadOf struct{ log events.Reader }

func (l theHeadOf) Head(ctx context.Context) (events.Position, error) {
	info, err := l.log.Info(ctx)
	return info.Head(), err
}

func asking(t *testing.T, address string, o Options) *Floors {
	t.Helper()
	f, err := NewFloors(dial(t, address), atMirror, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func TestTheHeadIsTheLeadersOwnAtTheTimeOfTheQuestion(t *testing.T) {
	t.Parallel()
	us := startLeader(t)
	link := wire(t, linkAddress(us))
	eu := startMirror(t, link.Addr())
	log := openLog(t, us, "us")
	serve(t, us, atLeader, log, nil, ServerOptions{Head: theHeadOf{log}})
	f := asking(t, eu.ClientURL(), Options{AttemptTimeout: 3 * time.Second})
	eventually(t, "the link is up", func() bool {
		_, err := f.Head(within(t))
		return err == nil
	})
	for i := range 20 {
		receipt, err := log.Append(within(t), events.One(about(entity(i), i), events.ExpectAny()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Head(within(t)); err != nil || !got.Equal(receipt.Position) {
			t.Errorf("the head is %s, %v, and the last event at %s", got, err, receipt.Position)
		}
	}
	link.Stall() // half open: nothing says that it is broken
	got, err := f.Head(within(t))
	wantCode(t, err, events.ErrUnreachable)
	if !got.IsZero() || !strings.Contains(err.Error(), "region us") {
		t.Errorf("%s, %v", got, err)
	}
	link.Heal()
	eventually(t, "the leader answers again", func() bool {
		got, err := f.Head(within(t))
		return err == nil && got.Points()[0].Sequence == 21
	})
	gone := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(gone)
	if _, err := f.Head(ctx); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

func TestAHeadThatIsNotKnownIsAnError(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	f := asking(t, s.ClientURL(), Options{})
	got, err := f.Head(within(t))
	wantCode(t, err, events.ErrUnreachable) // nobody is there
	if !got.IsZero() {
		t.Errorf("the head is %s", got)
	}
	head := func(code events.Code) {
		t.Helper()
		eventually(t, string(code)+" is told", func() bool {
			got, err := f.Head(within(t))
			return errors.Is(err, code) && got.IsZero()
		})
	}
	stop := serve(t, s, atLeader, memory(t), known{}, ServerOptions{})
	head(events.ErrNoLog) // it has nobody to ask
	stop()
	log := memory(t)
	log.Unreachable(-1)
	stop = serve(t, s, atLeader, log, known{}, ServerOptions{Head: theHeadOf{log}})
	head(events.ErrUnreachable)
	stop()
	serve(t, s, Config{Origin: "us", Region: "ap", Leader: "us"}, memory(t), known{}, ServerOptions{Head: known{}})
	head(events.ErrNoLog) // it does not lead
}

// TestALeaderThatDoesNotKnowTheQuestionSaysSo: a writer of before takes it for a mistake, and goes on answering what it knows.
func TestALeaderThatDoesNotKnowTheQuestionSaysSo(t *testing.T) {
	t.Parallel()
	s := startLeader(t)
	nc := dial(t, s.ClientURL())
	if _, err := nc.Subscribe(FloorsSubject("us"), func(m *nats.Msg) {
		a := failed(malformed("the message of kind 'P' and 3 bytes asks for no floors"))
		if kind, _ := kindOf(m.Data); kind == kindFloors {
			a = answer{what: answerFloors}
		}
		_ = m.Respond(a.encode())
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	f := asking(t, s.ClientURL(), Options{})
	_, err := f.Head(within(t))
	wantCode(t, err, ErrProtocol)
	if _, err := f.Floors(within(t)); err != nil {
		t.Error(err)
	}
	if _, err := decodeAnswer((&answer{what: answerHead}).encode()); !errors.Is(err, ErrProtocol) {
		t.Errorf("a head that is nowhere: %v", err)
	}
}
