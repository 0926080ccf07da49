package projections

import "tidemark.dev/events"

// The codes of the read side.
const (
	// ErrInvalidProjection: a projection whose definition breaks a rule.
	ErrInvalidProjection = events.Code("invalid-projection")
	// ErrUnknownProjection: no projection of that name in this region.
	ErrUnknownProjection = events.Code("unknown-projection")
	// ErrDefinitionChanged: the projection's definition changed and its version did not.
	ErrDefinitionChanged = events.Code("definition-changed")
	// ErrVersionLowered: the read model was built by a higher version of the projection.
	ErrVersionLowered = events.Code("version-lowered")
	// ErrInvalidKey: a document key that is empty, too long or not UTF-8.
	ErrInvalidKey = events.Code("invalid-key")
	// ErrFenced: another projector owns the read model under a newer lease; nothing was written.
	ErrFenced = events.Code("fenced")
	// ErrLeaseLost: the lease ran out or was taken over.
	ErrLeaseLost = events.Code("lease-lost")
	// ErrUnavailable: the read model is missing, building or retired, so no answer about a document can be given.
	ErrUnavailable = events.Code("unavailable")
	// ErrNotReached: the read model did not reach the wanted position in time.
	ErrNotReached = events.Code("not-reached")
	// ErrNoDocument: the read model is complete at its position and has no document of that key.
	ErrNoDocument = events.Code("no-document")
	// ErrInvalidCursor: a cursor, or a token of a watch, that is malformed or of another query.
	ErrInvalidCursor = events.Code("invalid-cursor")
	// ErrResync: a cursor or a token that was good once and cannot be continued: its generation was replaced, or the changes since are not kept any more.
	ErrResync = events.Code("resync")
	// ErrInvalidQuery: a limit or another parameter out of bounds.
	ErrInvalidQuery = events.Code("invalid-query")
	// ErrUnknownIndex: the projection has no index of that name.
	ErrUnknownIndex = events.Code("unknown-index")
	// ErrReplayRunning: a replay of the projection is running already.
	ErrReplayRunning = events.Code("replay-running")
	// ErrUnknownReplay: no replay of that id is remembered.
	ErrUnknownReplay = events.Code("unknown-replay")
	// ErrInvalidOffset: an offset at which no replay can begin or end: 0, beyond the head, below what the log or the snapshots reach back to.
	ErrInvalidOffset = events.Code("invalid-offset")
	// ErrNotProven: a new generation was not proven equal, and that was required; nothing was switched.
	ErrNotProven = events.Code("not-proven")
	// ErrReplayCancelled: the replay was given up because somebody asked for it.
	ErrReplayCancelled = events.Code("replay-cancelled")
	// ErrNothingKept: there is no generation before the live one that could take its place.
	ErrNothingKept = events.Code("nothing-kept")
	// ErrUnknownCopy: the projection has no copy of that name.
	ErrUnknownCopy = events.Code("unknown-copy")
	// ErrCopyExists: the projection has a copy of that name already, or as many as it may have.
	ErrCopyExists = events.Code("copy-exists")
	// ErrUnknownSnapshot: no snapshot of that id is kept.
	ErrUnknownSnapshot = events.Code("unknown-snapshot")
	// ErrSnapshotDamaged: a snapshot is not what was put, or not of this read model.
	ErrSnapshotDamaged = events.Code("snapshot-damaged")
	// ErrStoreFull: the store has no memory left for what was to be written, or nearly so.
	ErrStoreFull = events.Code("store-full")
	// ErrRepairRunning: a repair of the projection is running already.
	ErrRepairRunning = events.Code("repair-running")
	// ErrWrongType: a key of the read model holds a value of another type; nothing was written.
	ErrWrongType = events.Code("wrong-type")
	// ErrNamespaceTaken: the store's namespace belongs to another installation.
	ErrNamespaceTaken = events.Code("namespace-taken")
	// ErrStoreUnreachable: the store did not answer, or refused for a reason of its own (read-only, out of memory, busy).
	ErrStoreUnreachable = events.Code("store-unreachable")
	// ErrDocumentDamaged: a stored document does not match its digest.
	ErrDocumentDamaged = events.Code("document-damaged")
	// ErrUntrustedLog: the region's copy of the log fails its audit, so nothing is applied from it.
	ErrUntrustedLog = events.Code("untrusted-log")
	// ErrInvalidSkip: a skip record that is not obeyed, or would not be; nothing was written.
	ErrInvalidSkip = events.Code("invalid-skip")
	// ErrTooManySkips: the projection has as many skips as a record holds; nothing was written.
	ErrTooManySkips = events.Code("too-many-skips")
	// ErrNotParked: the document is not parked, or not at that event; nothing was written.
	ErrNotParked = events.Code("not-parked")
	// ErrRevision: a key of the region's key-value store is not at the expected revision.
	ErrRevision = events.Code("wrong-revision")
	// ErrNoKey: the region's key-value store has no such key.
	ErrNoKey = events.Code("no-key")
)

// Codes lists every code of this package.
func Codes() []events.Code {
	return []events.Code{
		ErrInvalidProjection, ErrUnknownProjection, ErrDefinitionChanged, ErrVersionLowered, ErrInvalidKey, ErrFenced, ErrLeaseLost,
		ErrUnavailable, ErrNotReached, ErrNoDocument, ErrInvalidCursor, ErrResync, ErrInvalidQuery, ErrUnknownIndex, ErrReplayRunning, ErrUnknownReplay, ErrInvalidOffset, ErrNotProven,
		ErrReplayCancelled, ErrNothingKept, ErrUnknownCopy, ErrCopyExists, ErrUnknownSnapshot, ErrSnapshotDamaged, ErrStoreFull, ErrRepairRunning, ErrWrongType,
		ErrNamespaceTaken, ErrStoreUnreachable, ErrDocumentDamaged, ErrUntrustedLog, ErrInvalidSkip, ErrTooManySkips, ErrNotParked, ErrRevision, ErrNoKey, ErrMoved,
	}
}
