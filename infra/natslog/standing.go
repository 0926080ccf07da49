package natslog

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// standing is what the leader holds of one message of an append.
type standing struct {
	sequence uint64 // 0: nothing
	same     bool   // what it holds has the same content
	own      bool   // it was written by this very append
}

// resolve finds out what a refusal means, and finishes the entry unless the servers have to be asked again. A refusal
// alone says little: a lost answer to an attempt that was stored makes the next one fail, a lone server checks the expectation before the ids
// and a cluster after them, and neither tells which message it was.
func (w *writer) resolve(e *entry, a answer) bool {
	found, err := w.standings(w.ctx, e, a)
	if err == nil {
		var done bool
		if done, err = w.judge(e, a, found); done {
			return true
		}
	}
	if err != nil && !errors.Is(err, events.ErrUnreachable) && !e.doubtful && w.ctx.Err() == nil {
		w.finish(e, events.Receipt{}, err)
		return true
	}
	return false
}

// judge finishes the entry if what the leader holds decides it.
func (w *writer) judge(e *entry, a answer, found []standing) (bool, error) {
	known, last := 0, len(found)
	for i, s := range found {
		switch {
		case s.own: // an append is stored whole, so its other records stand beside this one
			first := s.sequence - uint64(i) //nolint:gosec // an index
			w.finish(e, w.receipt(first, first+uint64(len(e.messages))-1), nil)
			return true, nil
		case s.sequence > 0 && !s.same:
			w.finish(e, events.Receipt{}, e.idConflict(i, s.sequence))
			return true, nil
		case s.sequence > 0 && i < e.events:
			known, last = known+1, i
		}
	}
	switch {
	case known > 0 && known == e.events:
		w.finish(e, w.duplicate(found), nil)
		return true, nil
	case known > 0:
		w.finish(e, events.Receipt{}, e.partly(last, found[last].sequence, known))
		return true, nil
	case a.verdict != conflicting:
		return false, nil // the servers have just forgotten the id
	}
	older, err := w.sinceExpected(w.ctx, e)
	if err != nil {
		return false, err
	}
	if older != nil {
		r := w.duplicate(older)
		if older[0].own { // the servers have forgotten the ids of our own attempt
			r = w.receipt(r.First, r.First+uint64(len(e.messages))-1)
		}
		w.finish(e, r, nil)
		return true, nil
	}
	conflict, err := w.conflict(w.ctx, e)
	if err != nil || conflict == nil {
		return false, err // the expectations hold by now
	}
	w.finish(e, events.Receipt{}, conflict)
	return true, nil
}

func (w *writer) receipt(first, last uint64) events.Receipt {
	return events.Receipt{Position: w.id.position(last), First: first, Last: last}
}

func (w *writer) duplicate(found []standing) events.Receipt {
	first, last := found[0].sequence, found[0].sequence
	for _, s := range found {
		if s.sequence > 0 {
			first, last = min(first, s.sequence), max(last, s.sequence)
		}
	}
	r := w.receipt(first, last)
	r.Duplicate = true
	return r
}

func (e *entry) idConflict(i int, seq uint64) error {
	if i >= e.events { // nobody but us makes such ids
		return events.Errorf(events.ErrIDConflict, "the id of control record %s is in the log at sequence %d with other content; nothing was written",
			e.batch.Controls[i-e.events].Name, seq)
	}
	ev := &e.batch.Events[i]
	return events.Errorf(events.ErrIDConflict, "the event %q of source %q is in the log at sequence %d with other content; nothing was written",
		ev.ID, ev.Source, seq).Hint("Give the new event an id of its own.")
}

func (e *entry) partly(i int, seq uint64, known int) error {
	ev := &e.batch.Events[i]
	return events.Errorf(events.ErrIDConflict, "%d of the append's %d events are in the log already, among them the event %q of source %q at sequence %d; nothing was written",
		known, e.events, ev.ID, ev.Source, seq).Hint("Append the others without them.")
}

// conflict returns the first expectation that does not hold, or nil.
func (w *writer) conflict(ctx context.Context, e *entry) (*events.ConflictError, error) {
	for _, x := range e.expects {
		var last uint64
		m, err := w.api.Message(ctx, natsapi.Query{LastOf: x.subject})
		switch {
		case err == nil:
			last = m.Sequence
		case !errors.Is(err, natsapi.ErrNoMessage):
			return nil, err
		}
		if last != x.sequence {
			return &events.ConflictError{Entity: x.entity, Control: x.control, Expected: x.sequence, Actual: last}, nil
		}
	}
	return nil, nil
}

// standings asks the leader for each message of an entry by its id, as far back as the servers know ids.
func (w *writer) standings(ctx context.Context, e *entry, a answer) ([]standing, error) {
	out := make([]standing, len(e.messages))
	if a.verdict == duplicate && len(e.messages) == 1 {
		var err error
		out[0], err = w.standingAt(ctx, &e.messages[0], a.sequence)
		return out, err
	}
	for i := range e.messages {
		var err error
		if out[i], err = w.standingByID(ctx, &e.messages[i]); err != nil || out[i].own {
			return out, err
		}
	}
	return out, nil
}

