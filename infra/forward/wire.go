package forward

import (
	"encoding/binary"
	"time"

	"tidemark.dev/events"
)

// The wire form. Every message begins with two bytes that name what it is, and its version; README.md has the layout. Numbers are
// unsigned varints in their shortest form, texts and data have their length before them, sets are sorted, and nothing follows the end. So there is
// one encoding of each message, and a reader refuses every other.
const (
	version = 1
	// Kinds of message.
	kindHello  = 'H' // to a writer: who are you?
	kindAppend = 'A' // to a writer: store this
	kindFloors = 'F' // to a writer: how much does each region hold?
	kindHead   = 'P' // to a writer: how far is the log?
	kindAnswer = 'R' // back
	mark       = 'T'

	headBytes = 3
)

func head(kind byte) []byte { return []byte{mark, kind, version} }

// malformed is the error of a message that its reader does not understand.
func malformed(format string, args ...any) error {
	return events.Errorf(ErrProtocol, format, args...).Hint("Run the same version of tidemark in both regions.")
}

// kindOf returns what a message is, or says what is wrong with its beginning.
func kindOf(b []byte) (byte, error) {
	switch {
	case len(b) < headBytes || b[0] != mark:
		return 0, malformed("the message of %d bytes is not one of forwarding", len(b))
	case b[2] != version:
		return 0, malformed("the message has the version %d, and only version %d is understood", b[2], version)
	}
	return b[1], nil
}

func putNumber(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

func putText[T string | []byte](b []byte, s T) []byte {
	return append(putNumber(b, uint64(len(s))), s...)
}

func putFlag(b []byte, is bool) []byte {
	if is {
		return append(b, 1)
	}
	return append(b, 0)
}

// scanner reads what the put functions write. After the first mistake it reads zeros, and err says what the mistake was.
type scanner struct {
	rest []byte
	err  error
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = malformed(format, args...)
	}
	s.rest = nil
}

func (s *scanner) number() uint64 {
	n, size := binary.Uvarint(s.rest)
	if size <= 0 || size > 1 && s.rest[size-1] == 0 { // too short, too large, or not the shortest form
		s.fail("a number cannot be read")
		return 0
	}
	s.rest = s.rest[size:]
	return n
}

// count reads how many things follow, each of at least one byte.
func (s *scanner) count(what string, most int) int {
	n := s.number()
	if n > uint64(most) || n > uint64(len(s.rest)) { //nolint:gosec // a bound
		s.fail("it has %d %s, over the bound of %d or its own length", n, what, most)
		return 0
	}
	return int(n) //nolint:gosec // bounded
}

// bytes returns a part of the message itself.
func (s *scanner) bytes() []byte {
	n := s.number()
	if n > uint64(len(s.rest)) {
		s.fail("a text of %d bytes reaches beyond the end", n)
		return nil
	}
	b := s.rest[:n:n]
	s.rest = s.rest[n:]
	return b
}

func (s *scanner) text() string { return string(s.bytes()) }

// data is bytes that may be kept; nil when there are none.
func (s *scanner) data() []byte {
	if b := s.bytes(); len(b) > 0 {
		return b
	}
	return nil
}

func (s *scanner) flag() bool {
	if len(s.rest) == 0 || s.rest[0] > 1 {
		s.fail("a flag cannot be read")
		return false
	}
	is := s.rest[0] == 1
	s.rest = s.rest[1:]
	return is
}

func (s *scanner) position() events.Position {
	text := s.text()
	if text == "" {
		return events.Position{}
	}
	p, err := events.ParsePosition(text)
	if err != nil || p.String() != text {
		s.fail("a position cannot be read")
		return events.Position{}
	}
	return p
}

// The seconds of the years 1 to 9999.
const (
	firstSecond = -62_135_596_800
	lastSecond  = 253_402_300_799
)

// putTime writes a time that Validate accepts: 0, or the seconds since the year 1 plus one and the nanoseconds.
func putTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return putNumber(b, 0)
	}
	b = putNumber(b, uint64(t.Unix()-firstSecond)+1) //nolint:gosec // after the year 1
	return putNumber(b, uint64(t.Nanosecond()))      //nolint:gosec // not negative
}

func (s *scanner) time() time.Time {
	n := s.number()
	if n == 0 {
		return time.Time{}
	}
	nanos := s.number()
	if n-1 > lastSecond-firstSecond || nanos >= uint64(time.Second) {
		s.fail("a time cannot be read")
		return time.Time{}
	}
	t := time.Unix(int64(n-1)+firstSecond, int64(nanos)).UTC() //nolint:gosec // bounded
	if t.IsZero() {
		s.fail("a time is written twice over")
	}
	return t
}

// end returns the mistake, if there was one. Nothing may be left.
func (s *scanner) end() error {
	if s.err == nil && len(s.rest) > 0 {
		s.fail("%d bytes follow the end", len(s.rest))
	}
	return s.err
}
