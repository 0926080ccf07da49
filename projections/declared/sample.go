package declared

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"tidemark.dev/events"
)

// MaxSample bounds the events of a sample.
const MaxSample = 1_000_000

// sampled is an event of a sample. The names are those of tidemark history -o json; what else is there is left alone.
type sampled struct {
	Sequence    uint64            `json:"sequence"`
	Stored      time.Time         `json:"stored"`
	Entity      string            `json:"entity"`
	Type        string            `json:"type"`
	ID          string            `json:"id"`
	Source      string            `json:"source"`
	Time        time.Time         `json:"time"`
	Schema      string            `json:"schema"`
	ContentType string            `json:"content_type"`
	Extensions  map[string]string `json:"extensions"`
	Data        json.RawMessage   `json:"data"`
	Base64      []byte            `json:"data_base64"`
	Malformed   string            `json:"malformed"`
	Mark        time.Time         `json:"mark"`
}

// ReadSample reads events as JSON: one after the other, on lines or not, or as one list, which is what tidemark history -o json prints. Of each, type and
// entity are needed; the others have defaults. One with a time as mark is a mark, which removes what has expired. The error is an events.ErrInvalidEvent with the number of the event, or that of the reader; nothing
// follows it.
func ReadSample(from io.Reader) iter.Seq2[*events.Record, error] {
	return readSample(from, func() sampleItem { return &sampled{} },
		"Write each as {\"entity\":\"airport/ORD\",\"type\":\"FlightLanded\",\"data\":{…}}, one a line.")
}

// Sample reads what the projection is folded from: messages where it has a stream, events otherwise.
func (p *Projection) Sample(from io.Reader) iter.Seq2[*events.Record, error] {
	if p.mapping != nil {
		return ReadMessages(from)
	}
	return ReadSample(from)
}

// sampleItem is what stands in a sample.
type sampleItem interface {
	// record returns it as a log would hold it; n counts the items, last is the sequence of the one before.
	record(n int, last uint64) (*events.Record, error)
}

// readSample reads items of one kind; form says how one is written.
func readSample(from io.Reader, item func() sampleItem, form string) iter.Seq2[*events.Record, error] {
	return func(yield func(*events.Record, error) bool) {
		buffered := bufio.NewReader(from)
		head, _ := buffered.Peek(512)
		decoder := json.NewDecoder(buffered)
		if firstByte(head) == '[' {
			if _, err := decoder.Token(); err != nil {
				yield(nil, err)
				return
			}
		}
		var last uint64
		for n := 1; ; n++ {
			if !decoder.More() {
				return
			}
			s := item()
			err := decoder.Decode(s)
			if errors.Is(err, io.EOF) {
				return
			}
			var r *events.Record
			switch {
			case err != nil:
				err = events.Errorf(events.ErrInvalidEvent, "event %d of the sample cannot be read: %w", n, err).Hint("%s", form)
			case n > MaxSample:
				err = events.Errorf(events.ErrTooLarge, "the sample has more than %d events, which is its bound", MaxSample).Hint("Take a part of it.")
			default:
				if r, err = s.record(n, last); err == nil {
					last = r.Sequence
				}
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (s *sampled) record(n int, last uint64) (*events.Record, error) {
	if s.Malformed != "" { // a record that is no event changes no document
		return &events.Record{Sequence: max(s.Sequence, last+1), Kind: events.KindMalformed, Reason: s.Malformed}, nil
	}
	if !s.Mark.IsZero() {
		return newMark(max(s.Sequence, last+1), s.Mark), nil
	}
	entity, err := events.ParseEntity(s.Entity)
	if err != nil {
		return nil, events.Errorf(events.ErrInvalidEvent, "event %d of the sample: %w", n, err)
	}
	e := events.Event{
		ID: s.ID, Source: s.Source, Type: s.Type, Entity: entity, Time: s.Time, Schema: s.Schema, ContentType: s.ContentType, Extensions: s.Extensions, Data: s.Data,
	}
	if len(s.Base64) > 0 {
		e.Data = s.Base64
	}
	r := newRecord(max(s.Sequence, last+1), e)
	r.Time = s.Stored
	if err := r.Event.Validate(); err != nil {
		return nil, events.Errorf(events.ErrInvalidEvent, "event %d of the sample: %w", n, err)
	}
	return r, nil
}

// newRecord returns a record of an event as a log would hold it, with what the event does not say.
func newRecord(seq uint64, e events.Event) *events.Record {
	if e.ID == "" {
		e.ID = "event-" + formatUint(seq)
	}
	if e.Source == "" {
		e.Source = "urn:test"
	}
	return &events.Record{Sequence: seq, Kind: events.KindEvent, Event: e}
}
