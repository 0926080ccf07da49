package declared

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types/ref"

	"tidemark.dev/events"
)

// shape is what a JSON value is.
type shape byte

const (
	aNull shape = iota
	aBool
	aNumber
	aString
	aList
	anObject
)

func (s shape) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[s]
}

// node is a JSON value.
type node struct {
	shape   shape
	flag    bool
	text    string // of a string; of a number as it is written
	list    []node
	members []member
	cel     ref.Val // the same for CEL, made when it is first needed: an expression may ask for it at every item of a list
}

type member struct {
	name  string
	value node
}

// member returns the value of a name, nil when it is not there.
func (n *node) member(name string) *node {
	for i := range n.members {
		if n.members[i].name == name {
			return &n.members[i].value
		}
	}
	return nil
}

// put sets a name to a value.
func (n *node) put(name string, v node) {
	if there := n.member(name); there != nil {
		*there = v
		return
	}
	n.members = append(n.members, member{name, v})
	n.moved()
}

// moved forgets what CEL was given of the members: it points to where they were.
func (n *node) moved() {
	for i := range n.members {
		n.members[i].value.cel = nil
	}
}

// take removes a name and returns its value.
func (n *node) take(name string) (v node, ok bool) {
	i := slices.IndexFunc(n.members, func(m member) bool { return m.name == name })
	if i < 0 {
		return v, false
	}
	v = n.members[i].value
	n.members = slices.Delete(n.members, i, i+1)
	n.moved()
	return v, true
}

// integer reads a number. The one number rule: a number counts as an integer when it is written without fraction and exponent and
// fits into 64 bits. Everything else would be a float, whose sums depend on their order.
func integer(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// parseData reads the data of an event. No data at all is an object without members.
func parseData(e *events.Event) (node, error) {
	switch {
	case len(e.Data) == 0:
		return node{shape: anObject}, nil
	case !e.IsJSON():
		return node{}, because("the data is not JSON but %s", e.ContentType)
	}
	if err := events.CheckJSON(e.Data); err != nil { // depth, UTF-8, and no name twice
		return node{}, because("the data is not JSON")
	}
	p := jsonParser{text: string(e.Data)}
	return p.value(), nil
}

// jsonParser reads a text that has been checked.
type jsonParser struct {
	text string
	at   int
}

func (p *jsonParser) peek() byte {
	for {
		switch c := p.text[p.at]; c {
		case ' ', '\t', '\n', '\r', ',', ':': // where these may stand has been checked
			p.at++
		default:
			return c
		}
	}
}

func (p *jsonParser) value() node {
	switch c := p.peek(); c {
	case '{':
		n := node{shape: anObject, members: make([]member, 0, 8)}
		for p.at++; p.peek() != '}'; {
			name := p.str()
			n.members = append(n.members, member{name, p.value()})
		}
		p.at++
		return n
	case '[':
		n := node{shape: aList}
		for p.at++; p.peek() != ']'; {
			n.list = append(n.list, p.value())
		}
		p.at++
		return n
	case '"':
		return node{shape: aString, text: p.str()}
	case 't':
		p.at += len("true")
		return node{shape: aBool, flag: true}
	case 'f':
		p.at += len("false")
		return node{shape: aBool}
	case 'n':
		p.at += len("null")
		return node{shape: aNull}
	}
	from := p.at
	for p.at < len(p.text) && strings.IndexByte("+-.eE0123456789", p.text[p.at]) >= 0 {
		p.at++
	}
	return node{shape: aNumber, text: p.text[from:p.at]}
}

// str reads a string.
func (p *jsonParser) str() string {
	from, escaped := p.at+1, false
	p.at = from
	for p.text[p.at] != '"' {
		if p.text[p.at] == '\\' {
			escaped = true
			p.at++
		}
		p.at++
	}
	raw := p.text[from:p.at]
	p.at++
	if !escaped {
		return raw
	}
	var s string
	if err := json.Unmarshal([]byte(p.text[from-1:p.at]), &s); err != nil {
		return raw // it has been checked
	}
	return s
}
