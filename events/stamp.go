package events

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// text returns the value of the tm header.
func (s Stamp) text() string { return string(appendStamp(make([]byte, 0, 96), s)) }

func appendStamp(b []byte, s Stamp) []byte {
	b = append(b, stampVersion...)
	var clock [8]byte
	binary.BigEndian.PutUint64(clock[:], uint64(s.Time))
	b = hex.AppendEncode(b, clock[:])
	b = append(b, ';')
	b = base64.RawURLEncoding.AppendEncode(b, s.Hash[:])
	if !s.Tx.Alone() {
		b = append(b, ";t="...)
		b = strconv.AppendUint(b, uint64(s.Tx.Index), 10)
		b = append(b, '/')
		b = strconv.AppendUint(b, uint64(s.Tx.Count), 10)
	}
	if !s.Observed.IsZero() {
		b = s.Observed.append(append(b, ";o="...))
	}
	if s.Key != "" {
		b = append(append(b, ";k="...), s.Key...)
	}
	return b
}

// parseStamp reads what appendStamp writes. Nothing of a text that it refuses is in the result.
func parseStamp(text string) (Stamp, bool) {
	s, ok := scanStamp(text)
	if !ok {
		return Stamp{}, false
	}
	return s, true
}

func scanStamp(text string) (s Stamp, ok bool) {
	const clockAt, hashAt = len(stampVersion), len(stampVersion) + 17
	const fixed = hashAt + hashText
	if len(text) < fixed || text[:clockAt] != stampVersion || text[hashAt-1] != ';' {
		return s, false
	}
	for i := clockAt; i < hashAt-1; i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			s.Time = s.Time<<4 | Timestamp(c-'0')
		case c >= 'a' && c <= 'f':
			s.Time = s.Time<<4 | Timestamp(c-'a'+10)
		default:
			return s, false
		}
	}
	if s.Hash, ok = parseHash(text[hashAt:fixed]); !ok {
		return s, false
	}
	for rest := text[fixed:]; rest != ""; {
		if rest[0] != ';' {
			return s, false
		}
		var field string
		if i := strings.IndexByte(rest[1:], ';'); i >= 0 {
			field, rest = rest[1:i+1], rest[i+1:]
		} else {
			field, rest = rest[1:], ""
		}
		if !s.field(field) {
			return s, false
		}
	}
	return s, true
}

func (s *Stamp) field(field string) bool {
	name, value, ok := strings.Cut(field, "=")
	if !ok {
		return false
	}
	switch name {
	case "t":
		i, n, found := strings.Cut(value, "/")
		index, ok1 := parseCanonical(i, 16)
		count, ok2 := parseCanonical(n, 16)
		s.Tx = Tx{Index: uint16(index), Count: uint16(count)} //nolint:gosec // parsed with 16 bits
		return found && ok1 && ok2 && index >= 1 && index <= count && count <= MaxBatch
	case "o":
		p, err := ParsePosition(value)
		s.Observed = p
		return err == nil
	case "k":
		s.Key = value
	}
	return true // a field of a later version is no reason to stop
}
