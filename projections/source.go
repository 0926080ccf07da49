package projections

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"tidemark.dev/events"
)

// Source is a stream that is not ours, from which a projection is folded instead of from the installation's own log.
type Source struct {
	// Stream is its name in the region's NATS.
	Stream string `json:"stream"`
	// Origin is what its history is called in positions: OriginOf(Stream), unless somebody said otherwise.
	Origin string `json:"origin"`
}

// SameSource reports whether two definitions are folded from the same.
func SameSource(a, b *Source) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// maxStream bounds the name of a stream, in bytes: the servers' own bound.
const maxStream = 255

// Validate returns ErrInvalidProjection when the source cannot be one.
func (s *Source) Validate() error {
	if !ValidStream(s.Stream) {
		return events.Errorf(ErrInvalidProjection, "%q is not the name of a stream", clipName(s.Stream)).
			Hint("A name has 1 to %d bytes, and none of blanks, dots, stars, >, / and \\.", maxStream)
	}
	if err := events.ValidateOrigin(s.Origin); err != nil {
		return events.Errorf(ErrInvalidProjection, "the history of stream %s: %w", s.Stream, err)
	}
	return nil
}

// ValidStream reports whether the servers take name for that of a stream.
func ValidStream(name string) bool {
	return name != "" && len(name) <= maxStream && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`.*>/\`, r)
	})
}

// OriginOf returns what the history of a stream is called: its name in lower case, with a - for every byte that an origin cannot have. A
// name of more than 32 bytes is cut after 23, and 8 digits of its SHA-256 follow.
//
// Two streams may be called the same, as ORDERS and orders are. They are told apart by their lineages.
func OriginOf(stream string) string {
	b := []byte(stream)
	for i, c := range b {
		switch {
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
		default:
			b[i] = '-'
		}
	}
	if len(b) <= events.MaxOriginBytes {
		return string(b)
	}
	sum := sha256.Sum256([]byte(stream))
	digits := hex.EncodeToString(sum[:4])
	return string(b[:events.MaxOriginBytes-1-len(digits)]) + "-" + digits
}

func clipName(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
