package projections

import (
	"context"
	"time"

	"tidemark.dev/events"
)

// Generation names one physical copy of a read model.
type Generation struct {
	Projection string
	Number     uint32 // from 1
	Partitions int
}

// PartitionState says whether a partition may answer.
type PartitionState string

// The states. A partition that does not exist has the empty state.
const (
	Absent   PartitionState = ""
	Building PartitionState = "building" // it has not reached its target yet
	Live     PartitionState = "live"
	Retired  PartitionState = "retired" // another generation took over
)

// Header is what a partition knows about itself. It changes only together with the documents it describes.
type Header struct {
	Partition int
	State     PartitionState
	// Owner is the fencing token of the projector that writes the partition.
	Owner uint64
	// Checkpoint is the position that is applied: the partition equals the fold of the history up to it.
	Checkpoint events.Position
	// Seen is the fingerprint of the record at the checkpoint: it proves that a log continues the same history.
	Seen events.Hash
	// Applied is the broker's time of the record at the checkpoint.
	Applied time.Time
	// Target is where building ends.
	Target events.Position
	// Documents counts documents, parked ones included; Parked counts the parked ones.
	Documents, Parked uint64
	// Unrouted counts events whose document could not be told; UnroutedLast says which was the last, and why.
	Unrouted     uint64
	UnroutedLast string
	// Digest sums up the documents.
	Digest Digest
	// Definition is the fingerprint of the definition that the partition was folded with.
	Definition string
}

// Document is a document as it is stored.
type Document struct {
	Key string
	// At is the position of the last event that changed it, in text form.
	At string
	// Parked says at which position and why the fold stopped; empty when it did not.
	Parked string
	// Digest is the document's digest as it was written.
	Digest Digest
	// Values are in the order of the definition's fields. A missing field is an error of Load, not an empty value.
	Values []string
}

// Ref names a document of a generation.
type Ref struct {
	Partition int
	Key       string
}

// Write is one document's new state.
type Write struct {
	Document
	// Create says that the document was not there before.
	Create bool
	// Remove says that the document is to go.
	Remove bool
}

// Commit is one atomic step on one partition: nothing of it takes effect unless the stored owner and checkpoint are the expected ones.
type Commit struct {
	Partition int
	// Expect is the checkpoint that must be stored now; Next.Owner is the owner that must be.
	Expect events.Position
	Next   Header
	Writes []Write
}

// Store keeps read models of one region. Every adapter passes the suite in storetest.
//
// Beside the named errors every method may return ErrStoreUnreachable (nothing can be said about the outcome of a write) and
// ErrWrongType.
type Store interface {
	// Headers returns the header of every partition, in order; a missing one has the state Absent.
	Headers(ctx context.Context, g Generation) ([]Header, error)

	// Claim makes owner the owner of every partition that exists and returns all headers. Partitions that are absent stay so.
	// It returns ErrFenced, and changes nothing from there on, when a partition has a larger owner.
	Claim(ctx context.Context, g Generation, owner uint64) ([]Header, error)

	// Create makes an absent partition with this header and no documents. Left-over documents and index entries of the partition are removed first.
	// It returns ErrFenced when the partition exists.
	Create(ctx context.Context, g Generation, h Header) error

	// Load returns the documents of refs, in order; nil for one that does not exist. def tells which fields to expect.
	// A document that lacks a field, or has one of another name, is returned with Values nil.
	Load(ctx context.Context, g Generation, def *Definition, refs []Ref) ([]*Document, error)

	// Apply executes the commits, each atomically, and returns one error for each, nil for success:
	// ErrFenced (another owner), ErrMoved (another checkpoint, or the partition is absent), ErrWrongType, ErrStoreUnreachable (may or may not have taken effect).
	// Everything is checked before the first write of a commit. Writes are absolute: executing one again changes nothing.
	Apply(ctx context.Context, g Generation, def *Definition, commits []Commit) []error

	// SetState changes the state of every partition that exists and whose owner is owner. It returns ErrFenced.
	SetState(ctx context.Context, g Generation, owner uint64, s PartitionState) error

	// Get returns a document and its partition's header from one atomic step; nil when there is none. A document that was removed behind the
	// store's back is returned with Values nil, as far as the store can tell.
	Get(ctx context.Context, g Generation, def *Definition, ref Ref) (Header, *Document, error)

	// Lookup returns the documents of refs, in order, and beside each of them its partition's header, in as few round trips as there are servers, and one more where a document is
	// not there. What Get says of one document holds for each: it is at least as new as its header, and nil only where a partition of that header has none.
	Lookup(ctx context.Context, g Generation, def *Definition, refs []Ref) ([]Header, []*Document, error)

	// Page returns, for one partition, its header and up to limit documents with keys above after, in byte order of keys. Header and
	// keys come from one atomic step; each document is at least as new as the header.
	Page(ctx context.Context, g Generation, def *Definition, partition int, after string, limit int) (Header, []Document, error)

	// Drop removes a generation in bounded steps. Dropping what is not there is no error.
	Drop(ctx context.Context, g Generation) error
}

// ErrMoved says that a partition is not at the checkpoint that the projector expected. It reads the headers again and goes on from there.
const ErrMoved = events.Code("checkpoint-moved")
