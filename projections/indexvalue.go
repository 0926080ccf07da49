package projections

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"tidemark.dev/events"
)

// An index keeps its entries as bytes, so that any store which sorts bytes can hold them, compound ones too: the values of the fields one
// behind the other, then the document's key. No value is the beginning of another one of its kind, so entries are in the order of their values,
// and where the key begins can be told.
//
//	int     p and 19 digits, from zero on; below zero n and 19 digits, each of them 9 less the digit:
//	        5 is p0000000000000000005, -5 is n9999999999999999994
//	bool    0 or 1
//	string  its bytes, a zero byte as 00 FF, and 00 01 at the end. A string of more than 1,024 bytes is cut there, and 00 02 and 16 bytes
//	        of its SHA-256 follow instead: equality stays exact, and the order is that of the first 1,024 bytes.
const (
	indexDigits   = 19
	maxIndexBytes = 1_024
	indexHash     = 16

	indexZero byte = 0xFF
	indexEnd  byte = 0x01
	indexCut  byte = 0x02
)

// EncodeIndex returns the bytes under which an index sorts these values. kinds are those of the index's fields, see Definition.IndexKinds; values are as a
// document has them: decimal digits, true or false, or text. There may be fewer values than kinds: then it is the beginning of all values that
// begin so. It returns ErrInvalidQuery when a value is not of its kind, or there are too many.
//
// Byte order is the order of the values: integers as numbers, false before true, strings by their bytes, up to 1,024 of them.
func EncodeIndex(kinds []Kind, values ...string) (string, error) {
	if len(values) > len(kinds) {
		return "", events.Errorf(ErrInvalidQuery, "%d values were given for an index of %d fields", len(values), len(kinds))
	}
	var b []byte
	for i, v := range values {
		var err error
		if b, err = appendIndexValue(b, kinds[i], v); err != nil {
			return "", events.Errorf(ErrInvalidQuery, "value %d of the index: %w", i+1, err)
		}
	}
	return string(b), nil
}

// IndexAfter returns the first place behind every value that begins with prefix: a range from prefix to there is all that are equal in the
// fields that prefix is of, and one from there on is all that are greater. prefix is what EncodeIndex made.
func IndexAfter(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xFF { // the end of a hash may be so
		b = b[:len(b)-1]
	}
	if len(b) > 0 {
		b[len(b)-1]++
	}
	return string(b)
}

func appendIndexValue(b []byte, k Kind, value string) ([]byte, error) {
	switch k {
	case KindInt:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return b, fmt.Errorf("%.80q is not an integer of 64 bits", value)
		}
		return appendIndexInt(b, n), nil
	case KindBool:
		switch value {
		case "true":
			return append(b, '1'), nil
		case "false":
			return append(b, '0'), nil
		}
		return b, fmt.Errorf("%.80q is neither true nor false", value)
	case KindString:
		return appendIndexString(b, value), nil
	}
	return b, fmt.Errorf("a field of kind %q cannot be indexed", k)
}

func appendIndexInt(b []byte, n int64) []byte {
	sign, rest := byte('p'), uint64(n) //nolint:gosec // the sign is kept beside it
	if n < 0 {
		sign, rest = 'n', -rest
	}
	var digits [indexDigits]byte
	for i := range digits {
		d := byte(rest % 10)
		if rest /= 10; n < 0 {
			d = 9 - d
		}
		digits[indexDigits-1-i] = '0' + d
	}
	return append(append(b, sign), digits[:]...)
}

func appendIndexString(b []byte, s string) []byte {
	rest := s[:min(len(s), maxIndexBytes)]
	for {
		i := strings.IndexByte(rest, 0)
		if i < 0 {
			break
		}
		b = append(append(b, rest[:i]...), 0, indexZero)
		rest = rest[i+1:]
	}
	b = append(b, rest...)
	if len(s) <= maxIndexBytes {
		return append(b, 0, indexEnd)
	}
	sum := sha256.Sum256([]byte(s))
	return append(append(b, 0, indexCut), sum[:indexHash]...)
}

// CutIndexEntry takes an entry apart, as a store keeps it: the encoded value, and the document's key behind it. kinds are those of the
// index's fields. It reports false for what EncodeIndex cannot have made.
func CutIndexEntry(kinds []Kind, entry string) (value, key string, ok bool) {
	rest := entry
	for _, k := range kinds {
		n := indexValueLen(k, rest)
		if n < 0 {
			return "", "", false
		}
		rest = rest[n:]
	}
	if rest == "" {
		return "", "", false
	}
	return entry[:len(entry)-len(rest)], rest, true
}

// indexValueLen returns how many bytes the first value of s takes, or -1.
func indexValueLen(k Kind, s string) int {
	switch k {
	case KindInt:
		const n = 1 + indexDigits
		if len(s) < n || s[0] != 'p' && s[0] != 'n' || strings.Trim(s[1:n], "0123456789") != "" {
			return -1
		}
		return n
	case KindBool:
		if s == "" || s[0] != '0' && s[0] != '1' {
			return -1
		}
		return 1
	case KindString:
		return indexStringLen(s)
	}
	return -1
}

func indexStringLen(s string) int {
	for at := 0; ; {
		i := strings.IndexByte(s[at:], 0)
		if i < 0 || at+i+1 == len(s) {
			return -1
		}
		at += i + 2
		switch s[at-1] {
		case indexZero:
		case indexEnd:
			return at
		case indexCut:
			if len(s)-at < indexHash {
				return -1
			}
			return at + indexHash
		default:
			return -1
		}
	}
}
