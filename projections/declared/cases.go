package declared

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// Case is a test of a projection: given events and the documents that they must become.
type Case struct {
	Name      string
	Line      int // of its file
	given     []*events.Record
	documents []expected
	parked    []expectedParked
	unrouted  int
}

// expected is what is said of one document.
type expected struct {
	key    string
	values []expectedValue
}

type expectedValue struct {
	field int
	value string
}

type expectedParked struct{ key, reason string }

// ParseCases reads a file of tests beside the projection's: a mapping with the key tests. The error is an *Invalid.
func ParseCases(p *Projection, name string, text []byte) ([]Case, error) {
	r := &reader{file: name}
	root := r.document(text)
	if root == nil {
		return nil, r.invalid()
	}
	tests := slices.DeleteFunc(filePlace().keys, func(k key) bool { return k.name != "tests" })
	tests[0].required = true
	found := r.object(root, place{name: "a file of tests", keys: tests})
	cases := r.readCases(found["tests"], p)
	return cases, r.invalid()
}

func (r *reader) readCases(n *yaml.Node, p *Projection) []Case {
	var cases []Case
	r.list(n, "tests", func(item *yaml.Node) {
		found := r.object(item, casePlace())
		if found == nil {
			return
		}
		c := Case{Name: r.text(found["name"], "a test's name"), Line: item.Line}
		r.list(found["given"], "given", func(item *yaml.Node) {
			if record := r.given(item, uint64(len(c.given))+1, p.mapping != nil); record != nil {
				c.given = append(c.given, record)
			}
		})
		if n := found["expect"]; n != nil {
			r.pairs(n, "expect", func(k, v *yaml.Node) { c.documents = append(c.documents, r.expected(k, v, p)) })
		}
		if n := found["parked"]; n != nil {
			r.pairs(n, "parked", func(k, v *yaml.Node) {
				c.parked = append(c.parked, expectedParked{k.Value, r.text(v, "the reason of "+clip(k.Value))})
			})
		}
		if n := found["unrouted"]; n != nil {
			count, _ := r.integer(n, "unrouted")
			c.unrouted = int(count)
		}
		cases = append(cases, c)
	})
	return cases
}

func (r *reader) expected(k, v *yaml.Node, p *Projection) expected {
	e := expected{key: k.Value}
	r.pairs(v, "the document "+clip(k.Value), func(k, v *yaml.Node) {
		i := slices.IndexFunc(p.fields, func(f field) bool { return f.name == k.Value })
		if i < 0 {
			r.find(k, ErrUnknownKey, "%s names %q, which is no field", "expect", clip(k.Value))
			return
		}
		e.values = append(e.values, expectedValue{i, r.literal(v, &p.fields[i], k.Value).String()})
	})
	return e
}

// given reads an event or a mark, or a message; nil after a finding.
func (r *reader) given(n *yaml.Node, seq uint64, messages bool) *events.Record {
	if messages {
		return r.message(n, seq)
	}
	if valueOfKey(n, "mark") == nil {
		if e, ok := r.event(n); ok {
			return newRecord(seq, e)
		}
		return nil
	}
	found := r.object(n, markPlace())
	if found["mark"] == nil {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, found["mark"].Value)
	if err != nil {
		r.find(found["mark"], ErrBadValue, "mark must be a time of RFC 3339, such as 2001-01-31T09:15:00Z")
		return nil
	}
	return newMark(seq, at)
}

func (r *reader) event(n *yaml.Node) (e events.Event, ok bool) {
	before := len(r.findings)
	found := r.object(n, eventPlace())
	if found == nil || len(r.findings) > before {
		return e, false
	}
	e.Type, e.ID = r.text(found["event"], "event"), r.text(found["id"], "id")
	e.Source, e.Schema = r.text(found["source"], "source"), r.text(found["schema"], "schema")
	entity, err := events.ParseEntity(r.text(found["entity"], "entity"))
	if err != nil {
		r.find(found["entity"], ErrBadValue, "entity: %s", what(err))
		return e, false
	}
	e.Entity = entity
	if at := found["time"]; at != nil {
		if e.Time, err = time.Parse(time.RFC3339Nano, at.Value); err != nil {
			r.find(at, ErrBadValue, "time must be one of RFC 3339, such as 2001-01-31T09:15:00Z")
			return e, false
		}
	}
	if data := found["data"]; data != nil {
		text, ok := r.json(data)
		if !ok {
			return e, false
		}
		e.Data = text
	}
	if err := newRecord(1, e).Event.Validate(); err != nil {
		r.find(n, ErrBadValue, "the event: %s", what(err))
	}
	return e, len(r.findings) == before
}

