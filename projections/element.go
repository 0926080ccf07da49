package projections

import (
	"cmp"
	"strconv"
	"strings"
)

// Element is an element of a list or a set: an integer of 64 bits, a string or a boolean. Two are the same when they are ==. The zero
// Element is none.
type Element struct {
	s   string
	n   int64 // of a boolean: 0 or 1
	tag byte  // that of the kind in digests
}

// IntElement returns an integer as an element.
func IntElement(n int64) Element { return Element{tag: tagInt, n: n} }

// StringElement returns a string as an element. It must be valid UTF-8: see CheckElements.
func StringElement(s string) Element { return Element{tag: tagString, s: s} }

// BoolElement returns a boolean as an element.
func BoolElement(b bool) Element {
	e := Element{tag: tagBool}
	if b {
		e.n = 1
	}
	return e
}

// Kind returns KindInt, KindString or KindBool.
func (e Element) Kind() Kind {
	switch e.tag {
	case tagInt:
		return KindInt
	case tagBool:
		return KindBool
	default:
		return KindString
	}
}

// Int returns an element of KindInt.
func (e Element) Int() int64 { return e.n }

// Text returns an element of KindString.
func (e Element) Text() string { return e.s }

// Bool returns an element of KindBool.
func (e Element) Bool() bool { return e.n != 0 }

// String returns the element as JSON has it.
func (e Element) String() string { return string(e.append(nil)) }

// Size returns the bytes of the element in the text of its list.
func (e Element) Size() int {
	switch e.tag {
	case tagInt:
		var digits [20]byte
		return len(strconv.AppendInt(digits[:0], e.n, 10))
	case tagBool:
		return len(strconv.FormatBool(e.Bool()))
	}
	n := len(`""`) + len(e.s)
	for i := range len(e.s) {
		n += escapes(e.s[i])
	}
	return n
}

// CompareElements is the order of a set: integers by number, then strings by their bytes, then false, then true.
func CompareElements(a, b Element) int {
	if a.tag != b.tag {
		return cmp.Compare(rank(a.tag), rank(b.tag))
	}
	return cmp.Or(cmp.Compare(a.n, b.n), strings.Compare(a.s, b.s))
}

func rank(tag byte) int {
	switch tag {
	case tagInt:
		return 0
	case tagString:
		return 1
	default:
		return 2
	}
}

// append appends the element as JSON has it.
func (e Element) append(b []byte) []byte {
	switch e.tag {
	case tagInt:
		return strconv.AppendInt(b, e.n, 10)
	case tagBool:
		return strconv.AppendBool(b, e.Bool())
	default:
		return appendQuoted(b, e.s)
	}
}

// appendQuoted appends a JSON string: what must be escaped is, in its shortest way, and nothing else. Source: RFC 8785, section 3.2.2.2.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch escapes(c) {
		case 0:
			b = append(b, c)
		case 1:
			b = append(b, '\\', short(c))
		default:
			b = append(b, '\\', 'u', '0', '0', '0'+c>>4, "0123456789abcdef"[c&15])
		}
	}
	return append(b, '"')
}

// escapes returns how many bytes more a byte takes in a JSON string.
func escapes(c byte) int {
	switch {
	case c >= ' ' && c != '"' && c != '\\':
		return 0
	case short(c) != 0:
		return 1
	default:
		return len(`\u0000`) - 1
	}
}

// short returns the letter of a short escape, 0 when there is none.
func short(c byte) byte {
	switch c {
	case '"', '\\':
		return c
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	default:
		return 0
	}
}
