package events

// Terms is the history of one origin's leadership: its lineage, and where each term began. Term 1 begins at sequence 1.
// A record at sequence s belongs to the last term that began at or before s.
type Terms struct {
	Lineage Lineage
	// Starts holds the first sequence of term i+1 at index i, never falling. Starts[0] is 1.
	Starts []uint64
}

// NewTerms returns the history of a log in its first term.
func NewTerms(l Lineage) Terms { return Terms{Lineage: l, Starts: []uint64{1}} }

// Current returns the newest term.
func (t Terms) Current() uint32 { return uint32(len(t.Starts)) } //nolint:gosec // a count of promotions

// TermAt returns the term of the record at a sequence.
func (t Terms) TermAt(seq uint64) uint32 {
	for i := len(t.Starts) - 1; i > 0; i-- {
		if seq >= t.Starts[i] {
			return uint32(i) + 1 //nolint:gosec // a count of promotions
		}
	}
	return 1
}

// Point returns the point at a sequence of this history.
func (t Terms) Point(origin string, seq uint64) Point {
	return Point{Origin: origin, Lineage: t.Lineage, Term: t.TermAt(seq), Sequence: seq}
}

// end returns the last sequence that the history keeps of a term, and whether the term has ended.
func (t Terms) end(term uint32) (uint64, bool) {
	if int(term) < len(t.Starts) {
		return t.Starts[term] - 1, true
	}
	return 0, false
}

// keeps reports whether the point lies on this history as far as it is known, and if not whether it is certain that it
// never will: false, true is a lost point; false, false a point of a term not yet known.
func (t Terms) keeps(p Point) (kept, lost bool) {
	if p.Lineage != t.Lineage || p.Term == 0 {
		return false, true
	}
	if p.Term > t.Current() {
		return false, false
	}
	if p.Sequence > 0 && p.Sequence < t.Starts[p.Term-1] {
		return false, true // no such record: its term began later
	}
	if end, ended := t.end(p.Term); ended && p.Sequence > end {
		return false, true // in the tail that the next term left behind
	}
	return true, false
}

// Histories holds the known terms of each origin, by its name.
type Histories map[string]Terms

// Coverage is the answer to "does a cover b".
type Coverage uint8

// The three answers.
const (
	// No: a does not hold everything of b yet. Waiting can help.
	No Coverage = iota
	// Yes: everything up to b is contained in a.
	Yes
	// Lost: b, or a, lies on a history that is not ours: another lineage, or a tail left behind by a failover. Waiting cannot help.
	Lost
)

// String returns the answer in lower case.
func (c Coverage) String() string {
	switch c {
	case No:
		return "no"
	case Yes:
		return "yes"
	default:
		return "lost"
	}
}

// Covers answers whether a covers b: whether a read model at a contains everything up to b. Positions can be compared
// only through the history of terms, because a failover can leave a tail behind whose sequences are given out again.
// A point of an origin without a known history is lost.
func (h Histories) Covers(a, b Position) Coverage {
	answer := Yes
	for _, pb := range b.points {
		terms, known := h[pb.Origin]
		if !known {
			return Lost
		}
		keptB, lostB := terms.keeps(pb)
		if lostB {
			return Lost
		}
		pa, ok := a.Point(pb.Origin)
		if !ok {
			if pb.Sequence > 0 {
				answer = No
			}
			continue
		}
		keptA, lostA := terms.keeps(pa)
		switch {
		case lostA:
			return Lost
		case keptA && keptB && pa.Sequence >= pb.Sequence:
		case !keptA && keptB && pa.Term > pb.Term && pa.Sequence >= pb.Sequence:
			// a is of a term this history has not heard of yet, so it may have left part of b's term behind.
			answer = No
		case !keptA && !keptB && pa.Term == pb.Term && pa.Sequence >= pb.Sequence:
		default:
			answer = No
		}
	}
	return answer
}
