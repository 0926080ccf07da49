// Package snapshots writes read models as one stream of bytes, and reads them again. What was read is right, or an error says that it is not: every document is summed up into the digest
// that its partition recorded, and all of it into one hash.
//
// The form: a Zstandard stream. Its content begins with a line that names the form, and a line of JSON, the projections.Snapshot. Then, for each partition in order, the byte 'P' and
// its header as JSON, 'D' and a document for each of its documents, in any order, and 'E' and their number. It ends with 'Z' and the SHA-256 of all bytes before. Texts have their length in front
// of them, as an unsigned varint; a document is its key, its position, its reason of parking, the number of its values, and these.
package snapshots

import (
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	form = "tidemark snapshot 1\n"

	tagPartition = 'P'
	tagDocument  = 'D'
	tagEnd       = 'E'
	tagSum       = 'Z'

	// maxText bounds a text that is read. A document is smaller than an event, and a header than that.
	maxText = 16 << 20
	// maxValues bounds the values of a document that is read.
	maxValues = 1 << 16
)

// header is what is kept of a partition's header: what the log and the documents do not say.
type header struct {
	Partition    int                `json:"partition"`
	Seen         events.Hash        `json:"seen"`
	Applied      time.Time          `json:"applied"`
	Documents    uint64             `json:"documents"`
	Parked       uint64             `json:"parked"`
	Unrouted     uint64             `json:"unrouted"`
	UnroutedLast string             `json:"unrouted_last,omitempty"`
	Digest       projections.Digest `json:"digest"`
}

func damaged(format string, args ...any) error {
	return events.Errorf(projections.ErrSnapshotDamaged, format, args...)
}
