package memstore

import (
	"slices"

	"tidemark.dev/projections"
)

// changeLog is a partition's change log.
type changeLog struct {
	entries []ChangeEntry
	foreign bool // something else is under its name
}

func (l *changeLog) clone() changeLog {
	return changeLog{entries: slices.Clone(l.entries), foreign: l.foreign}
}

// begin forgets everything: the partition became live.
func (l *changeLog) begin(sequence uint64) {
	l.entries = []ChangeEntry{{Sequence: sequence}}
}

// add logs a commit. A log that is ahead of it was not written by its partition, and begins anew.
func (l *changeLog) add(sequence uint64, writes []projections.Write) {
	if n := len(l.entries); n > 0 && l.entries[n-1].Sequence > sequence && len(writes) > 0 {
		l.entries = nil
	}
	for chunk := range slices.Chunk(writes, projections.ChangeKeys) {
		keys := make([]string, len(chunk))
		for i := range chunk {
			keys[i] = chunk[i].Key
		}
		l.entries = append(l.entries, ChangeEntry{Sequence: sequence, Keys: keys})
	}
	if over := len(l.entries) - projections.ChangeEntries; over > 0 {
		l.entries = l.entries[over:]
	}
}

// after returns the changes after a sequence and up to another: whole commits, until at least limit keys are together.
func (l *changeLog) after(sequence, now uint64, limit int) []projections.Change {
	var out []projections.Change
	for _, e := range l.entries {
		if e.Sequence <= sequence || e.Sequence > now {
			continue
		}
		if n := len(out); n >= limit && (n == 0 || out[n-1].Sequence != e.Sequence) {
			break
		}
		for _, key := range e.Keys {
			out = append(out, projections.Change{Sequence: e.Sequence, Key: key})
		}
	}
	return out
}

// floor returns the sequence of the oldest entry, or that of the partition, which is now.
func (l *changeLog) floor(now uint64) uint64 {
	if len(l.entries) > 0 {
		return min(l.entries[0].Sequence, now)
	}
	return now
}
