package events

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"
)

// The wire form. An event is a CloudEvent in the binary mode of the CloudEvents NATS protocol binding: its attributes are
// ce- headers with percent-encoded values, its payload is the message's payload, untouched. The entity is in the subject and
// nowhere else. What this package adds is packed into the one header tm, because reading headers is the dearest part of reading:
//
//	tm: 1;<clock: 16 hex digits>;<content hash: 22 characters of base64url>[;t=<i>/<n>][;o=<position>][;k=<key reference>]
//
// ce-datacontenttype is left out when it is application/json. traceparent and tracestate travel under their own names only:
// they belong to the message, not to the event.
const (
	HeaderMessageID   = "Nats-Msg-Id"
	HeaderStamp       = "tm"
	headerID          = "ce-id"
	headerSource      = "ce-source"
	headerSpec        = "ce-specversion"
	headerType        = "ce-type"
	headerTime        = "ce-time"
	headerSchema      = "ce-dataschema"
	headerContentType = "ce-datacontenttype"
	headerExtension   = "ce-"
	traceParent       = "traceparent"
	traceState        = "tracestate"
	// Only read, and only from other clients: the media type by its usual name, and the mark of the structured mode.
	headerPlainType = "content-type"
	structuredType  = "application/cloudevents"
	// SpecVersion is the version of CloudEvents that is read and written.
	SpecVersion = "1.0"

	stampVersion = "1;"
)

// Header holds a message's headers; every name has one value. Its type is that of the NATS client's.
type Header map[string][]string

func (h Header) get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// find is get for names that another client may have written in another case. Of several it takes the first in byte
// order, so that every reader takes the same.
func (h Header) find(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	var key, value string
	for k, v := range h {
		if len(k) == len(name) && len(v) > 0 && (key == "" || k < key) && strings.EqualFold(k, name) {
			key, value = k, v[0]
		}
	}
	return value
}

// Message is a record before it is stored.
type Message struct {
	Subject string
	Header  Header
	Data    []byte
}

// EncodeEvent returns the message of an event. The event must be valid; stamp.Hash must be its content hash.
func EncodeEvent(origin string, e *Event, stamp Stamp) Message {
	n := 6
	for _, present := range [...]bool{!e.Time.IsZero(), e.Schema != "", e.contentType() != JSONContentType} {
		if present {
			n++
		}
	}
	w := headerWriter{header: make(Header, n+len(e.Extensions)), values: make([]string, 0, n+len(e.Extensions))}
	w.set(HeaderMessageID, e.MessageID())
	w.set(HeaderStamp, stamp.text())
	w.set(headerID, encodeValue(e.ID))
	w.set(headerSource, encodeValue(e.Source))
	w.set(headerSpec, SpecVersion)
	w.set(headerType, e.Type)
	if !e.Time.IsZero() {
		w.set(headerTime, e.timeText())
	}
	if e.Schema != "" {
		w.set(headerSchema, encodeValue(e.Schema))
	}
	if e.contentType() != JSONContentType {
		w.set(headerContentType, encodeValue(e.ContentType))
	}
	for name, value := range e.Extensions {
		if name == traceParent || name == traceState {
			w.set(name, encodeValue(value))
		} else {
			w.set(headerExtension+name, encodeValue(value))
		}
	}
	return Message{Subject: EventSubject(origin, e.Entity), Header: w.header, Data: e.Data}
}

// EncodeControl returns the message of a control record. stamp.Hash must be its content hash.
func EncodeControl(origin string, c Control, stamp Stamp) Message {
	return Message{
		Subject: ControlSubject(origin, c.Name),
		Header:  Header{HeaderStamp: {stamp.text()}},
		Data:    c.Data,
	}
}

// headerWriter keeps all values of a header in one slice.
type headerWriter struct {
	header Header
	values []string
}

func (w *headerWriter) set(name, value string) {
	w.values = append(w.values, value)
	n := len(w.values)
	w.header[name] = w.values[n-1 : n : n]
}

// ContentHash returns the hash of a control record's name and data.
func (c Control) ContentHash() Hash {
	b := appendSized(make([]byte, 0, len(c.Name)+len(c.Data)+4), c.Name)
	sum := sha256.Sum256(append(b, c.Data...))
	return Hash(sum[:16])
}

// Decode reads a stored message into r, which it overwrites. Strings and Data of r share memory with the message. It
// fails only with ErrDamaged (the content does not match its hash) and ErrForeignHistory (a subject of no record of this origin);
// a message that is not an event becomes a KindMalformed record. What it answers is a function of its arguments alone:
// every region and every replay reads the same record.
func Decode(r *Record, origin string, seq uint64, stored time.Time, m Message) error {
	*r = Record{Sequence: seq, Time: stored, Subject: m.Subject}
	if name, ok := cutPrefixes(m.Subject, controlPrefix, origin); ok {
		return r.readControl(name, m)
	}
	if _, ok := cutPrefixes(m.Subject, eventPrefix, origin); !ok {
		return Errorf(ErrForeignHistory, "sequence %d has the subject %q, which is not of origin %s", seq, clip(m.Subject), origin)
	}
	r.Kind = KindEvent
	reason, err := r.readEvent(origin, m)
	if reason != "" {
		r.malformed(reason, m.Data)
	}
	return err
}

// malformed keeps of a record only what needs no trust in its content.
func (r *Record) malformed(reason string, data []byte) {
	r.Kind, r.Reason = KindMalformed, reason
	r.Event = Event{Entity: r.Event.Entity, Data: data}
	r.Control = Control{}
}

