package natsread

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// Bounds of a consumer.
const (
	// pullRecords and pullBytes bound what is under way to the reader. Far more at once made servers close the connection as too slow.
	pullRecords = 8_192
	pullBytes   = 32 << 20
	// pullExpires ends a pull request, so that one lost on its way does not silence the consumer for ever.
	pullExpires = 30 * time.Second
	// heartbeat is how often a server says that it is there while nothing comes; silence for silentAfter ends the session.
	heartbeat   = time.Second
	silentAfter = 5 * time.Second
	// maxWithheld is at how many heartbeats in a row the leader may hold records that the consumer does not deliver: it may be paused, or
	// on a replica that lags.
	maxWithheld = 2
	// lull is how long a batch waits for what a server has announced, so that a wrong or a late announcement holds nothing back.
	lull = 10 * time.Millisecond
	// forgetConsumer is when a server removes a consumer whose reader died.
	forgetConsumer = 30 * time.Second
	// removeWithin bounds how long the end of a reading waits for its consumer to be made, and to be removed.
	removeWithin = 2 * time.Second
)

// Ways in which a session ends that a new one may mend.
var (
	errGap     = errors.New("a consumer skipped a sequence")
	errSession = errors.New("the consumer was lost")
)

// session is one consumer: ephemeral, in memory, without acknowledgements.
type session struct {
	pump     *pump
	api      natsapi.API
	name     string
	inbox    string
	next     string // where to ask for messages
	messages chan *nats.Msg
	asked    int       // messages asked for and not received
	served   bool      // a message came since the last request
	held     *nats.Msg // received, and behind what the stream does not hold any more
	tailing  bool      // it may be that the stream ends with what it does not hold any more
	caughtUp bool      // the last message had nothing behind it
	withheld int       // heartbeats while the leader held more
	reply    ackReply
}

// session reads with one consumer until the range is read (nil) or something is wrong.
func (p *pump) session(ctx context.Context) error {
	a := p.API
	s := &session{pump: p, api: a, name: "tm-" + events.NewID(), messages: make(chan *nats.Msg, pullRecords+64)}
	s.next = a.Prefix + "CONSUMER.MSG.NEXT." + a.Stream + "." + s.name
	if err := s.create(ctx); err != nil {
		return err
	}
	defer s.remove(ctx)
	ctx, release, err := a.Link.Bind(ctx, s.next)
	if err != nil {
		return err
	}
	defer release()
	s.inbox = a.Link.Conn().NewInbox()
	sub, err := a.Link.Conn().ChanSubscribe(s.inbox, s.messages)
	if err != nil {
		return a.Failure("a subscription", natsapi.ErrDisconnected)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed
	return s.read(ctx)
}

// create makes the consumer. A reading that ends meanwhile waits a bounded time for the answer: only then can it remove what was made.
func (s *session) create(ctx context.Context) error {
	waiting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(removeWithin, stop) })()
	request := struct {
		Stream string                   `json:"stream_name"`
		Config jetstream.ConsumerConfig `json:"config"`
		Action string                   `json:"action"`
	}{
		Stream: s.api.Stream,
		Action: "create",
		Config: jetstream.ConsumerConfig{
			Name: s.name, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.pump.next,
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: s.pump.forget,
		},
	}
	var answer natsapi.Answer
	err := s.api.Call(waiting, "CONSUMER.CREATE."+s.api.Stream+"."+s.name, request, &answer)
	return s.api.Unanswered(err)
}

// remove deletes the consumer; if that fails the server does it after forgetConsumer.
func (s *session) remove(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer stop()
	var answer natsapi.Answer
	if err := s.api.Call(ctx, "CONSUMER.DELETE."+s.api.Stream+"."+s.name, nil, &answer); err != nil {
		s.pump.Logger.Debug("a consumer was left to expire", "consumer", s.name, "error", err)
	}
}

// read takes messages off the channel. A batch is handed over when it is full, or when nothing more is stored; while the reader is busy
// it goes on growing.
func (s *session) read(ctx context.Context) error {
	p := s.pump
	silence := time.NewTimer(silentAfter)
	defer silence.Stop()
	defer p.note()
	if err := s.pull(); err != nil {
		return err
	}
	s.tailing = p.Gaps != nil
	for !p.finished() {
		if !p.full() {
			if more, err := s.step(ctx); err != nil {
				return err
			} else if more {
				continue
			}
		}
		p.note()
		if err := s.wait(ctx, silence); err != nil {
			return err
		}
	}
	return nil
}

// step does what can be done without waiting, and reports whether there was anything.
func (s *session) step(ctx context.Context) (bool, error) {
	if m := s.held; m != nil {
		s.held = nil
		return true, s.place(ctx, m)
	}
	select {
	case m := <-s.messages:
		return true, s.take(ctx, m)
	default:
	}
	if !s.tailing {
		return false, nil
	}
	leapt, err := s.pump.leap(ctx, 0)
	if s.tailing = leapt; leapt {
		s.withheld, s.caughtUp = 0, true
	}
	return leapt, err
}

