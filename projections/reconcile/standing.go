// Package reconcile finds where a region's read model is not what the log says.
//
// Regions are compared by what each recorded at the same mark of the log: at exactly that sequence, so that no lag and no write that goes on meanwhile is taken for a difference.
// Comparing tells that two regions differ, and in which partitions; which of them is wrong only the log can say.
package reconcile

import (
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// Sum is what a read model, or one of its partitions, had come to at a mark.
type Sum struct {
	Documents uint64             `json:"documents"`
	Digest    projections.Digest `json:"digest"`
}

// Mark is a mark that a read model passed with all its partitions, and what all of them had come to there.
type Mark struct {
	Sequence uint64 `json:"sequence"` // of the mark's record
	Number   uint64 `json:"number"`   // of the mark
	Sum
}

// Reason says why something is not known, or not well. The code is stable: one of those below, or that of the error that a region answered with.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// The codes of reasons that are no errors.
const (
	// ReasonAlone: there is no other region to compare with.
	ReasonAlone = "alone"
	// ReasonNoMarks: a read model has passed no mark yet with all its partitions.
	ReasonNoMarks = "no-marks"
	// ReasonNoCommonMark: two regions have recorded no mark that is the same.
	ReasonNoCommonMark = "no-common-mark"
	// ReasonOtherDefinition: two regions answer from different versions of the projection.
	ReasonOtherDefinition = "other-definition"
	// ReasonOtherHistory: the logs of two regions are not the same one.
	ReasonOtherHistory = "other-history"
	// ReasonAttached: the read model is folded from a stream that is not ours, which has no marks and is each region's own.
	ReasonAttached = "attached"
	// ReasonOverdue: the read model has passed no mark for longer than there should be none.
	ReasonOverdue = "overdue"
	// ReasonBehind: other regions have passed several marks that this one has not.
	ReasonBehind = "behind"
)

// Standing is what one region says of one read model: which marks it passed, and what it had come to there.
type Standing struct {
	Region     string `json:"region"`
	Projection string `json:"projection"`
	// Version and Definition (its fingerprint) are what the read model was folded with. Generation and Partitions are the region's own.
	Version    int    `json:"version,omitempty"`
	Definition string `json:"definition,omitempty"`
	Generation uint32 `json:"generation,omitempty"`
	Partitions int    `json:"partitions,omitempty"`
	// Stream is the one that is not ours and that the read model is folded from; empty: the installation's log.
	Stream string `json:"stream,omitempty"`
	// Position is the lowest checkpoint of the partitions.
	Position events.Position `json:"position,omitzero"`
	// Marks are those that all partitions have recorded, by rising sequence. Old ones are kept in steps that get wider.
	Marks []Mark `json:"marks,omitempty"`
	// Passed is when the newest of Marks was stored in the log, and Age how old that was then in seconds, by the region's clock; zero and nil when there is none, or the log did not say.
	Passed time.Time `json:"passed,omitzero"`
	Age    *float64  `json:"age_seconds,omitempty"`
	// Scrubbed is until when every stored document was compared with its digest; zero: not known.
	Scrubbed time.Time `json:"scrubbed,omitzero"`
	// At is what each partition had come to at the mark that was asked for.
	At *PartitionsAt `json:"at,omitempty"`
	// Unhealthy says why the marks say nothing of now, however equal they are; nil: they do.
	Unhealthy *Reason `json:"unhealthy,omitempty"`
	// Unknown says why the region says nothing of the read model; then nothing of the above is known but what is there.
	Unknown *Reason `json:"unknown,omitempty"`
}

// PartitionsAt is what each partition of a read model had come to at one mark.
type PartitionsAt struct {
	Sequence   uint64 `json:"sequence"`
	Number     uint64 `json:"number"`
	Partitions []Sum  `json:"partitions"` // in order
}

// Newest returns the newest mark; false when there is none.
func (s *Standing) Newest() (Mark, bool) {
	if len(s.Marks) == 0 {
		return Mark{}, false
	}
	return s.Marks[len(s.Marks)-1], true
}

// mark returns the one at a sequence.
func (s *Standing) mark(sequence uint64) (Mark, bool) {
	i, ok := slices.BinarySearchFunc(s.Marks, sequence, func(m Mark, seq uint64) int {
		switch {
		case m.Sequence < seq:
			return -1
		case m.Sequence > seq:
			return 1
		}
		return 0
	})
	if !ok {
		return Mark{}, false
	}
	return s.Marks[i], true
}

// Common returns the marks that all partitions have recorded, with their sums, by rising sequence. It takes what Store.Marks returns.
func Common(recorded [][]projections.PartitionMark) (common []Mark) {
	for _, m := range projector.SumMarks(recorded) {
		common = append(common, Mark{Sequence: m.Sequence, Number: m.Number, Sum: Sum{Documents: m.Documents, Digest: m.Digest}})
	}
	return common
}

// At returns what every partition had come to at the mark of a sequence; nil when one of them has not recorded it.
func At(recorded [][]projections.PartitionMark, sequence uint64) *PartitionsAt {
	at := &PartitionsAt{Sequence: sequence, Partitions: make([]Sum, len(recorded))}
	for i, list := range recorded {
		j := slices.IndexFunc(list, func(m projections.PartitionMark) bool { return m.Sequence == sequence })
		if j < 0 || i > 0 && list[j].Number != at.Number {
			return nil
		}
		at.Number, at.Partitions[i] = list[j].Number, Sum{Documents: list[j].Documents, Digest: list[j].Digest}
	}
	return at
}

// OverdueMarks is how many marks a read model may miss before it counts as unhealthy.
const OverdueMarks = 3

// Pace is how often a log gets a mark: while it is written to, and while nobody writes.
type Pace struct{ Interval, Idle time.Duration }

// Overdue reports whether a read model has passed no mark for longer than OverdueMarks of them take. newest is when the newest that it passed was stored, zero when there is none; next is when
// the first record behind that one was, zero when there is none: then nobody writes, and marks come at the idle pace. All are by the log's clock but now.
func (p Pace) Overdue(newest, next, now time.Time) bool {
	switch {
	case !next.IsZero():
		return now.Sub(next) > OverdueMarks*p.Interval
	case !newest.IsZero():
		return now.Sub(newest) > OverdueMarks*p.Idle
	}
	return false // the log is empty
}
