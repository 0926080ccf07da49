package declared

import (
	"strconv"
	"strings"

	"tidemark.dev/projections"
)

// value is what an expression gives, and what a field holds.
type value struct {
	kind projections.Kind
	n    int64
	s    string
	b    bool
}

func ofInt(n int64) value     { return value{kind: projections.KindInt, n: n} }
func ofString(s string) value { return value{kind: projections.KindString, s: s} }
func ofBool(b bool) value     { return value{kind: projections.KindBool, b: b} }

// String returns the value as it is stored.
func (v value) String() string {
	switch v.kind {
	case projections.KindInt:
		return strconv.FormatInt(v.n, 10)
	case projections.KindBool:
		return strconv.FormatBool(v.b)
	default:
		return v.s
	}
}

// node returns the value as JSON has it.
func (v value) node() node {
	switch v.kind {
	case projections.KindInt:
		return node{shape: aNumber, text: v.String()}
	case projections.KindBool:
		return node{shape: aBool, flag: v.b}
	default:
		return node{shape: aString, text: v.s}
	}
}

// article names a kind in a sentence.
func article(k projections.Kind) string {
	switch k {
	case projections.KindInt:
		return "an integer"
	case projections.KindBool:
		return "a boolean"
	default:
		return "a string"
	}
}

// valueOf returns a JSON value as one of ours; name is for the reason.
func valueOf(n *node, name string) (value, error) {
	switch n.shape {
	case aString:
		return ofString(n.text), nil
	case aBool:
		return ofBool(n.flag), nil
	case aNumber:
		i, ok := integer(n.text)
		if !ok {
			return value{}, notInteger(name, n.text)
		}
		return ofInt(i), nil
	default:
		return value{}, because("%s is %s", name, n.shape)
	}
}

func notInteger(name, text string) error {
	return because("%s is %s, which is not an integer of 64 bits", name, projections.Quoted(clip(text)))
}

// source gives a value for an event, and a document if there is one yet.
type source interface {
	eval(c *call) (value, error)
}

// constant is a source that asks nobody.
type constant struct{ v value }

func (s constant) eval(*call) (value, error) { return s.v, nil }

// docField is a field of the document.
type docField int

func (s docField) eval(c *call) (value, error) { return c.doc[s], nil }

// attribute is an attribute of the event.
type attribute struct{ get func(c *call) value }

func (s attribute) eval(c *call) (value, error) { return s.get(c), nil }

// path is a value of the data: data.a.b. It needs no CEL.
type path struct {
	names []string
	text  string
}

func newPath(names []string) path { return path{names, dataVariable + "." + strings.Join(names, ".")} }

func (s path) eval(c *call) (value, error) {
	n, err := c.payload()
	if err != nil {
		return value{}, err
	}
	for i, name := range s.names {
		if n = n.member(name); n == nil {
			return value{}, because("%s is missing", newPath(s.names[:i+1]).text)
		}
	}
	return valueOf(n, s.text)
}

// as checks that a value is of a kind; what is for the reason.
func (v value) as(kind projections.Kind, what string) (value, error) {
	if v.kind != kind {
		return value{}, because("%s is %s, and %s is wanted", what, article(v.kind), article(kind))
	}
	return v, nil
}