func (r *Record) readControl(name string, m Message) error {
	r.Kind, r.Control = KindControl, Control{Name: name, Data: m.Data}
	switch {
	case !ValidControlName(name):
		r.malformed("the subject names no control record", m.Data)
	case !r.readStamp(m.Header):
		r.malformed("the tm header cannot be read", m.Data)
	case !r.Stamp.Hash.IsZero():
		return r.check(r.Control.ContentHash())
	}
	return nil
}

// readEvent returns what is wrong with the message, if anything: as a reason when it is not an event, as an error when it is damaged.
func (r *Record) readEvent(origin string, m Message) (reason string, err error) {
	e := &r.Event
	e.Data = m.Data
	var ok bool
	if e.Entity, ok = ParseEventSubject(origin, m.Subject); !ok {
		return "the subject names no entity", nil
	}
	if !r.readStamp(m.Header) {
		return "the tm header cannot be read", nil
	}
	ours := !r.Stamp.Hash.IsZero()
	a := attributes{header: m.Header, foreign: !ours}
	spec, timeText := a.value(headerSpec), a.value(headerTime)
	e.ID, e.Source, e.Type = a.value(headerID), a.value(headerSource), a.value(headerType)
	e.Schema, e.ContentType = a.value(headerSchema), a.value(headerContentType)
	if !ours && e.ContentType == "" {
		e.ContentType = a.value(headerPlainType)
	}
	if e.ContentType == JSONContentType {
		e.ContentType = ""
	}
	a.extensions(e)
	if ours {
		// First of all: with a matching hash, whatever is wrong is what the writer wrote, alike in every copy of the log.
		if err := r.check(e.contentHash(timeText)); err != nil {
			return "", err
		}
		e.Observed = r.Stamp.Observed
	}
	switch {
	case a.broken != "":
		return "the " + a.broken + " header is not percent-encoded UTF-8", nil
	case spec == "" && !ours && strings.HasPrefix(strings.ToLower(e.ContentType), structuredType):
		return "the structured mode of CloudEvents is not read: send the attributes as ce- headers", nil
	case spec != SpecVersion:
		return "the ce-specversion header is not " + SpecVersion, nil
	}
	if timeText != "" {
		if e.Time, ok = parseTime(timeText); !ok {
			return "the ce-time header is not a time of RFC 3339", nil
		}
	}
	return e.readable(ours), nil
}

// parseTime reads a time of RFC 3339, in UTC: time.Parse alone may choose this machine's zone.
func parseTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.UTC(), err == nil
}

// readable returns why a decoded event is not one. What carries our hash was validated in full when it was written. The payload of
// another client's event is not judged: whether it can be applied is for a projection to say.
func (e *Event) readable(ours bool) string {
	switch {
	case e.ID == "" || len(e.ID) > MaxEventIDBytes:
		return "the ce-id header is missing or too long"
	case e.Source == "" || len(e.Source) > MaxSourceBytes:
		return "the ce-source header is missing or too long"
	case !validEventType(e.Type):
		return "the ce-type header is missing or not an event type"
	case ours:
		return ""
	}
	if err := e.validateAttributes(); err != nil {
		if told, ok := err.(*Error); ok { //nolint:errorlint // it wraps nothing
			return told.What
		}
		return err.Error()
	}
	return ""
}

// attributes reads the headers of one event.
type attributes struct {
	header  Header
	foreign bool   // not written by this package: names may have any case
	known   int    // headers met so far
	broken  string // the first header whose value cannot be decoded
}

func (a *attributes) value(name string) string {
	var text string
	if v := a.header[name]; len(v) > 0 {
		a.known++
		text = v[0]
	} else if a.foreign {
		text = a.header.find(name)
	}
	return a.decode(name, text)
}

func (a *attributes) decode(name, text string) string {
	value, ok := decodeValue(text)
	if !ok && a.broken == "" {
		a.broken = name
	}
	return value
}

// extensions reads the attributes that have no field of their own.
func (a *attributes) extensions(e *Event) {
	known := a.known + 1 // the stamp
	if len(a.header[HeaderMessageID]) > 0 {
		known++
	}
	if !a.foreign && len(a.header) == known {
		return // the common case costs no iteration
	}
	if !a.foreign {
		for k, v := range a.header {
			a.extension(e, k, k, v)
		}
		return
	}
	names := make([]string, 0, 16)
	for k := range a.header {
		names = append(names, k)
	}
	slices.Sort(names) // capitals come first: what is spelled right overwrites what is not
	for _, k := range names {
		a.extension(e, k, strings.ToLower(k), a.header[k])
	}
}

func (a *attributes) extension(e *Event, key, name string, values []string) {
	if len(values) == 0 {
		return
	}
	if name != traceParent && name != traceState {
		var ok bool
		if name, ok = strings.CutPrefix(name, headerExtension); !ok || !ValidExtensionName(name) {
			return
		}
		if _, set := e.Extensions[name]; set && (name == traceParent || name == traceState) {
			return // its own name comes before ce-
		}
	}
	if e.Extensions == nil {
		e.Extensions = make(map[string]string, 2)
	}
	e.Extensions[name] = a.decode(key, values[0])
}

func (r *Record) check(got Hash) error {
	if got != r.Stamp.Hash {
		return Errorf(ErrDamaged, "sequence %d (%s) does not match its content hash: stored %s, computed %s",
			r.Sequence, clip(r.Subject), r.Stamp.Hash, got).Hint("Compare it with another region's copy of the log; nothing was applied from it.")
	}
	return nil
}

func (r *Record) readStamp(h Header) bool {
	text := h.get(HeaderStamp)
	if text == "" {
		return true
	}
	var ok bool
	r.Stamp, ok = parseStamp(text)
	return ok
}