// json writes a value of the file as JSON, numbers as they are written.
func (r *reader) json(n *yaml.Node) ([]byte, bool) {
	var b strings.Builder
	if !r.appendJSON(&b, n) {
		return nil, false
	}
	return []byte(b.String()), true
}

func (r *reader) appendJSON(b *strings.Builder, n *yaml.Node) bool {
	open, end := byte('['), byte(']')
	switch n.Kind {
	case yaml.ScalarNode:
		text, ok := jsonScalar(n)
		if !ok {
			r.find(n, ErrBadValue, "%q is not a value that JSON has; put quotes around a text", clip(n.Value))
		}
		b.WriteString(text)
		return ok
	case yaml.MappingNode:
		open, end = '{', '}'
	}
	b.WriteByte(open)
	for i, child := range n.Content {
		isName := n.Kind == yaml.MappingNode && i%2 == 0
		if i > 0 && !(n.Kind == yaml.MappingNode && !isName) {
			b.WriteByte(',')
		}
		switch {
		case isName && child.Kind != yaml.ScalarNode:
			r.find(child, ErrWrongType, "a key of the data is not a text")
			return false
		case isName:
			b.WriteString(quoted(child.Value) + ":")
		case !r.appendJSON(b, child):
			return false
		}
	}
	b.WriteByte(end)
	return true
}

func jsonScalar(n *yaml.Node) (string, bool) {
	switch n.ShortTag() {
	case "!!null":
		return "null", true
	case "!!bool":
		return strings.ToLower(n.Value), true
	case "!!int", "!!float":
		return n.Value, json.Valid([]byte(n.Value))
	case "!!str":
		return quoted(n.Value), true
	default:
		return "", false
	}
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

func formatUint(n uint64) string { return strconv.FormatUint(n, 10) }

// what returns what an error says, without its code and hint.
func what(err error) string {
	if e, ok := errors.AsType[*events.Error](err); ok {
		return e.What
	}
	return err.Error()
}

// Run folds the given events and returns every difference to what is expected; none when the projection passes.
func (c *Case) Run(p *Projection) []string {
	out := Fold(p, slices.Values(c.given))
	var all []string
	differs := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	found := map[string]*Document{}
	for i := range out.Documents {
		d := &out.Documents[i]
		found[d.Key] = d
		wanted := slices.IndexFunc(c.parked, func(e expectedParked) bool { return e.key == d.Key })
		switch {
		case d.Parked != "" && wanted < 0:
			differs("%s is parked at event %d: %s", d.Key, d.ParkedAt, d.Parked)
		case d.Parked != "" && !strings.Contains(d.Parked, c.parked[wanted].reason):
			differs("%s is parked because %q, which does not contain %q", d.Key, d.Parked, c.parked[wanted].reason)
		case d.Parked == "" && !slices.ContainsFunc(c.documents, func(e expected) bool { return e.key == d.Key }):
			differs("%s is a document that is not expected: %s", d.Key, strings.Join(d.Values, ", "))
		}
	}
	for _, e := range c.parked {
		if d := found[e.key]; d == nil || d.Parked == "" {
			differs("%s is not parked", e.key)
		}
	}
	for _, e := range c.documents {
		d := found[e.key]
		if d == nil {
			differs("%s is no document", e.key)
			continue
		}
		for _, v := range e.values {
			if got := d.Values[v.field]; got != v.value {
				differs("%s: %s is %s, expected %s", e.key, out.Fields[v.field].Name, shown(got), shown(v.value))
			}
		}
	}
	if len(out.Unrouted) != c.unrouted {
		differs("%d events are unrouted, expected %d", len(out.Unrouted), c.unrouted)
		for _, u := range out.Unrouted {
			differs("event %d is unrouted: %s", u.Sequence, u.Reason)
		}
	}
	return all
}

func shown(s string) string {
	if s == "" {
		return `""`
	}
	return clip(s)
}
