package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// Bounds of one direct get. The server holds a lock over the whole answer and has no flow control.
const (
	directBatch = 512
	directBytes = 8 << 20
)

// Record returns one record, from the stream's leader.
func (l *Log) Record(ctx context.Context, seq uint64) (events.Record, error) {
	if seq == 0 {
		return events.Record{}, l.notFound("no record has sequence 0")
	}
	return l.lookup(ctx, natsapi.Query{Sequence: seq}, "it has no record at sequence "+strconv.FormatUint(seq, 10))
}

// LastControl returns the newest control record of a name, from the stream's leader.
func (l *Log) LastControl(ctx context.Context, name string) (events.Record, error) {
	missing := "it has no control record " + strconv.Quote(name)
	if !events.ValidControlName(name) {
		return events.Record{}, l.notFound(missing)
	}
	return l.lookup(ctx, natsapi.Query{LastOf: events.ControlSubject(l.cfg.Origin, name)}, missing)
}

func (l *Log) lookup(ctx context.Context, q natsapi.Query, missing string) (events.Record, error) {
	ctx, stop := l.within(ctx)
	defer stop()
	m, err := l.reading.Message(ctx, q)
	switch {
	case errors.Is(err, natsapi.ErrNoMessage):
		return events.Record{}, l.notFound(missing)
	case err != nil:
		return events.Record{}, ended(ctx, err)
	}
	r, err := record(m, l.cfg.Origin)
	l.observe(&r)
	return r, err
}

func (l *Log) notFound(what string) error {
	return events.Errorf(events.ErrNotFound, "the log of origin %s: %s", l.cfg.Origin, what)
}

// observe moves the clock past a record that was read, so that what is appended because of it is later. A time that is
// too far ahead counts as the broker's.
func (l *Log) observe(r *events.Record) {
	_ = l.options.Clock.Observe(r.Stamp.Time.Clamp(r.Time)) // refused when this very clock is behind; then Now refuses too
}

// History yields an entity's records.
func (l *Log) History(ctx context.Context, e events.Entity, from uint64) iter.Seq2[events.Record, error] {
	if err := e.Validate(); err != nil {
		return func(yield func(events.Record, error) bool) { yield(events.Record{}, err) }
	}
	return l.subject(ctx, events.EventSubject(l.cfg.Origin, e), from)
}

// Controls yields the control records of a name.
func (l *Log) Controls(ctx context.Context, name string, from uint64) iter.Seq2[events.Record, error] {
	if !events.ValidControlName(name) {
		return func(func(events.Record, error) bool) {}
	}
	return l.subject(ctx, events.ControlSubject(l.cfg.Origin, name), from)
}

// Walk yields the records with sequence >= from, in order, each content checked. What is missing is left out: that is for the caller to notice. It makes no consumer, so that
// the log of another region can be read so over the link to it; it is slower than Read. Errors end it: ErrDamaged, ErrUnreachable, ErrNoLog. It ends at what was stored when it
// began, or later.
func (l *Log) Walk(ctx context.Context, from uint64) iter.Seq2[events.Record, error] {
	return l.subject(ctx, ">", from)
}

// subject yields the records of a subject. A direct get answers in one request, but on a replicated stream it may come from a replica that
// lags; there the leader is asked for what is missing at the end.
func (l *Log) subject(ctx context.Context, subject string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		ctx, stop := l.within(ctx)
		defer stop()
		next := max(from, 1)
		for more := true; more; {
			if ctx.Err() != nil {
				yield(events.Record{}, context.Cause(ctx))
				return
			}
			page, err := l.page(ctx, subject, next)
			if err != nil {
				yield(events.Record{}, ended(ctx, err))
				return
			}
			more = page.more
			for _, m := range page.messages {
				r, err := record(m, l.cfg.Origin)
				l.observe(&r)
				if !yield(r, err) || err != nil {
					return
				}
				next = m.Sequence + 1
			}
		}
	}
}

// page is a part of a subject's messages.
type page struct {
	messages []*natsapi.Message
	more     bool
}

