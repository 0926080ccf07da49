package events

import (
	"slices"
	"strconv"
	"strings"
)

// Lineage says which history of an origin's name this is: random lower-case hexadecimal digits written in the log's
// first record. A stream that was deleted and made again has another lineage.
type Lineage string

const (
	minLineage = 4
	maxLineage = 32
	// maxPoints bounds how many origins one position can name.
	maxPoints = 64
)

// Valid reports whether l is 4 to 32 lower-case hexadecimal digits.
func (l Lineage) Valid() bool {
	for i := range len(l) {
		if c := l[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return len(l) >= minLineage && len(l) <= maxLineage
}

// Point is a place in the history of one origin. Term is the term of the record at Sequence; a Sequence of 0 stands
// before the first record.
type Point struct {
	Origin   string
	Lineage  Lineage
	Term     uint32 // from 1
	Sequence uint64
}

// String returns origin.lineage@term:sequence.
func (p Point) String() string { return string(p.append(make([]byte, 0, 48))) }

func (p Point) valid() bool { return p.Term > 0 && p.Lineage.Valid() && validOrigin(p.Origin) }

func (p Point) append(b []byte) []byte {
	b = append(b, p.Origin...)
	b = append(b, '.')
	b = append(b, p.Lineage...)
	b = append(b, '@')
	b = strconv.AppendUint(b, uint64(p.Term), 10)
	b = append(b, ':')
	return strconv.AppendUint(b, p.Sequence, 10)
}

// Position is a place in one or more histories: a checkpoint, a read-your-writes token, the version vector of a
// document, the offset of a replay. It holds at most one Point per origin. It is immutable; the zero value stands before everything.
//
// Text form: origin.lineage@term:sequence, joined by commas: eu.09c1@1:77,us.7f3a@1:1042. String writes the points in the
// order of their origins' names; ParsePosition accepts any order, and at most 64 points.
type Position struct {
	points []Point // sorted by origin
}

// At returns the position of the given points. A later point of the same origin replaces an earlier one.
func At(points ...Point) Position {
	var p Position
	for _, pt := range points {
		p = p.With(pt)
	}
	return p
}

// IsZero reports whether p names no origin.
func (p Position) IsZero() bool { return len(p.points) == 0 }

// Points returns the points, sorted by origin. The caller must not change them.
func (p Position) Points() []Point { return p.points }

// Point returns the point of an origin.
func (p Position) Point(origin string) (Point, bool) {
	for i := range p.points {
		if p.points[i].Origin == origin {
			return p.points[i], true
		}
	}
	return Point{}, false
}

// With returns p with the origin's point replaced.
func (p Position) With(pt Point) Position {
	i, found := slices.BinarySearchFunc(p.points, pt, func(a, b Point) int { return strings.Compare(a.Origin, b.Origin) })
	out := make([]Point, 0, len(p.points)+1)
	out = append(append(out, p.points[:i]...), pt)
	if found {
		i++
	}
	return Position{points: append(out, p.points[i:]...)}
}

// Equal reports whether p and q name the same points.
func (p Position) Equal(q Position) bool { return slices.Equal(p.points, q.points) }

// String returns the text form; the zero position is the empty text.
func (p Position) String() string {
	if len(p.points) == 0 {
		return ""
	}
	return string(p.append(make([]byte, 0, 48*len(p.points))))
}

func (p Position) append(b []byte) []byte {
	for i, pt := range p.points {
		if i > 0 {
			b = append(b, ',')
		}
		b = pt.append(b)
	}
	return b
}

// valid reports whether ParsePosition would read the text form of p.
func (p Position) valid() bool {
	for i := range p.points {
		if !p.points[i].valid() {
			return false
		}
	}
	return len(p.points) <= maxPoints
}

// MarshalText returns the text form.
func (p Position) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form.
func (p *Position) UnmarshalText(text []byte) error {
	q, err := ParsePosition(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}

// ParsePosition reads the text form. The empty text is the zero position. It returns ErrInvalidPosition.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	n := strings.Count(s, ",") + 1
	ok := n <= maxPoints
	if !ok {
		n = 0 // it is refused before anything is made of it
	}
	points := make([]Point, 0, n)
	for rest, more := s, ok; more && ok; {
		var part string
		var pt Point
		part, rest, more = strings.Cut(rest, ",")
		pt, ok = parsePoint(part)
		points = append(points, pt)
	}
	if ok && n > 1 {
		slices.SortFunc(points, func(a, b Point) int { return strings.Compare(a.Origin, b.Origin) })
		for i := range points[1:] {
			ok = ok && points[i].Origin != points[i+1].Origin
		}
	}
	if !ok {
		return Position{}, Errorf(ErrInvalidPosition, "%q is not a position", clip(s)).
			Hint("Pass a position as it was printed, for example us.7f3a@1:1042.")
	}
	return Position{points: points}, nil
}

func parsePoint(s string) (Point, bool) {
	origin, rest, ok1 := strings.Cut(s, ".")
	lineage, rest, ok2 := strings.Cut(rest, "@")
	term, seq, ok3 := strings.Cut(rest, ":")
	if !ok1 || !ok2 || !ok3 {
		return Point{}, false
	}
	t, ok4 := parseCanonical(term, 32)
	q, ok5 := parseCanonical(seq, 64)
	pt := Point{Origin: origin, Lineage: Lineage(lineage), Term: uint32(t), Sequence: q} //nolint:gosec // parsed with 32 bits
	return pt, ok4 && ok5 && pt.valid()
}

// parseCanonical reads a decimal number without sign or leading zeros.
func parseCanonical(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, bits)
	return n, err == nil && (s == "0" || s[0] != '0') && s[0] != '+'
}

// Merge returns the smallest position that covers p and q when both belong to the same histories: per origin the later
// of the two points. It returns ErrLostPosition when the two name different lineages of one origin.
// Merge is commutative, associative and idempotent.
func (p Position) Merge(q Position) (Position, error) {
	out := p
	for _, b := range q.points {
		a, ok := out.Point(b.Origin)
		switch {
		case ok && a.Lineage != b.Lineage:
			return Position{}, Errorf(ErrLostPosition, "%s and %s are of different histories and cannot be merged", a, b)
		case !ok, a.before(b):
			out = out.With(b)
		}
	}
	return out, nil
}

// before reports whether p is the earlier of two points of one history: by term, then by sequence. A point before the first
// record is earlier than every record, whatever its term.
func (p Point) before(q Point) bool {
	switch {
	case (p.Sequence == 0) != (q.Sequence == 0):
		return p.Sequence == 0
	case p.Term != q.Term:
		return p.Term < q.Term
	}
	return p.Sequence < q.Sequence
}
