package declared

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tidemark.dev/projections"
)

// kind is what a value is, or what one is wanted.
type kind byte

const (
	kindInt kind = iota + 1
	kindString
	kindBool
	kindList // of a field that is a list or a set
	kindTime // of no field: an expression gives it, and expire takes it
)

// held returns the kind of the values that a field of a kind holds.
func held(k projections.Kind) kind {
	switch k {
	case projections.KindInt:
		return kindInt
	case projections.KindBool:
		return kindBool
	case projections.KindList, projections.KindSet:
		return kindList
	default:
		return kindString
	}
}

// String names a kind in a sentence.
func (k kind) String() string {
	return [...]string{"nothing", "an integer", "a string", "a boolean", "a list", "a time"}[k]
}

// word names a kind in the normal form of a file.
func (k kind) word() string {
	return [...]string{"", string(projections.KindInt), string(projections.KindString), string(projections.KindBool)}[k]
}

// value is what an expression gives, and what a field holds.
type value struct {
	kind kind
	b    bool
	n    int64
	s    string // of a time: as it is stored
	list *list
}

func ofInt(n int64) value     { return value{kind: kindInt, n: n} }
func ofString(s string) value { return value{kind: kindString, s: s} }
func ofBool(b bool) value     { return value{kind: kindBool, b: b} }
func ofList(l *list) value    { return value{kind: kindList, list: l} }

// ofTime returns a time as it is stored.
func ofTime(t time.Time) (value, error) {
	text, ok := projections.FormatExpiry(t)
	if !ok {
		return value{}, because("the time is outside of the years 1970 to 9999")
	}
	return value{kind: kindTime, s: text}, nil
}

// ofElement returns an element as a value of its own.
func ofElement(e projections.Element) value {
	switch e.Kind() {
	case projections.KindInt:
		return ofInt(e.Int())
	case projections.KindBool:
		return ofBool(e.Bool())
	default:
		return ofString(e.Text())
	}
}

// element returns a value as an element of a list.
func (v value) element() (projections.Element, error) {
	switch v.kind {
	case kindInt:
		return projections.IntElement(v.n), nil
	case kindBool:
		return projections.BoolElement(v.b), nil
	case kindString:
		if !utf8.ValidString(v.s) {
			return projections.Element{}, because("an element is not valid UTF-8")
		}
		return projections.StringElement(v.s), nil
	default:
		return projections.Element{}, because("%s cannot be an element of a list", v.kind)
	}
}

// String returns the value as it is stored.
func (v value) String() string {
	switch v.kind {
	case kindInt:
		return strconv.FormatInt(v.n, 10)
	case kindBool:
		return strconv.FormatBool(v.b)
	case kindList:
		return projections.FormatElements(v.list.elements)
	default:
		return v.s
	}
}

// node returns the value as JSON has it.
func (v value) node() node {
	if v.kind == kindString {
		return node{text: projections.StringElement(v.s).String()}
	}
	return node{text: v.String()}
}

// valueOf returns a JSON value as one of ours; name is for the reason.
func valueOf(n *node, name string) (value, error) {
	switch shape := n.shape(); shape {
	case aString:
		return ofString(n.str()), nil
	case aBool:
		return ofBool(n.flag()), nil
	case aNumber:
		i, ok := integer(n.text)
		if !ok {
			return value{}, notInteger(name, n.text)
		}
		return ofInt(i), nil
	case aList:
		items := n.items()
		l := &list{elements: make([]projections.Element, len(items))}
		for i := range items {
			v, err := valueOf(&items[i], "an item of "+name)
			if err == nil {
				l.elements[i], err = v.element()
			}
			if err != nil {
				return value{}, err
			}
		}
		return ofList(l), nil
	default:
		return value{}, because("%s is %s", name, shape)
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
func (v value) as(k kind, what string) (value, error) {
	if v.kind != k {
		return value{}, because("%s is %s, and %s is wanted", what, v.kind, k)
	}
	return v, nil
}
