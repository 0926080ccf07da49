package events

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// The wire form. An event is a CloudEvent in the binary mode of the CloudEvents NATS protocol binding: its attributes are
// ce- headers, its payload is the message's payload, untouched. The entity is in the subject and nowhere else.
// What this package adds is packed into the one header tm, because reading headers is the dearest part of reading:
//
//	tm: 1;<clock: 16 hex digits>;<content hash: 22 characters of base64url>[;t=<i>/<n>][;o=<position>][;k=<key reference>]
//
// content-type is left out when it is application/json. traceparent and tracestate travel under their own names.
const (
	HeaderMessageID   = "Nats-Msg-Id"
	HeaderStamp       = "tm"
	headerID          = "ce-id"
	headerSource      = "ce-source"
	headerSpec        = "ce-specversion"
	headerType        = "ce-type"
	headerTime        = "ce-time"
	headerSchema      = "ce-dataschema"
	headerContentType = "content-type"
	headerExtension   = "ce-"
	traceParent       = "traceparent"
	traceState        = "tracestate"
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

// find is get for names that another client may have written in another case.
func (h Header) find(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
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
	w.set(HeaderStamp, string(appendStamp(make([]byte, 0, 96), stamp)))
	w.set(headerID, e.ID)
	w.set(headerSource, e.Source)
	w.set(headerSpec, SpecVersion)
	w.set(headerType, e.Type)
	if !e.Time.IsZero() {
		w.set(headerTime, e.timeText())
	}
	if e.Schema != "" {
		w.set(headerSchema, e.Schema)
	}
	if e.contentType() != JSONContentType {
		w.set(headerContentType, e.ContentType)
	}
	for name, value := range e.Extensions {
		if name == traceParent || name == traceState {
			w.set(name, value)
		} else {
			w.set(headerExtension+name, value)
		}
	}
	return Message{Subject: EventSubject(origin, e.Entity), Header: w.header, Data: e.Data}
}

// EncodeControl returns the message of a control record. stamp.Hash must be its content hash.
func EncodeControl(origin string, c Control, stamp Stamp) Message {
	w := headerWriter{header: make(Header, 1), values: make([]string, 0, 1)}
	w.set(HeaderStamp, string(appendStamp(make([]byte, 0, 96), stamp)))
	return Message{Subject: ControlSubject(origin, c.Name), Header: w.header, Data: c.Data}
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
// a message that is not an event becomes a KindMalformed record.
func Decode(r *Record, origin string, seq uint64, stored time.Time, m Message) error {
	*r = Record{Sequence: seq, Time: stored, Subject: m.Subject}
	if name, ok := ParseControlSubject(origin, m.Subject); ok {
		r.Kind, r.Control = KindControl, Control{Name: name, Data: m.Data}
		if !r.readStamp(m.Header) {
			r.Kind, r.Reason = KindMalformed, "the tm header cannot be read"
			return nil
		}
		return r.check(r.Control.ContentHash)
	}
	if !strings.HasPrefix(m.Subject, eventPrefix) && !strings.HasPrefix(m.Subject, controlPrefix) {
		return Errorf(ErrForeignHistory, "sequence %d has the subject %q, which is not of origin %s", seq, clip(m.Subject), origin)
	}
	r.Kind = KindEvent
	if r.Reason = r.readEvent(origin, m); r.Reason != "" {
		r.Kind = KindMalformed
		return nil
	}
	return r.check(r.Event.ContentHash)
}

// readEvent returns what is wrong with the message, or nothing.
func (r *Record) readEvent(origin string, m Message) string {
	e := &r.Event
	e.Data = m.Data
	var ok bool
	if e.Entity, ok = ParseEventSubject(origin, m.Subject); !ok {
		return "the subject names no entity"
	}
	if !r.readStamp(m.Header) {
		return "the tm header cannot be read"
	}
	h := m.Header
	read := Header.get
	if r.Stamp.Hash.IsZero() {
		read = Header.find // not written by this package
	}
	e.ID, e.Source, e.Type = read(h, headerID), read(h, headerSource), read(h, headerType)
	e.ContentType, e.Schema = read(h, headerContentType), read(h, headerSchema)
	if e.ContentType == JSONContentType {
		e.ContentType = ""
	}
	switch {
	case read(h, headerSpec) != SpecVersion:
		return "the ce-specversion header is not " + SpecVersion
	case e.ID == "" || len(e.ID) > MaxEventIDBytes:
		return "the ce-id header is missing or too long"
	case e.Source == "" || len(e.Source) > MaxSourceBytes:
		return "the ce-source header is missing or too long"
	case !validEventType(e.Type):
		return "the ce-type header is missing or not an event type"
	}
	if text := read(h, headerTime); text != "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return "the ce-time header is not a time of RFC 3339"
		}
		e.Time = t
	}
	e.Observed = r.Stamp.Observed
	readExtensions(e, h)
	return ""
}

