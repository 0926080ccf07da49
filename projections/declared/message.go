package declared

import (
	"encoding/json"
	"io"
	"iter"
	"time"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

func messagePlace() place {
	return place{name: "a message", keys: []key{
		{name: "subject", required: true, example: "orders.placed.17", help: "Subject of the message."},
		{name: "headers", fallback: "none", example: `{X-Id: "42"}`, help: "Headers by name, each a text."},
		{name: "data", fallback: "no payload", example: "{order: {id: 17}}", help: "The payload, as YAML."},
		{name: "text", fallback: "data", example: `"not JSON"`, help: "The payload as it stands, instead of data."},
	}}
}

// message reads a given message of a test; nil after a finding.
func (r *reader) message(n *yaml.Node, seq uint64) *events.Record {
	before := len(r.findings)
	found := r.object(n, messagePlace())
	if found == nil {
		return nil
	}
	m := newMessage(seq, r.text(found["subject"], "subject"), nil, nil)
	if h := found["headers"]; h != nil {
		m.Header = events.Header{}
		r.pairs(h, "headers", func(k, v *yaml.Node) { m.Header[k.Value] = []string{r.text(v, "the header "+clip(k.Value))} })
	}
	switch data, text := found["data"], found["text"]; {
	case data != nil && text != nil:
		r.find(text, ErrBadValue, "a message has either data or text")
	case data != nil:
		m.Event.Data, _ = r.json(data)
	case text != nil:
		m.Event.Data = []byte(r.text(text, "text"))
	}
	if len(r.findings) > before {
		return nil
	}
	return m
}

// newMessage returns a record of a message as a stream would hold it.
func newMessage(seq uint64, subject string, h events.Header, data []byte) *events.Record {
	return &events.Record{Sequence: seq, Kind: events.KindMessage, Subject: subject, Header: h, Event: events.Event{Data: data}}
}

// sampledMessage is a message of a sample.
type sampledMessage struct {
	Sequence uint64                     `json:"sequence"`
	Stored   time.Time                  `json:"stored"`
	Subject  string                     `json:"subject"`
	Headers  map[string]json.RawMessage `json:"headers"`
	Data     json.RawMessage            `json:"data"`
	Text     *string                    `json:"text"`
	Base64   []byte                     `json:"data_base64"`
}

// ReadMessages reads messages as JSON, as ReadSample reads events: each an object with the subject, and if it has them headers (by name, each a text or a list
// of texts), and the payload as data (a JSON value), as text, or as data_base64. Errors are those of ReadSample.
func ReadMessages(from io.Reader) iter.Seq2[*events.Record, error] {
	return readSample(from, func() sampleItem { return &sampledMessage{} },
		"Write each as {\"subject\":\"orders.placed.17\",\"headers\":{…},\"data\":{…}}, one a line.")
}

func (s *sampledMessage) record(n int, last uint64) (*events.Record, error) {
	if s.Subject == "" {
		return nil, events.Errorf(events.ErrInvalidEvent, "message %d of the sample has no subject", n)
	}
	r := newMessage(max(s.Sequence, last+1), s.Subject, nil, s.Data)
	r.Time = s.Stored
	switch {
	case s.Text != nil:
		r.Event.Data = []byte(*s.Text)
	case len(s.Base64) > 0:
		r.Event.Data = s.Base64
	}
	if len(s.Headers) > 0 {
		r.Header = events.Header{}
	}
	for name, raw := range s.Headers {
		var one string
		var list []string
		if json.Unmarshal(raw, &one) == nil {
			list = []string{one}
		} else if err := json.Unmarshal(raw, &list); err != nil {
			return nil, events.Errorf(events.ErrInvalidEvent, "message %d of the sample: a header is neither a text nor a list of texts", n)
		}
		r.Header[name] = list
	}
	return r, nil
}
