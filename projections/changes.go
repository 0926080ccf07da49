package projections

import (
	"math"

	"tidemark.dev/events"
)

const (
	// ChangeEntries is how many entries a change log keeps at least: the newest ones. A store may keep a few more.
	ChangeEntries = 4_096
	// ChangeKeys is how many keys one entry has at most. A commit that writes more documents makes several entries.
	ChangeKeys = 64
)

// Change says that a commit wrote or removed a document.
type Change struct {
	// Sequence is that of the commit's checkpoint, see Commit.LogSequence: the document was changed by an event at or below it.
	Sequence uint64
	Key      string
}

// SequenceOf returns the sequence under which a change log has a commit with this checkpoint. With one origin that is the checkpoint's sequence. With several it
// is their sum, which grows with every commit just so.
func SequenceOf(checkpoint events.Position) (sum uint64) {
	for _, p := range checkpoint.Points() {
		sum += p.Sequence
	}
	return sum
}

// LogSequence returns the sequence under which a change log has the keys of the commit: that of the new checkpoint. A commit that does not move the checkpoint puts documents right
// that were not as they should be there. Whoever has read up to it does not read there again, so it is logged under the sequence behind it, and is told when the partition has come there.
func (c *Commit) LogSequence() uint64 {
	sequence := SequenceOf(c.Next.Checkpoint)
	if sequence == SequenceOf(c.Expect) && sequence < math.MaxUint64 {
		sequence++
	}
	return sequence
}
