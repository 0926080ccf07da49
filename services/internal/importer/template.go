package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// path names a value in a line: the keys from the outside in.
type path []string

func parsePath(s string) (path, error) {
	p := path(strings.Split(s, "."))
	for _, key := range p {
		if key == "" {
			return nil, fmt.Errorf("%q is not a path: write the keys joined by dots, such as flight.origin", s)
		}
	}
	return p, nil
}

func (p path) String() string { return strings.Join(p, ".") }

// record is the object of one line.
type record map[string]json.RawMessage

// raw returns the JSON of the value at a path.
func (r record) raw(p path) (json.RawMessage, error) {
	for i, key := range p {
		value, ok := r[key]
		if !ok {
			return nil, fmt.Errorf("there is no field %s", p[:i+1])
		}
		if i == len(p)-1 {
			return value, nil
		}
		r = nil
		if err := json.Unmarshal(value, &r); err != nil || r == nil {
			return nil, fmt.Errorf("the field %s is not an object, so it has no field %s", p[:i+1], p[i+1])
		}
	}
	return nil, errors.New("the path is empty")
}

// text returns the value at a path as text: a string's content, a number or a boolean as it is written.
func (r record) text(p path) (string, error) {
	raw, err := r.raw(p)
	if err != nil {
		return "", err
	}
	switch raw = bytes.TrimSpace(raw); raw[0] {
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case '{', '[':
		return "", fmt.Errorf("the field %s is an object or an array, not a single value", p)
	case 'n':
		return "", fmt.Errorf("the field %s is null", p)
	}
	return string(raw), nil
}

// template is text with values of the line in it: airport/{origin}. {{ and }} stand for a single brace.
type template struct {
	source string
	parts  []part
}

// part is literal text, followed by the value at a path when there is one.
type part struct {
	literal string
	value   path
}

func parseTemplate(s string) (template, error) {
	t := template{source: s}
	var literal strings.Builder
	for rest := s; ; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			literal.WriteString(rest)
			break
		}
		literal.WriteString(rest[:i])
		brace := rest[i]
		rest = rest[i+1:]
		if rest != "" && rest[0] == brace {
			literal.WriteByte(brace)
			rest = rest[1:]
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if brace == '}' || !closed {
			return t, fmt.Errorf("%q has a brace without its partner: write {field}, and {{ or }} for a brace itself", s)
		}
		value, err := parsePath(name)
		if err != nil {
			return t, err
		}
		t.parts = append(t.parts, part{literal: literal.String(), value: value})
		literal.Reset()
		rest = after
	}
	if literal.Len() > 0 {
		t.parts = append(t.parts, part{literal: literal.String()})
	}
	return t, nil
}

// constant returns the template's text when it takes nothing from the line.
func (t template) constant() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].value == nil:
		return t.parts[0].literal, true
	}
	return "", false
}

// fill returns the text for a line.
func (t template) fill(r record) (string, error) {
	if s, ok := t.constant(); ok {
		return s, nil
	}
	var b strings.Builder
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if p.value != nil {
			s, err := r.text(p.value)
			if err != nil {
				return "", err
			}
			b.WriteString(s)
		}
	}
	return b.String(), nil
}