// page returns the next messages of a subject.
func (l *Log) page(ctx context.Context, subject string, from uint64) (page, error) {
	p, err := direct(ctx, l.reading, subject, from)
	if err != nil || p.more || !l.id.replicated() {
		return p, err
	}
	if n := len(p.messages); n > 0 {
		from = p.messages[n-1].Sequence + 1
	}
	m, err := l.reading.Message(ctx, natsapi.Query{Sequence: from, NextOf: subject})
	if errors.Is(err, natsapi.ErrNoMessage) {
		return p, nil
	}
	if err == nil {
		p.messages, p.more = append(p.messages, m), true
	}
	return p, err
}

// directRequest asks for messages of a subject without a consumer.
type directRequest struct {
	Sequence uint64 `json:"seq"`
	NextOf   string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes"`
}

// direct sends one direct get and collects its answers. Each names the sequence of the one before it, so a lost one is noticed.
func direct(ctx context.Context, a natsapi.API, subject string, from uint64) (page, error) {
	payload, err := json.Marshal(directRequest{Sequence: from, NextOf: subject, Batch: directBatch, MaxBytes: directBytes})
	if err != nil {
		return page{}, err
	}
	return several(ctx, a, payload)
}

// several sends a request for several messages and collects them.
func several(ctx context.Context, a natsapi.API, payload []byte) (page, error) {
	target := a.Prefix + "DIRECT.GET." + a.Stream
	ctx, stop := context.WithTimeoutCause(ctx, a.Link.Timeout(), natsapi.ErrNoAnswer)
	defer stop()
	ctx, release, err := a.Link.Bind(ctx, target)
	if err != nil {
		return page{}, a.Failure("DIRECT.GET", err)
	}
	defer release()
	answers := make(chan *nats.Msg, directBatch+1)
	inbox := a.Link.Conn().NewInbox()
	sub, err := a.Link.Conn().ChanSubscribe(inbox, answers)
	if err != nil {
		return page{}, a.Failure("DIRECT.GET", natsapi.ErrDisconnected)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed
	if err := a.Link.Conn().PublishRequest(target, inbox, payload); err != nil {
		return page{}, a.Failure("DIRECT.GET", natsapi.ErrDisconnected)
	}
	var p page
	for {
		select {
		case m := <-answers:
			done, err := p.add(m)
			if err != nil || done {
				return p, directFailure(ctx, a, err)
			}
		case <-ctx.Done():
			return page{}, a.Failure("DIRECT.GET", context.Cause(ctx))
		}
	}
}

// directFailure tells a missing stream from missing servers.
func directFailure(ctx context.Context, a natsapi.API, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, nats.ErrNoResponders) {
		if _, err := a.StreamInfo(ctx); err != nil {
			return err
		}
	}
	return events.Errorf(events.ErrUnreachable, "the servers did not answer a direct get: %w", err)
}

// add takes one answer. done means that it was the last.
func (p *page) add(m *nats.Msg) (done bool, err error) {
	switch headerOf(m.Header, "Status") {
	case "":
	case "204":
		p.more = headerOf(m.Header, "Nats-Num-Pending") != "0"
		return true, p.follows(m)
	case "404":
		return true, nil
	case "503":
		return true, nats.ErrNoResponders
	default:
		return true, errors.New("status " + headerOf(m.Header, "Status") + " " + headerOf(m.Header, "Description"))
	}
	seq, err1 := strconv.ParseUint(headerOf(m.Header, "Nats-Sequence"), 10, 64)
	stored, err2 := time.Parse(time.RFC3339Nano, headerOf(m.Header, "Nats-Time-Stamp"))
	if err := errors.Join(err1, err2, p.follows(m)); err != nil {
		return true, err
	}
	p.messages = append(p.messages, &natsapi.Message{
		Subject: headerOf(m.Header, "Nats-Subject"), Sequence: seq, Data: m.Data, Time: stored, Header: m.Header,
	})
	return false, nil
}

// follows checks that m was sent right after the last answer.
func (p *page) follows(m *nats.Msg) error {
	before := uint64(0)
	if n := len(p.messages); n > 0 {
		before = p.messages[n-1].Sequence
	}
	if got := headerOf(m.Header, "Nats-Last-Sequence"); got != strconv.FormatUint(before, 10) {
		return errors.New("an answer was lost: after sequence " + strconv.FormatUint(before, 10) + " comes the one after " + got)
	}
	return nil
}
