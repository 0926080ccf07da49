package events

import (
	"strings"
	"unicode/utf8"
)

// Header values are printable ASCII: the CloudEvents NATS binding percent-encodes everything else, and blanks, quotes and
// percent signs. A broker or a client of another language would trim, replace or refuse them.
//
// Source: CloudEvents NATS Protocol Binding 1.0.3, section 3.1.3.2.

// encodeValue returns the header value of an attribute.
func encodeValue(s string) string {
	for i := range len(s) {
		if !literal(s[i]) {
			return encodeValueSlow(s)
		}
	}
	return s
}

func encodeValueSlow(s string) string {
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; literal(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// decodeValue reverses encodeValue. Like the binding it also accepts what needed no encoding, lower-case digits, and a value in double
// quotes with backslash escapes. It returns the value as it stands, and false, when an escape is broken or the result is not UTF-8.
func decodeValue(s string) (string, bool) {
	for i := range len(s) {
		if c := s[i]; c == '%' || c == '"' || c >= utf8.RuneSelf {
			return decodeValueSlow(s)
		}
	}
	return s, true
}

func decodeValueSlow(s string) (string, bool) {
	text := s
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = unquote(text[1 : len(text)-1])
	}
	if strings.IndexByte(text, '%') < 0 {
		return text, utf8.ValidString(text)
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b = append(b, text[i])
			continue
		}
		if i+2 >= len(text) {
			return s, false
		}
		hi, ok1 := unhexAny(text[i+1])
		lo, ok2 := unhexAny(text[i+2])
		if !ok1 || !ok2 {
			return s, false
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	if !utf8.Valid(b) {
		return s, false
	}
	return string(b), true
}

// unquote removes the backslashes of a quoted string (RFC 7230, section 3.2.6).
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// literal reports whether a byte stands for itself in a header value.
func literal(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

const upperHex = "0123456789ABCDEF"

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func unhexAny(c byte) (byte, bool) {
	if c >= 'a' && c <= 'f' {
		c -= 'a' - 'A'
	}
	return unhex(c)
}