// wait blocks until a message comes, the batch is handed over, or it is time for something.
func (s *session) wait(ctx context.Context, timer *time.Timer) error {
	p := s.pump
	messages, out, patience := s.messages, p.out, silentAfter
	switch {
	case p.full():
		messages = nil // first it must be handed over
	case len(p.records) == 0:
		out = nil
	case !s.caughtUp:
		out, patience = nil, lull // the server says that more is coming
	}
	timer.Reset(patience)
	select {
	case m := <-messages:
		return s.take(ctx, m)
	case out <- p.records:
		p.handedOver()
		return nil
	case <-timer.C:
		if patience == lull {
			s.caughtUp = true // it does not come
			return nil
		}
		if messages == nil {
			return nil // it is the reader that is slow
		}
		return fmt.Errorf("%w: silent for %s", errSession, silentAfter)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take reads one message: a record or a word from the server.
func (s *session) take(ctx context.Context, m *nats.Msg) error {
	if !s.reply.parse(m.Reply) {
		return s.status(ctx, m)
	}
	s.asked--
	s.withheld = 0
	return s.place(ctx, m)
}

// place adds a record, whose reply was read last, to the batch.
func (s *session) place(ctx context.Context, m *nats.Msg) error {
	p := s.pump
	switch seq := s.reply.stream; {
	case seq > p.next:
		leapt, err := p.leap(ctx, seq-1)
		if err != nil {
			return err
		}
		if !leapt {
			return fmt.Errorf("%w: %d came after %d", errGap, seq, p.next-1)
		}
		s.held = m // the batch may be full
		return nil
	case seq < p.next:
		return fmt.Errorf("%w: %d came after %d", errSession, seq, p.next-1)
	}
	stored := time.Unix(0, s.reply.time).UTC()
	if err := p.add(s.reply.stream, stored, events.Message{Subject: m.Subject, Header: events.Header(m.Header), Data: m.Data}); err != nil {
		return err
	}
	s.served, s.caughtUp = true, s.reply.pending == 0
	s.tailing = s.tailing || s.caughtUp && p.Gaps != nil && !p.follow
	if s.asked <= pullRecords/2 {
		return s.pull()
	}
	return nil
}

// status reads a message of the server about the pull request.
func (s *session) status(ctx context.Context, m *nats.Msg) error {
	switch status, text := headerOf(m.Header, "Status"), headerOf(m.Header, "Description"); status {
	case "100": // idle heartbeat
		return s.idle(ctx)
	case "408", "409":
		if text == "Consumer Deleted" || text == "Leadership Change" || text == "Server Shutdown" {
			return fmt.Errorf("%w: %s", errSession, text)
		}
		unserved, err := strconv.Atoi(headerOf(m.Header, "Nats-Pending-Messages"))
		if err != nil {
			return fmt.Errorf("%w: %s %s", errSession, status, text)
		}
		if text == "Message Size Exceeds MaxBytes" && !s.served {
			return fmt.Errorf("%w: sequence %d is over the bound of a pull request", errGap, s.pump.next)
		}
		s.asked = max(s.asked-unserved, 0)
		return s.pull()
	default:
		return fmt.Errorf("%w: status %s %s", errSession, status, text)
	}
}

// idle asks the leader whether there is really nothing to read.
func (s *session) idle(ctx context.Context) error {
	if len(s.messages) > 0 {
		return nil
	}
	info, err := s.api.StreamInfo(ctx)
	switch {
	case err != nil:
		return err
	case info.State.LastSeq < s.pump.next:
		s.withheld = 0
		return nil
	}
	s.tailing = s.pump.Gaps != nil
	if s.withheld++; s.withheld < maxWithheld {
		return nil
	}
	return fmt.Errorf("%w: it is silent about sequence %d, the head is %d", errSession, s.pump.next, info.State.LastSeq)
}

// pull asks for as many messages as may be under way.
func (s *session) pull() error {
	n := pullRecords - s.asked
	if to := s.pump.to; to > 0 {
		after := s.pump.next + uint64(s.asked) //nolint:gosec // never negative
		if after > to {
			return nil
		}
		n = int(min(uint64(n), to-after+1)) //nolint:gosec // at most pullRecords
	}
	if n <= 0 {
		return nil
	}
	request := struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{n, pullBytes, pullExpires, heartbeat}
	payload, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if err := s.api.Link.Conn().PublishRequest(s.next, s.inbox, payload); err != nil {
		return s.api.Failure("a pull request", natsapi.ErrDisconnected)
	}
	s.asked += n
	s.served = false
	return nil
}

func headerOf(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