// probe is a message that no stream stores, because of its last two headers; but before a server looks at those, it looks for the
// id. So it answers at which sequence it knows an id, on one server as in a cluster, without a search. (Undocumented; pinned by
// TestProbe. The roll-up header is refused by every server for its value, even on a stream that allows roll-ups.)
func probe(m *nats.Msg) *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Header: nats.Header{
		events.HeaderMessageID: {messageID(m)},
		headerRollup:           {"tidemark-probe"},
		headerExpectLastID:     {"tidemark-probe"},
	}}
}

// errProbeStored would mean that a server has stored a probe.
var errProbeStored = errors.New("the servers stored a message that they must refuse")

// standingByID asks by message id.
func (w *writer) standingByID(ctx context.Context, m *nats.Msg) (standing, error) {
	reply, _, err := w.flights.link.Request(ctx, probe(m))
	if err != nil {
		return standing{}, w.api.Failure("a probe", err)
	}
	switch a := w.flights.acks.read(reply, 1); a.verdict {
	case duplicate:
		return w.standingAt(ctx, m, a.sequence)
	case refused:
		if natsapi.HasCode(a.err, codeRollup) || natsapi.HasCode(a.err, codeWrongLastMsgID) {
			return standing{}, nil
		}
		return standing{}, a.err
	case stored:
		w.options.Logger.Error("a server stored a probe: this version of the server is not supported", "origin", w.origin, "sequence", a.sequence)
		return standing{}, errProbeStored
	default:
		return standing{}, events.Errorf(events.ErrUnreachable, "the servers cannot say whether a message is stored: %w", a.err)
	}
}

// standingAt compares the message with what the leader holds at a sequence.
func (w *writer) standingAt(ctx context.Context, m *nats.Msg, seq uint64) (standing, error) {
	got, err := w.api.Message(ctx, natsapi.Query{Sequence: seq})
	if errors.Is(err, natsapi.ErrNoMessage) {
		return standing{}, events.Errorf(events.ErrUnreachable, "the servers know the id of sequence %d and do not hold it", seq)
	}
	if err != nil {
		return standing{}, err
	}
	return w.compare(m, got)
}

// compare says whether what is stored is the message. Of a damaged record, its hash tells what it was.
func (w *writer) compare(m *nats.Msg, got *natsapi.Message) (standing, error) {
	s := standing{sequence: got.Sequence}
	if got.Subject != m.Subject {
		return s, nil
	}
	if headerOf(got.Header, events.HeaderStamp) == headerOf(m.Header, events.HeaderStamp) {
		s.same, s.own = true, true
		return s, nil
	}
	stored, err := record(got, w.origin)
	if err != nil && !errors.Is(err, events.ErrDamaged) {
		return s, err
	}
	var sent events.Record
	if err := events.Decode(&sent, w.origin, 0, stored.Time, events.Message{Subject: m.Subject, Header: events.Header(m.Header), Data: m.Data}); err != nil {
		return s, err
	}
	s.same = stored.Kind == sent.Kind && contentOf(&stored) == contentOf(&sent)
	return s, nil
}

func contentOf(r *events.Record) events.Hash {
	switch {
	case !r.Stamp.Hash.IsZero():
		return r.Stamp.Hash
	case r.Kind == events.KindControl:
		return r.Control.ContentHash()
	}
	return r.Event.ContentHash()
}

// sinceExpected returns where the entry's events stand if they were appended under this very expectation before, at any age: right
// after the expected sequences, and next to each other. nil means that they were not.
func (w *writer) sinceExpected(ctx context.Context, e *entry) ([]standing, error) {
	x := &e.expects[0]
	if e.events == 0 || x.control != "" {
		return nil, nil
	}
	got, err := w.api.Message(ctx, natsapi.Query{Sequence: x.sequence + 1, NextOf: x.subject})
	if err != nil {
		return nil, ignoreMissing(err)
	}
	at := 0
	for e.messages[at].Subject != x.subject {
		at++
	}
	first := got.Sequence - uint64(at) //nolint:gosec // an index
	out := make([]standing, e.events)
	for i := range out {
		m := &e.messages[i]
		if i != at {
			if got, err = w.api.Message(ctx, natsapi.Query{Sequence: first + uint64(i)}); err != nil { //nolint:gosec // an index
				return nil, ignoreMissing(err)
			}
		} else if at > 0 {
			if got, err = w.api.Message(ctx, natsapi.Query{Sequence: first + uint64(at)}); err != nil { //nolint:gosec // an index
				return nil, ignoreMissing(err)
			}
		}
		if out[i], err = w.compare(m, got); err != nil || !out[i].same {
			return nil, err
		}
	}
	return out, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, natsapi.ErrNoMessage) {
		return nil
	}
	return err
}
