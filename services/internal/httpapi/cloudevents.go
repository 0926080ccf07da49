package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tidemark.dev/events"
)

// draft is an event whose attributes are set one after the other. Nothing is guessed: an attribute that is not understood is refused.
type draft struct {
	event events.Event
	spec  string
}

func (d *draft) set(name, value string) (err error) {
	e := &d.event
	switch name {
	case "specversion":
		if d.spec = value; value != events.SpecVersion {
			return events.Errorf(events.ErrInvalidEvent, "the specversion %q is not read, only %s; nothing was written", clip(value), events.SpecVersion)
		}
	case "id":
		e.ID = value
	case "source":
		e.Source = value
	case "type":
		e.Type = value
	case "subject":
		e.Entity, err = events.ParseEntity(value)
	case "time":
		if e.Time, err = time.Parse(time.RFC3339Nano, value); err != nil {
			return events.Errorf(events.ErrInvalidEvent, "the time %q is not one of RFC 3339; nothing was written", clip(value)).
				Hint("Write it like 2001-01-31T09:15:00Z.")
		}
	case "datacontenttype":
		e.ContentType = value
	case "dataschema":
		e.Schema = value
	default:
		if !events.ValidExtensionName(name) {
			return events.Errorf(events.ErrInvalidEvent, "the attribute %q cannot be set; nothing was written", clip(name)).
				Hint("Extension attributes have 1 to 20 characters of a-z 0-9 and do not begin with tm.")
		}
		if e.Extensions == nil {
			e.Extensions = make(map[string]string)
		}
		e.Extensions[name] = value
	}
	return err
}

// finish returns the event when all required attributes are there. What else makes it valid, the log checks.
func (d *draft) finish() (events.Event, error) {
	e := &d.event
	for _, required := range [...]struct {
		name    string
		missing bool
	}{
		{"specversion", d.spec == ""},
		{"id", e.ID == ""},
		{"source", e.Source == ""},
		{"type", e.Type == ""},
		{"subject", e.Entity.IsZero()},
	} {
		if required.missing {
			err := events.Errorf(events.ErrInvalidEvent, "the attribute %s is missing; nothing was written", required.name)
			if required.name == "subject" {
				err = err.Hint("It names the entity as type/id, for example airport/ORD.")
			}
			return *e, err
		}
	}
	return *e, nil
}

// attributeHeaders returns the attributes in ce- headers. It refuses headers that are the log's own: whoever sets them expects an effect that
// they do not have here.
func attributeHeaders(h http.Header) (map[string]string, error) {
	var out map[string]string
	for key, values := range h {
		name := strings.ToLower(key)
		if strings.HasPrefix(name, "nats-") || name == events.HeaderStamp {
			return nil, events.Errorf(events.ErrInvalidEvent, "the header %s is the log's own and cannot be set; nothing was written", clip(key)).
				Hint("Use %s for what the entity's last sequence should be.", headerExpect)
		}
		name, ok := strings.CutPrefix(name, "ce-")
		if !ok {
			continue
		}
		value, valid := decodeHeader(values[0])
		switch {
		case len(values) > 1:
			return nil, events.Errorf(events.ErrInvalidEvent, "the header %s is there %d times; nothing was written", clip(key), len(values))
		case !valid:
			return nil, events.Errorf(events.ErrInvalidEvent, "the header %s is not percent-encoded UTF-8; nothing was written", clip(key))
		}
		if out == nil {
			out = make(map[string]string)
		}
		out[name] = value
	}
	return out, nil
}

// binaryEvent makes an event of headers and a body that is its data.
func binaryEvent(attributes map[string]string, contentType string, h http.Header, body []byte) (events.Event, error) {
	var d draft
	for _, name := range slices.Sorted(maps.Keys(attributes)) { // of several mistakes, always the same is told
		if name == "datacontenttype" {
			return d.event, events.Errorf(events.ErrInvalidEvent, "the header ce-datacontenttype clashes with Content-Type; nothing was written").
				Hint("In this mode the data's type is Content-Type.")
		}
		if err := d.set(name, attributes[name]); err != nil {
			return d.event, err
		}
	}
	if _, given := attributes["traceparent"]; !given {
		if err := d.trace(h.Get("Traceparent"), h.Get("Tracestate")); err != nil {
			return d.event, err
		}
	}
	d.event.ContentType, d.event.Data = contentType, body
	return d.finish()
}

