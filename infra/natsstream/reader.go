package natsstream

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// Origin returns what the stream's history is called in positions.
func (s *Stream) Origin() string { return s.source.Origin }

// Info returns the stream's identity and bounds, as its leader knows them. Beside the errors of the port: ErrUnsafeLog for a stream that
// cannot be read like a history.
func (s *Stream) Info(ctx context.Context) (events.Info, error) {
	ctx, stop := s.within(ctx)
	defer stop()
	c, err := s.connected(ctx)
	if err != nil {
		return events.Info{}, ended(ctx, err)
	}
	info, lineage, err := history{s, c}.Identify(ctx)
	if err != nil {
		return events.Info{}, ended(ctx, err)
	}
	return events.Info{
		Origin: s.source.Origin, Terms: events.NewTerms(lineage), First: info.State.FirstSeq, Last: info.State.LastSeq, Time: info.State.LastTime.UTC(), Sparse: true,
	}, nil
}

// Read yields the records of a range: messages, and in the place of those that the stream does not hold any more, records of a kind that is Gone. What is
// before the first message that is retained is events.KindEvicted, what was deleted between two messages events.KindDeleted. A hole that the stream does not
// own up to is ErrHole.
func (s *Stream) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		ctx, stop := s.within(ctx)
		defer stop()
		c, err := s.connected(ctx)
		if err != nil {
			yield(nil, ended(ctx, err))
			return
		}
		for records, err := range c.reader.Read(ctx, r) {
			if !yield(records, err) {
				return
			}
		}
	}
}

// Record returns one message, from the stream's leader.
func (s *Stream) Record(ctx context.Context, seq uint64) (events.Record, error) {
	missing := events.Errorf(events.ErrNotFound, "the stream %s holds no message at sequence %d", s.source.Stream, seq)
	if seq == 0 {
		return events.Record{}, missing
	}
	ctx, stop := s.within(ctx)
	defer stop()
	c, err := s.connected(ctx)
	if err != nil {
		return events.Record{}, ended(ctx, err)
	}
	m, err := c.api.Message(ctx, natsapi.Query{Sequence: seq})
	switch {
	case errors.Is(err, natsapi.ErrNoMessage):
		return events.Record{}, missing
	case err != nil:
		return events.Record{}, ended(ctx, err)
	}
	var r events.Record
	decode(&r, m.Sequence, m.Time, events.Message{Subject: m.Subject, Header: events.Header(m.Header), Data: m.Data})
	return r, nil
}

// History fails: which entity a message is about is for a projection to say.
func (s *Stream) History(_ context.Context, e events.Entity, _ uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		yield(events.Record{}, events.Errorf(events.ErrInvalidEntity, "the stream %s is not ours and knows no entities, so there is no history of %q", s.source.Stream, e))
	}
}

// LastControl finds nothing: there are no records of ours in the stream.
func (s *Stream) LastControl(_ context.Context, name string) (events.Record, error) {
	return events.Record{}, events.Errorf(events.ErrNotFound, "the stream %s is not ours and has no control record %q", s.source.Stream, name)
}

// Controls yields nothing: as above.
func (s *Stream) Controls(context.Context, string, uint64) iter.Seq2[events.Record, error] {
	return func(func(events.Record, error) bool) {}
}

// history is the stream, for whoever reads it.
type history struct {
	stream *Stream
	on     *connection
}

// Name returns what messages call it.
func (h history) Name() string { return "the stream " + h.stream.source.Stream }

// Identify asks the leader which stream it is now.
func (h history) Identify(ctx context.Context) (*jetstream.StreamInfo, events.Lineage, error) {
	info, err := h.on.api.StreamInfo(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := unreadable(info); err != nil {
		return nil, "", err
	}
	h.on.gaps.of(info.Created)
	return info, lineageOf(info), nil
}

// Decode reads a stored message.
func (h history) Decode(r *events.Record, seq uint64, stored time.Time, m events.Message) error {
	decode(r, seq, stored, m)
	return nil
}

// Observe does nothing: what others store has no clock of ours.
func (h history) Observe(*events.Record) {}

// Hole is the error of a sequence that is missing.
func (h history) Hole(seq uint64) error {
	name := h.stream.source.Stream
	return events.Errorf(events.ErrHole, "sequence %d is missing from the stream %s, which does not say that it was deleted: it is damaged on disk", seq, name).
		Hint("Restore the stream, or give the message up: nats stream rmm %s %d.", name, seq)
}

// decode reads a message as it is stored.
func decode(r *events.Record, seq uint64, stored time.Time, m events.Message) {
	*r = events.Record{Sequence: seq, Time: stored, Kind: events.KindMessage, Subject: m.Subject, Event: events.Event{Data: m.Data}}
	if len(m.Header) > 0 {
		r.Header = m.Header
	}
}
