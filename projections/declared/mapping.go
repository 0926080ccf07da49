package declared

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tidemark.dev/events"
)

// maxHeaders bounds the headers of a message, in bytes.
const maxHeaders = 64 << 10

// mapping says how a message of a stream that is not ours becomes an event. It is a function of the message alone: which stream it is of, and how that is
// read, is not known here.
type mapping struct {
	subjects   []string // which messages; none: all
	typ        source
	entityType source
	entityID   source
	part       path   // of the payload that the rules see; no names: all of it
	at         source // nil: it does not say when it happened
	perSecond  int64  // what the integer at counts since 1970; 0: at is a text of RFC 3339
	id         source // nil: the sequence
	wanted     wanted // of the payload
}

const (
	minUnix = -62_135_596_800 // 0001-01-01
	maxUnix = 253_402_300_799 // 9999-12-31
)

// apply makes a call that has begun with a message one of the event that the message is. It reports whether any rule is about that; the error says why
// the message cannot be mapped.
func (m *mapping) apply(c *call) (concerned bool, err error) {
	r := c.given
	if r.Kind != events.KindMessage {
		return false, because("it is no message of a stream")
	}
	if len(m.subjects) > 0 && !matches(m.subjects, c.tokens()) {
		return false, nil
	}
	text, err := payloadText(r)
	if err != nil {
		return false, err
	}
	c.open(text, &m.wanted)
	c.decoded = true
	e := events.Event{Source: c.projection.definition.Source.Stream}
	if e.Type, err = m.text(c, m.typ, "type"); err != nil {
		return false, err
	}
	if e.Type == "" || !validType(e.Type) {
		return false, because("its type %q is none: 1 to 128 characters of A-Z a-z 0-9 . _ -", clip(e.Type))
	}
	if len(c.projection.rules[e.Type]) == 0 {
		return false, nil
	}
	if err := m.fill(c, &e); err != nil {
		return false, err
	}
	if c.part, err = m.partOf(c); err != nil {
		return false, err
	}
	c.record = &events.Record{Sequence: r.Sequence, Time: r.Time, Kind: events.KindEvent, Subject: r.Subject, Event: e}
	c.decoded = false
	return true, nil
}

// fill computes what an event has beside its type and its data.
func (m *mapping) fill(c *call, e *events.Event) (err error) {
	if e.Entity.Type, err = m.text(c, m.entityType, "entity's type"); err != nil {
		return err
	}
	if e.Entity.ID, err = m.text(c, m.entityID, "entity's id"); err != nil {
		return err
	}
	if err := e.Entity.Validate(); err != nil {
		return because("%s", what(err))
	}
	if e.ID = formatUint(c.record.Sequence); m.id != nil {
		if e.ID, err = m.text(c, m.id, "id"); err != nil {
			return err
		}
		if e.ID == "" || len(e.ID) > events.MaxEventIDBytes || !utf8.ValidString(e.ID) {
			return because("its id is empty, not UTF-8, or longer than %d bytes", events.MaxEventIDBytes)
		}
	}
	e.Time, err = m.time(c)
	return err
}

// text computes a text; an integer is one in decimal digits.
func (m *mapping) text(c *call, from source, name string) (string, error) {
	v, err := from.eval(c)
	if err != nil {
		return "", because("its %s: %s", name, err)
	}
	if v.kind != kindString && v.kind != kindInt {
		return "", because("its %s is %s", name, v.kind)
	}
	return strings.Clone(v.String()), nil // it would keep the whole payload in memory
}