// trace takes over the trace context of the request. One that is malformed is left out: it is no reason to refuse an event.
//
// Source: W3C Trace Context, section 3.2.
func (d *draft) trace(parent, state string) error {
	const length, maxState = 55, 512
	if len(parent) != length || strings.Trim(parent, "0123456789abcdef-") != "" {
		return nil
	}
	if err := d.set("traceparent", parent); err != nil || state == "" || len(state) > maxState || !utf8.ValidString(state) {
		return err
	}
	return d.set("tracestate", state)
}

// structuredEvent makes an event of a JSON object that passed events.CheckJSON.
//
// Source: CloudEvents JSON Event Format 1.0.2.
func structuredEvent(body []byte) (events.Event, error) {
	var d draft
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return d.event, events.Errorf(events.ErrInvalidEvent, "the event is not a JSON object; nothing was written")
	}
	data, plain := members["data"]
	encoded, packed := members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, ok, err := attributeText(name, members[name])
		if err == nil && ok {
			err = d.set(name, value)
		}
		if err != nil {
			return d.event, err
		}
	}
	var err error
	switch {
	case plain && packed:
		return d.event, events.Errorf(events.ErrInvalidEvent, "the event has data and data_base64; nothing was written").Hint("Send one of them.")
	case plain:
		d.event.Data, err = plainData(data, d.event.IsJSON())
	case packed:
		d.event.Data, err = packedData(encoded)
	}
	if err != nil {
		return d.event, err
	}
	return d.finish()
}

// attributeText returns the canonical text of an attribute; false for null, which means that it is not there.
func attributeText(name string, raw json.RawMessage) (string, bool, error) {
	raw = bytes.TrimSpace(raw)
	switch raw[0] {
	case 'n':
		return "", false, nil
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, true, err
	case 't', 'f':
		if events.ValidExtensionName(name) {
			return string(raw), true, nil
		}
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if n, err := strconv.ParseInt(string(raw), 10, 32); err == nil && events.ValidExtensionName(name) {
			return strconv.FormatInt(n, 10), true, nil
		}
	}
	return "", false, events.Errorf(events.ErrInvalidEvent, "the attribute %q is not a text; nothing was written", clip(name)).
		Hint("Extension attributes may also be booleans, or integers of 32 bits.")
}

// plainData returns the member data as it is written when it is JSON, and the content of a text otherwise.
func plainData(raw json.RawMessage, isJSON bool) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if isJSON {
		return raw, nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, events.Errorf(events.ErrInvalidData, "the data is not JSON by its type, so data must be a text; nothing was written").
			Hint("Send it as data_base64.")
	}
	if s == nil {
		return nil, nil
	}
	return []byte(*s), nil
}

func packedData(raw json.RawMessage) ([]byte, error) {
	var s string
	err := json.Unmarshal(raw, &s)
	var data []byte
	if err == nil {
		data, err = base64.StdEncoding.Strict().DecodeString(s)
	}
	if err != nil {
		return nil, events.Errorf(events.ErrInvalidData, "data_base64 is not a text in base64; nothing was written")
	}
	return data, nil
}

// batchEvents makes events of a JSON array that passed events.CheckJSON.
func batchEvents(body []byte) ([]events.Event, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil || list == nil {
		return nil, events.Errorf(events.ErrInvalidBatch, "the body is not a JSON array of events; nothing was written")
	}
	if len(list) > events.MaxBatch {
		return nil, events.Errorf(events.ErrTooLarge, "the batch has %d events, over the bound of %d; nothing was written", len(list), events.MaxBatch).Hint("Split it.")
	}
	out := make([]events.Event, len(list))
	for i, one := range list {
		e, err := structuredEvent(one)
		if err != nil {
			if told, ok := err.(*events.Error); ok { //nolint:errorlint // made here, never wrapped
				told.What = fmt.Sprintf("event %d of %d: %s", i+1, len(list), told.What)
			}
			return nil, err
		}
		out[i] = e
	}
	return out, nil
}
