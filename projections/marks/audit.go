package marks

import (
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Audit is what a region has found about its copy of a log. It is kept in the region's KV under AuditKey, and changes by compare-and-set only.
type Audit struct {
	Origin string `json:"origin"`
	Region string `json:"region"`
	// Lineage of the log that was audited first. Another one under the same name is another log.
	Lineage events.Lineage `json:"lineage"`
	// Good are marks that were found right, rising: the newest one, and of those before it the ones that KeepsMark keeps. Up to the newest one's Upto the log is audited.
	Good []Good `json:"good,omitempty"`
	// Audited is when the newest of them was found right.
	Audited time.Time `json:"audited,omitzero"`
	// Full is when a pass from the first record on ended last without a finding.
	Full time.Time `json:"full,omitzero"`
	// Finding is what is wrong with the log. As long as there is one, nothing is applied from it.
	Finding *Finding `json:"finding,omitempty"`
	// Healed is what is to be done, or was done, after the last finding was gone.
	Healed *Healing `json:"healed,omitempty"`

	terms events.Terms // of the log, as of the last look
	first uint64       // the first sequence that the copy was made to hold, as of then; what is below is audited elsewhere
}

// Good is a mark that was found right.
type Good struct {
	Sequence uint64 `json:"sequence"`
	Number   uint64 `json:"number"`
	// Upto is the last sequence that it covers.
	Upto uint64 `json:"upto"`
	// Term in which it was written: a later one may have begun before it, and left it behind.
	Term uint32 `json:"term"`
	// Print is the fingerprint of the mark's own record: another one at its sequence shows another history.
	Print string `json:"print"`
}

// AuditKey is the key of what a region has found about its copy of a log.
func AuditKey(origin string) string { return "audit." + origin }

// last returns the newest good mark; zero when there is none.
func (a *Audit) last() Good {
	if n := len(a.Good); n > 0 {
		return a.Good[n-1]
	}
	return Good{}
}

// Upto returns the sequence up to which the log is audited.
func (a *Audit) Upto() uint64 { return a.last().Upto }

// leaveBehind forgets the marks that stand in the tail which a promotion left behind: they are not of this history any more, and that is no damage. What was folded from there the
// projectors refuse by themselves.
func (a *Audit) leaveBehind(terms events.Terms) {
	a.Good = slices.DeleteFunc(a.Good, func(g Good) bool {
		return int(g.Term) < len(terms.Starts) && terms.Starts[g.Term] <= g.Sequence
	})
}

// add takes a mark that was found right. The others that are kept are those that read models keep, so that they can be far apart.
func (a *Audit) add(g Good, now time.Time) {
	if g.Sequence <= a.last().Sequence {
		return
	}
	g.Term = a.terms.TermAt(g.Sequence)
	kept := make([]Good, 0, len(a.Good)+1)
	for _, old := range a.Good {
		if projections.KeepsMark(old.Number, g.Number) {
			kept = append(kept, old)
		}
	}
	kept = append(kept, g)
	a.Good, a.Audited = kept, now
}

// Kind is what is wrong with a log.
type Kind string

// The kinds of findings.
const (
	// Hole: records are missing, and others behind them are there.
	Hole Kind = "hole"
	// Altered: a record cannot be read, or the records are others than a mark says.
	Altered Kind = "altered"
	// Truncated: the log ends before what was audited.
	Truncated Kind = "truncated"
	// Recreated: it is another log of the same name.
	Recreated Kind = "recreated"
	// Forked: it is the same log, and holds other records than those that were audited.
	Forked Kind = "forked"
	// Unordered: the marks do not follow each other.
	Unordered Kind = "unordered"
)

// within reports whether what is wrong is found by reading the log; the others are found by what the log as a whole has become.
func (k Kind) within() bool { return k == Hole || k == Altered || k == Unordered }

// Finding is one thing that is wrong with a region's copy of a log.
type Finding struct {
	Kind Kind `json:"kind"`
	// From and To bound the sequences that are in question. To is 0 when nobody knows where it ends.
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"`
	// First is the first sequence that is wrong; with Exact it is known to be, otherwise it is the first that may be.
	First uint64 `json:"first"`
	Exact bool   `json:"exact"`
	// Text says what was seen.
	Text  string    `json:"text"`
	Found time.Time `json:"found"`
	// Holds are the other regions that hold the records as they were, sorted; Asked are those that were asked.
	Holds []string `json:"holds,omitempty"`
	Asked []string `json:"asked,omitempty"`
	// Mirror says that the region mirrors the log from a leader that holds the records, so that mirroring it again mends it.
	Mirror bool `json:"mirror,omitempty"`
	// Remirrored is when the region began to mirror the log again because of this finding.
	Remirrored time.Time `json:"remirrored,omitzero"`

	// At is the place between marks from which on it is found.
	At place `json:"at"`
	// Chain is that of the mark over the sequences From to To; empty when no mark covers them.
	Chain string `json:"chain,omitempty"`
}

// same reports whether two findings speak of the same thing.
func (f *Finding) same(g *Finding) bool {
	return f.Kind == g.Kind && f.From == g.From && f.To == g.To && f.Text == g.Text
}

// Healing is what follows a finding that is gone: read models may have been folded from what was wrong, so each of the region's is built again.
type Healing struct {
	Kind  Kind      `json:"kind"`
	First uint64    `json:"first"`
	Found time.Time `json:"found"`
	At    time.Time `json:"at"`
	// Replays are the projections for which no replay was asked for yet, each with the replay before, empty when there was none.
	Replays map[string]string `json:"replays,omitempty"`
}
