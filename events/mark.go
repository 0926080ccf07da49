package events

import (
	"encoding/json"
	"time"
)

// ControlMark is a mark: a control record at which every read model does what time asks of it, and at which what it is by then is written down, so that copies can be
// compared. Data: Mark as JSON.
const ControlMark = "mark"

// MaxMarkRange bounds the records that the chain of one mark covers, so that whoever writes or checks one reads a bounded part of the log. A log that got no marks for long
// is covered by the next ones, one range after the other.
const MaxMarkRange = 500_000

// Mark is the content of a mark. Only the log changes a read model, so time passes for it at marks and nowhere else.
type Mark struct {
	// Time is when it was written, by its writer's clock.
	Time time.Time `json:"time"`
	// Number counts the marks of the log from 1; 0: it says nothing of the records before it.
	Number uint64 `json:"number,omitempty"`
	// After and Upto bound the sequences that Chain covers: those above After, up to Upto, which is below the mark's own. After is Upto of the mark before, or 0.
	After uint64 `json:"after,omitempty"`
	Upto  uint64 `json:"upto,omitempty"`
	// Chain is the sum of a Chain over these records. Every copy of the log has to come to the same.
	Chain string `json:"chain,omitempty"`
}

// MarkOf returns what a record says as a mark, or false for any other record and for one whose data cannot be read: that is a record like any other, in every region.
func MarkOf(r *Record) (m Mark, ok bool) {
	if r.Kind != KindControl || r.Control.Name != ControlMark {
		return Mark{}, false
	}
	if err := json.Unmarshal(r.Control.Data, &m); err != nil || m.Time.IsZero() {
		return Mark{}, false
	}
	return m, true
}

// Covers reports whether the mark, which is at a sequence, says something of records before it, and what it covers.
func (m *Mark) Covers(sequence uint64) (chain Hash, ok bool) {
	if m.Number == 0 || m.After > m.Upto || m.Upto >= sequence || m.Upto-m.After > MaxMarkRange {
		return chain, false
	}
	return parseHash(m.Chain)
}

// At returns the time that the mark stands for, which is the content of a record: the earlier one of the writer's time and the broker's, so that one clock that is ahead lets
// nothing expire early.
func (m *Mark) At(r *Record) time.Time {
	if r.Time.Before(m.Time) {
		return r.Time
	}
	return m.Time
}

// MarkTime returns the time that a mark stands for, or false for what MarkOf does not take for one.
func MarkTime(r *Record) (time.Time, bool) {
	m, ok := MarkOf(r)
	if !ok {
		return time.Time{}, false
	}
	return m.At(r), true
}
