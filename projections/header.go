package projections

import (
	"fmt"
	"slices"

	"tidemark.dev/events"
)

// Sum adds up the digests and documents of a generation's partitions. The position is zero when the partitions are not all at
// the same one: then the digest means nothing.
func Sum(headers []Header) (digest Digest, documents uint64, at events.Position) {
	even := true
	for i := range headers {
		digest = digest.Add(headers[i].Digest)
		documents += headers[i].Documents
		even = even && headers[i].Checkpoint.Equal(headers[0].Checkpoint)
	}
	if even && len(headers) > 0 {
		at = headers[0].Checkpoint
	}
	return digest, documents, at
}

// PartitionMark is what a partition had come to at a mark: recorded in the atomic step in which it passed the mark, for exactly that sequence. Two copies of a read
// model that were folded from the same history with the same definition have the same sum over their partitions at the same mark.
type PartitionMark struct {
	Sequence  uint64 // of the mark's record
	Number    uint64 // of the mark
	Documents uint64
	Digest    Digest
}

// String returns the mark as stores keep it: sorted by bytes, marks are sorted by sequence. Form: sequence in 20 digits, number, documents, digest, with spaces between.
func (m PartitionMark) String() string {
	return fmt.Sprintf("%020d %d %d %s", m.Sequence, m.Number, m.Documents, m.Digest)
}

// ParseMark reads what String returns, and nothing else.
func ParseMark(s string) (m PartitionMark, ok bool) {
	var digest string
	if _, err := fmt.Sscanf(s, "%d %d %d %s", &m.Sequence, &m.Number, &m.Documents, &digest); err != nil {
		return PartitionMark{}, false
	}
	m.Digest, ok = ParseDigest(digest)
	if !ok || m.String() != s {
		return PartitionMark{}, false
	}
	return m, true
}

// Marks are kept in steps that get wider the older they are, so that copies far apart still have one in common and the history stays bounded: markStep of each width.
const (
	markStep  = 16
	markSteps = 4 // 16^4 marks, a week of them at one every ten seconds
	// MaxMarks bounds the marks that a partition keeps.
	MaxMarks = markStep * markSteps
)

// KeepsMark reports whether a partition that has passed the mark with the number newest keeps the one with another. It depends on the numbers alone, so every copy keeps the
// same ones.
func KeepsMark(number, newest uint64) bool {
	if number == 0 || number > newest {
		return false
	}
	width := uint64(1)
	for range markSteps {
		if number%width == 0 && (newest-number)/width < markStep {
			return true
		}
		width *= markStep
	}
	return false
}

// AddMark returns a partition's marks with one more, and those that it does not keep any longer. A mark that is not above the last one is not taken.
func AddMark(marks []PartitionMark, m PartitionMark) (kept, gone []PartitionMark) {
	if n := len(marks); m.Number == 0 || n > 0 && (marks[n-1].Number >= m.Number || marks[n-1].Sequence >= m.Sequence) {
		return marks, nil
	}
	kept = slices.DeleteFunc(slices.Clone(marks), func(old PartitionMark) bool {
		if KeepsMark(old.Number, m.Number) {
			return false
		}
		gone = append(gone, old)
		return true
	})
	return append(kept, m), gone
}