// time computes when it happened; an empty text is no time.
func (m *mapping) time(c *call) (time.Time, error) {
	if m.at == nil {
		return time.Time{}, nil
	}
	v, err := m.at.eval(c)
	switch {
	case err != nil:
		return time.Time{}, because("its time: %s", err)
	case m.perSecond == 0 && v.kind == kindInt:
		return time.Time{}, because("its time is an integer: say with seconds or milliseconds what it counts")
	case m.perSecond == 0 && v.kind == kindString:
		if v.s == "" {
			return time.Time{}, nil
		}
		t, err := time.Parse(time.RFC3339Nano, v.s)
		if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
			return time.Time{}, because("its time %q is not one of RFC 3339", clip(v.s))
		}
		return t, nil
	case m.perSecond == 0 || v.kind != kindInt:
		return time.Time{}, because("its time is %s", v.kind)
	}
	if v.n < minUnix*m.perSecond || v.n > maxUnix*m.perSecond {
		return time.Time{}, because("its time %d is not between the years 1 and 9999", v.n)
	}
	return time.UnixMilli(v.n * (1_000 / m.perSecond)).UTC(), nil
}

// partOf returns the text of the part of the payload that the rules see.
func (m *mapping) partOf(c *call) (string, error) {
	n := &c.data
	for i, name := range m.part.names {
		if n = n.member(name); n == nil || n.shape() == aNull {
			return "", because("%s is missing", newPath(m.part.names[:i+1]).text)
		}
	}
	return n.text, nil
}

// headersNode returns headers as JSON has them, each with its first value.
func headersNode(h events.Header) *node {
	n := &node{text: "{}", in: &inside{}}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if v := h[name]; len(v) > 0 {
			n.in.members = append(n.in.members, member{name, node{text: quoted(v[0])}})
		}
	}
	return n
}

// payloadText returns the payload as JSON without blanks around it. No payload at all is an object without members. What would cost more than an event can is refused.
func payloadText(r *events.Record) (string, error) {
	data := r.Event.Data
	if len(data) > events.MaxDataBytes {
		return "", because("the payload has %d bytes, over the bound of %d", len(data), events.MaxDataBytes)
	}
	size := 0
	for name, values := range r.Header {
		size += len(name)
		for _, v := range values {
			size += len(v)
		}
	}
	if size > maxHeaders {
		return "", because("the headers have %d bytes, over the bound of %d", size, maxHeaders)
	}
	if len(data) == 0 {
		return "{}", nil
	}
	if err := events.CheckJSON(data); err != nil { // depth, UTF-8, and no name twice
		return "", because("the payload is not JSON: %s", what(err))
	}
	return string(bytes.Trim(data, " \t\r\n")), nil
}

// matches reports whether a subject fits one of the patterns.
func matches(patterns []string, tokens []string) bool {
	for _, p := range patterns {
		if fits(p, tokens) {
			return true
		}
	}
	return false
}

func fits(pattern string, tokens []string) bool {
	for i := 0; ; i++ {
		token, rest, more := strings.Cut(pattern, ".")
		switch {
		case i == len(tokens):
			return false
		case token == ">":
			return true
		case token != "*" && token != tokens[i]:
			return false
		case !more:
			return i == len(tokens)-1
		}
		pattern = rest
	}
}

// validPattern reports whether a text can be compared with subjects: tokens joined by dots, a * for any one of them, a > for all that follow.
func validPattern(pattern string) bool {
	if pattern == "" || strings.ContainsFunc(pattern, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return false
	}
	tokens := strings.Split(pattern, ".")
	for i, t := range tokens {
		if t == "" || t == ">" && i < len(tokens)-1 || len(t) > 1 && strings.ContainsAny(t, "*>") {
			return false
		}
	}
	return true
}

// token is a source: one of the tokens of the subject.
type token int

func (s token) eval(c *call) (value, error) {
	tokens := c.tokens()
	if int(s) >= len(tokens) {
		return value{}, because("subject[%s] is missing", strconv.Itoa(int(s)))
	}
	return ofString(tokens[s]), nil
}

// header is a source: the first value of a header.
type header string

func (s header) eval(c *call) (value, error) {
	if v := c.record.Header[string(s)]; len(v) > 0 {
		return ofString(v[0]), nil
	}
	return value{}, because("headers.%s is missing", clip(string(s)))
}
