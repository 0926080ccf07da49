package declared

import (
	"bytes"
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

// node is a JSON value that has been checked. What is inside of it is read when somebody asks: most of what an event carries, nobody asks for.
type node struct {
	text string // as it is written, without blanks around it
	in   *inside
}

// inside is what is in a list or an object.
type inside struct {
	list    []node
	members []member
	cel     ref.Val // the same for CEL, made when it is first needed: an expression may ask for it at every item of a list
}

type member struct {
	name  string
	value node
}

func (n *node) shape() shape {
	switch n.text[0] {
	case '{':
		return anObject
	case '[':
		return aList
	case '"':
		return aString
	case 't', 'f':
		return aBool
	case 'n':
		return aNull
	default:
		return aNumber
	}
}

// flag returns a boolean.
func (n *node) flag() bool { return n.text[0] == 't' }

// str returns a string.
func (n *node) str() string { return unquoted(n.text) }

func unquoted(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var s string
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return text // it has been checked
	}
	return s
}

// items returns the values of a list.
func (n *node) items() []node {
	n.open()
	return n.in.list
}

// member returns the value of a name, nil when it is not there.
func (n *node) member(name string) *node {
	if n.text[0] != '{' {
		return nil
	}
	n.open()
	return n.in.member(name)
}

func (in *inside) member(name string) *node {
	for i := range in.members {
		if in.members[i].name == name {
			return &in.members[i].value
		}
	}
	return nil
}

// open reads what is in a list or an object, but not what is in that.
func (n *node) open() {
	if n.in == nil {
		n.in = &inside{}
		n.in.read(n.text, &wanted{all: true})
	}
}

// read reads a list, or of an object the names that are wanted.
func (in *inside) read(text string, w *wanted) {
	object := text[0] == '{'
	for i := next(text, 1); i < len(text)-1; i = next(text, i) {
		name := ""
		if object {
			end, escaped := behindString(text, i)
			if name = text[i+1 : end-1]; escaped {
				name = unquoted(text[i:end])
			}
			i = next(text, end)
		}
		end := behind(text, i)
		switch value := (node{text: text[i:end]}); {
		case !object:
			in.list = append(in.list, value)
		case w.has(name):
			in.members = append(in.members, member{name, value})
		}
		i = end
	}
}

// put sets a name to a value.
func (n *node) put(name string, v node) {
	if v.in != nil {
		v.in.cel = nil // it knows its old name
	}
	if there := n.member(name); there != nil {
		*there = v
		return
	}
	n.in.members = append(n.in.members, member{name, v})
}

// take removes a name and returns its value.
func (n *node) take(name string) (v node, ok bool) {
	n.open()
	i := slices.IndexFunc(n.in.members, func(m member) bool { return m.name == name })
	if i < 0 {
		return v, false
	}
	v = n.in.members[i].value
	n.in.members = slices.Delete(n.in.members, i, i+1)
	return v, true
}

// integer reads a number. The one number rule: a number counts as an integer when it is written without fraction and exponent and
// fits into 64 bits. Everything else would be a float, whose sums depend on their order.
func integer(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// dataText returns the data of an event as JSON without blanks around it. No data at all is an object without members.
func dataText(e *events.Event) (string, error) {
	switch {
	case len(e.Data) == 0:
		return "{}", nil
	case !e.IsJSON():
		return "", because("the data is not JSON but %s", e.ContentType)
	}
	if err := events.CheckJSON(e.Data); err != nil { // depth, UTF-8, and no name twice
		return "", because("the data is not JSON")
	}
	return string(bytes.Trim(e.Data, " \t\r\n")), nil
}

// next returns the index of the value or the end that is next in a text that has been checked.
func next(text string, i int) int {
	for {
		switch text[i] {
		case ' ', '\t', '\n', '\r', ',', ':': // where these may stand has been checked
			i++
		default:
			return i
		}
	}
}

// behind returns the index behind the value that begins at i.
func behind(text string, i int) int {
	switch text[i] {
	case '"':
		end, _ := behindString(text, i)
		return end
	case '{', '[':
		depth := 0
		for {
			switch text[i] {
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			case '"':
				end, _ := behindString(text, i)
				i = end - 1
			}
			i++
		}
	}
	for i < len(text) && strings.IndexByte(",]} \t\r\n", text[i]) < 0 {
		i++
	}
	return i
}

// behindString returns also whether the string has an escape.
func behindString(text string, i int) (end int, escaped bool) {
	const short = 16 // most names and many values: no search pays
	from := i + 1
	for i = from; i < from+short; i++ {
		switch text[i] {
		case '"':
			return i + 1, false
		case '\\':
			return behindEscapes(text, i), true
		}
	}
	end = i + strings.IndexByte(text[i:], '"')
	if strings.IndexByte(text[i:end], '\\') < 0 {
		return end + 1, false
	}
	return behindEscapes(text, i), true
}

func behindEscapes(text string, i int) int {
	for ; ; i++ {
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
}
