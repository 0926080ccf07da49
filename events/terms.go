package events

import (
	"encoding/json"
	"slices"
)

// maxTerms bounds how many promotions a history can have: a term record cannot make a reader fill its memory.
const maxTerms = 10_000

// Terms is the history of one origin's leadership: its lineage, and where each term began. Term 1 begins at sequence 1.
// A record at sequence s belongs to the last term that began at or before s.
type Terms struct {
	Lineage Lineage
	// Starts holds the first sequence of term i+1 at index i, never falling. Starts[0] is 1. A term without a record,
	// because its leader was lost before anything of it was copied, starts where the next one does.
	Starts []uint64
}

// NewTerms returns the history of a log in its first term.
func NewTerms(l Lineage) Terms { return Terms{Lineage: l, Starts: []uint64{1}} }

// Current returns the newest term.
func (t Terms) Current() uint32 { return uint32(len(t.Starts)) } //nolint:gosec // a count of promotions

// Apply extends the history by a log's genesis or term record and ignores every other record. Records come in the order of
// their sequences. It returns ErrForeignHistory, and changes nothing, when the record contradicts the history: a genesis that is
// not the first record, a term of another lineage, or one that does not follow the current term. Only a log that was recreated,
// or a copy into which two histories were spliced, has such a record.
func (t *Terms) Apply(r *Record) error {
	if r.Kind != KindControl {
		return nil
	}
	switch r.Control.Name {
	case ControlGenesis:
		var g Genesis
		if err := json.Unmarshal(r.Control.Data, &g); err != nil || g.Format != GenesisFormat || !g.Lineage.Valid() {
			return Errorf(ErrForeignHistory, "sequence %d is not a genesis record of format %d", r.Sequence, GenesisFormat)
		}
		if r.Sequence != 1 || len(t.Starts) > 0 {
			return Errorf(ErrForeignHistory, "sequence %d is a second genesis record, of lineage %s", r.Sequence, g.Lineage)
		}
		*t = NewTerms(g.Lineage)
	case ControlTerm:
		var next Term
		if err := json.Unmarshal(r.Control.Data, &next); err != nil || next.Term > maxTerms {
			return Errorf(ErrForeignHistory, "sequence %d is a term record that cannot be read", r.Sequence)
		}
		if len(t.Starts) == 0 || next.Lineage != t.Lineage || next.Term <= t.Current() || r.Sequence <= t.Starts[len(t.Starts)-1] {
			return Errorf(ErrForeignHistory, "sequence %d begins term %d of lineage %s, which does not follow term %d of lineage %s",
				r.Sequence, next.Term, next.Lineage, t.Current(), t.Lineage)
		}
		starts := slices.Clone(t.Starts) // earlier copies of the history keep theirs
		for len(starts) < int(next.Term) {
			starts = append(starts, r.Sequence)
		}
		t.Starts = starts
	}
	return nil
}

// TermAt returns the term of the record at a sequence.
func (t Terms) TermAt(seq uint64) uint32 {
	for i := len(t.Starts) - 1; i > 0; i-- {
		if seq >= t.Starts[i] {
			return uint32(i) + 1 //nolint:gosec // a count of promotions
		}
	}
	return 1
}

// Torn reports whether a promotion cut the record's transaction off: a later term begins where the rest of it should stand. Then
// the record is void. It tells without its neighbours what Transactions tells of a whole log.
func (t Terms) Torn(r *Record) bool {
	tx := r.Stamp.Tx
	if tx.Alone() {
		return false
	}
	last := r.Sequence + uint64(tx.Count-tx.Index)
	i, _ := slices.BinarySearch(t.Starts, r.Sequence+1)
	return i < len(t.Starts) && t.Starts[i] <= last
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
	switch {
	case p.Lineage != t.Lineage || p.Term == 0:
		return false, true
	case p.Sequence == 0:
		return true, false // before the first record, whatever its term
	case p.Term > t.Current():
		return false, false
	case p.Sequence < t.Starts[p.Term-1]:
		return false, true // no such record: its term began later
	}
	if end, ended := t.end(p.Term); ended && p.Sequence > end {
		return false, true // in the tail that the next term left behind
	}
	return true, false
}

// CheckObserved returns ErrImpossiblePosition when an event that claims to have observed p cannot have seen it here: p names
// a place of this origin on another history, in a lost tail, or beyond the head. Places in other origins are not looked at:
// this log does not know them.
func (i Info) CheckObserved(p Position) error {
	pt, ok := p.Point(i.Origin)
	if !ok {
		return nil
	}
	if kept, _ := i.Terms.keeps(pt); !kept || pt.Sequence > i.Last {
		return Errorf(ErrImpossiblePosition, "the event claims to have observed %s, but the log is at %s; nothing was written", pt, i.Head()).
			Hint("Read the entity again and decide anew.")
	}
	return nil
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
// A point of an origin without a known history is lost. Only the origins that b names are looked at.
func (h Histories) Covers(a, b Position) Coverage {
	answer := Yes
	for _, pb := range b.points {
		terms, known := h[pb.Origin]
		if !known {
			return Lost
		}
		pa, ok := a.Point(pb.Origin)
		if !ok {
			pa = Point{Origin: pb.Origin, Lineage: terms.Lineage, Term: 1} // before everything
		}
		switch terms.covers(pa, pb) {
		case Lost:
			return Lost
		case No:
			answer = No
		case Yes:
		}
	}
	return answer
}

func (t Terms) covers(a, b Point) Coverage {
	keptA, lostA := t.keeps(a)
	keptB, lostB := t.keeps(b)
	switch {
	case lostA || lostB:
		return Lost
	case a.Sequence < b.Sequence:
		return No
	case keptA && keptB, b.Sequence == 0:
		return Yes
	case !keptA && !keptB && a.Term == b.Term:
		return Yes // a term has one leader, so its records form one line
	}
	// One of them is of a term this history has not heard of yet. That term may have begun below the other's sequence and
	// left it behind; only its term record tells.
	return No
}
