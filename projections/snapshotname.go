package projections

import (
	"cmp"
	"slices"
	"strings"

	"tidemark.dev/events"
)

// maxSnapshotID bounds a snapshot's id, in bytes.
const maxSnapshotID = 64

// ValidateSnapshot returns ErrInvalidProjection or ErrInvalidKey unless projection may name a projection and id a snapshot of it: a token of [a-z0-9-] of at most 64 bytes.
func ValidateSnapshot(projection, id string) error {
	if !ValidName(projection) {
		return events.Errorf(ErrInvalidProjection, "%.80q is no name of a projection, so there are no snapshots of it", projection).
			Hint("A name is [a-z][a-z0-9-]*, at most %d bytes.", maxName)
	}
	if id == "" || len(id) > maxSnapshotID || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return events.Errorf(ErrInvalidKey, "%.80q is no id of a snapshot", id).Hint("An id is made of a-z 0-9 and -, at most %d bytes.", maxSnapshotID)
	}
	return nil
}

// SortSnapshots puts snapshots in the order of a list: the one of the largest sequence first; of the same sequence the one that was taken last.
func SortSnapshots(list []Snapshot) {
	slices.SortFunc(list, func(a, b Snapshot) int {
		return cmp.Or(cmp.Compare(b.Sequence, a.Sequence), b.Taken.Compare(a.Taken), strings.Compare(a.ID, b.ID))
	})
}
