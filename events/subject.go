package events

import (
	"strings"
	"unicode/utf8"
)

// The subject grammar: where an event or a control record stands in the broker's subject space.
//
//	evt.<origin>.<type>.<id>     one literal subject per entity
//	ctl.<origin>.<name>          control records; the name may have dots
//
// An id is encoded into exactly one token: bytes of [A-Za-z0-9_~-] stand for themselves, every other byte is %XX with
// upper-case digits (RFC 3986, with the dot encoded too). Only the shortest form is accepted when decoding, so one entity has exactly one subject.
const (
	eventPrefix   = "evt."
	controlPrefix = "ctl."
	// MaxOriginBytes bounds an origin's name.
	MaxOriginBytes = 32
	maxControlName = 200
)

// EventSubject returns the subject of an entity's events in an origin. The entity must be valid.
func EventSubject(origin string, e Entity) string {
	b := make([]byte, 0, len(eventPrefix)+len(origin)+len(e.Type)+len(e.ID)+2)
	b = append(b, eventPrefix...)
	b = append(b, origin...)
	b = append(b, '.')
	b = append(b, e.Type...)
	b = append(b, '.')
	return string(appendToken(b, e.ID))
}

// ControlSubject returns the subject of a control record of an origin. See ValidControlName.
func ControlSubject(origin, name string) string { return controlPrefix + origin + "." + name }

// ValidateOrigin returns ErrInvalidEvent unless the name is [a-z0-9-]{1,32}.
func ValidateOrigin(origin string) error {
	if !validOrigin(origin) {
		return Errorf(ErrInvalidEvent, "%q is not the name of an origin or a region", clip(origin)).
			Hint("Use 1 to %d characters of a-z 0-9 -.", MaxOriginBytes)
	}
	return nil
}

func validOrigin(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= MaxOriginBytes
}

// ValidControlName reports whether name is one or more tokens of [A-Za-z0-9_~%-] joined by dots, at most 200 bytes.
func ValidControlName(name string) bool {
	if name == "" || len(name) > maxControlName {
		return false
	}
	for token := range strings.SplitSeq(name, ".") {
		if token == "" {
			return false
		}
		for i := range len(token) {
			if !plain(token[i]) && token[i] != '%' {
				return false
			}
		}
	}
	return true
}

// ParseEventSubject returns the entity of an event subject of the origin. It returns false for every subject that
// EventSubject would not have produced.
func ParseEventSubject(origin, subject string) (Entity, bool) {
	rest, ok := cutPrefixes(subject, eventPrefix, origin)
	if !ok {
		return Entity{}, false
	}
	typ, token, ok := strings.Cut(rest, ".")
	if !ok || !isWord(typ) || len(typ) > MaxTypeBytes {
		return Entity{}, false
	}
	id, ok := DecodeToken(token)
	if !ok || len(id) > MaxIDBytes {
		return Entity{}, false
	}
	return Entity{Type: typ, ID: id}, true
}

// ParseControlSubject returns the name of a control subject of the origin.
func ParseControlSubject(origin, subject string) (string, bool) {
	rest, ok := cutPrefixes(subject, controlPrefix, origin)
	return rest, ok && ValidControlName(rest)
}

func cutPrefixes(subject, kind, origin string) (string, bool) {
	n := len(kind) + len(origin)
	if len(subject) <= n+1 || subject[:len(kind)] != kind || subject[len(kind):n] != origin || subject[n] != '.' {
		return "", false
	}
	return subject[n+1:], true
}

// EncodeToken encodes any text into one subject token.
func EncodeToken(id string) string {
	for i := range len(id) {
		if !plain(id[i]) {
			return string(appendToken(make([]byte, 0, len(id)+8), id))
		}
	}
	return id
}

func appendToken(b []byte, id string) []byte {
	for i := range len(id) {
		if c := id[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return b
}

// DecodeToken reverses EncodeToken. It returns false for an empty token, a token that EncodeToken would have written
// differently, and one whose bytes are not UTF-8.
func DecodeToken(token string) (string, bool) {
	if token == "" {
		return "", false
	}
	i := 0
	for i < len(token) && plain(token[i]) {
		i++
	}
	if i == len(token) {
		return token, true
	}
	b := append(make([]byte, 0, len(token)), token[:i]...)
	for i < len(token) {
		c := token[i]
		if plain(c) {
			b, i = append(b, c), i+1
			continue
		}
		if c != '%' || i+2 >= len(token) {
			return "", false
		}
		hi, ok1 := unhex(token[i+1])
		lo, ok2 := unhex(token[i+2])
		decoded := hi<<4 | lo
		if !ok1 || !ok2 || plain(decoded) {
			return "", false
		}
		b, i = append(b, decoded), i+3
	}
	if !utf8.Valid(b) {
		return "", false
	}
	return string(b), true
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '~'
}