func readExtensions(e *Event, h Header) {
	for k, v := range h {
		if len(v) == 0 {
			continue
		}
		switch k {
		case headerID, headerSource, headerSpec, headerType, headerTime, headerSchema, HeaderStamp, HeaderMessageID:
			continue
		}
		name := k
		if k != traceParent && k != traceState {
			var ok bool
			if name, ok = strings.CutPrefix(k, headerExtension); !ok || !ValidExtensionName(name) {
				continue
			}
		}
		if e.Extensions == nil {
			e.Extensions = make(map[string]string, 2)
		}
		e.Extensions[name] = v[0]
	}
}

func (r *Record) check(hash func() Hash) error {
	if r.Stamp.Hash.IsZero() {
		return nil
	}
	if got := hash(); got != r.Stamp.Hash {
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

func appendStamp(b []byte, s Stamp) []byte {
	b = append(b, stampVersion...)
	var clock [8]byte
	binary.BigEndian.PutUint64(clock[:], uint64(s.Time))
	b = hex.AppendEncode(b, clock[:])
	b = append(b, ';')
	b = append(b, s.Hash.String()...)
	if !s.Tx.Alone() {
		b = append(b, ";t="...)
		b = strconv.AppendUint(b, uint64(s.Tx.Index), 10)
		b = append(b, '/')
		b = strconv.AppendUint(b, uint64(s.Tx.Count), 10)
	}
	if !s.Observed.IsZero() {
		b = append(append(b, ";o="...), s.Observed.String()...)
	}
	if s.Key != "" {
		b = append(append(b, ";k="...), s.Key...)
	}
	return b
}

func parseStamp(text string) (s Stamp, ok bool) {
	const clockAt, hashAt = len(stampVersion), len(stampVersion) + 17
	const fixed = hashAt + hashText
	if len(text) < fixed || text[:clockAt] != stampVersion || text[hashAt-1] != ';' {
		return s, false
	}
	clock, err := strconv.ParseUint(text[clockAt:hashAt-1], 16, 64)
	if err != nil {
		return s, false
	}
	s.Time = Timestamp(clock)
	if s.Hash, ok = parseHash(text[hashAt:fixed]); !ok {
		return s, false
	}
	for rest := text[fixed:]; rest != ""; {
		if rest[0] != ';' {
			return s, false
		}
		var field string
		if i := strings.IndexByte(rest[1:], ';'); i >= 0 {
			field, rest = rest[1:i+1], rest[i+1:]
		} else {
			field, rest = rest[1:], ""
		}
		if !s.field(field) {
			return s, false
		}
	}
	return s, true
}

func (s *Stamp) field(field string) bool {
	name, value, ok := strings.Cut(field, "=")
	if !ok {
		return false
	}
	switch name {
	case "t":
		i, n, found := strings.Cut(value, "/")
		index, ok1 := parseCanonical(i, 16)
		count, ok2 := parseCanonical(n, 16)
		s.Tx = Tx{Index: uint16(index), Count: uint16(count)} //nolint:gosec // parsed with 16 bits
		return found && ok1 && ok2 && index >= 1 && index <= count && count <= MaxBatch
	case "o":
		p, err := ParsePosition(value)
		s.Observed = p
		return err == nil
	case "k":
		s.Key = value
	}
	return true // a field of a later version is no reason to stop
}

func fingerprint(r *Record) Hash {
	b := make([]byte, 0, 64+len(r.Subject))
	b = binary.BigEndian.AppendUint64(b, r.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano())) //nolint:gosec // the bits, whatever their sign
	b = appendSized(b, r.Subject)
	h := r.Stamp.Hash
	if h.IsZero() {
		if r.Kind == KindControl {
			h = r.Control.ContentHash()
		} else {
			h = r.Event.ContentHash()
		}
	}
	sum := sha256.Sum256(append(b, h[:]...))
	return Hash(sum[:16])
}
