package projections

import (
	"context"
	"iter"
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
	Loading  PartitionState = "loading"  // a snapshot is being written into it: it equals no fold of anything yet
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
	// At is the position of the last record that changed it, in text form: an event, or the skip record that released it.
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
	// Unindex are the entries of indexes that the document is to leave, and Index those that it is to get. Entries that it keeps are in neither. Entries of
	// Unindex go first, and one that is not there is no error.
	Unindex, Index []IndexEntry
}

// Commit is one atomic step on one partition: nothing of it takes effect unless the stored owner and checkpoint are the expected ones.
//
// A commit that leaves the partition live is also written into its change log: the keys of its writes, removed ones too, under its LogSequence. Without writes there is no entry.
//
// Next.Checkpoint may be Expect: then documents are put right, and nothing moves.
type Commit struct {
	Partition int
	// Expect is the checkpoint that must be stored now; Next.Owner is the owner that must be.
	Expect events.Position
	Next   Header
	Writes []Write
	// Marks are those that the partition passes with the commit, in order, and Unmark those that it forgets, as they were recorded. One of Unmark that is not there is no error.
	Marks, Unmark []PartitionMark
}

// Store keeps read models of one region. Every adapter passes the suite in storetest.
//
// A partition has documents, a list of their keys, indexes, recorded marks, and a change log. The change log begins when the partition becomes live, by whichever method, with an
// entry that has no keys, under the sequence of its checkpoint then; whatever was in it before is removed. While the partition is not live nothing
// is logged, so a replay does not pay for it.
//
// Beside the named errors every method may return ErrStoreUnreachable (nothing can be said about the outcome of a write) and
// ErrWrongType, and every method that writes ErrStoreFull: nothing was written.
type Store interface {
	// Headers returns the header of every partition, in order; a missing one has the state Absent.
	Headers(ctx context.Context, g Generation) ([]Header, error)

	// Claim makes owner the owner of every partition that exists and returns all headers. Partitions that are absent stay so.
	// It returns ErrFenced, and changes nothing from there on, when a partition has a larger owner.
	Claim(ctx context.Context, g Generation, owner uint64) ([]Header, error)

	// Create makes an absent partition with this header and no documents. Left-over documents, index entries, marks and changes of the partition are removed first.
	// It returns ErrFenced when the partition exists.
	Create(ctx context.Context, g Generation, h Header) error

	// Load returns the documents of refs, in order; nil for one that does not exist. def tells which fields to expect.
	// A document that lacks a field, or has one of another name, is returned with Values nil.
	Load(ctx context.Context, g Generation, def *Definition, refs []Ref) ([]*Document, error)

	// Apply executes the commits, each atomically, and returns one error for each, nil for success:
	// ErrFenced (another owner), ErrMoved (another checkpoint, or the partition is absent), ErrWrongType, ErrStoreUnreachable (may or may not have taken effect).
	// Everything is checked before the first write of a commit. Writes are absolute: executing one again changes nothing, but that the change log has its keys once more.
	// def tells which fields and indexes there are; a commit with an entry of an index that is not there is refused with ErrUnknownIndex.
	Apply(ctx context.Context, g Generation, def *Definition, commits []Commit) []error

	// Marks returns, for every partition in order, its header and the marks that it recorded, by rising sequence; both from one atomic step. An absent partition has none. What
	// cannot be read as a mark is left out: somebody put it there by hand.
	Marks(ctx context.Context, g Generation) ([]Header, [][]PartitionMark, error)

	// SetState changes the state of every partition that exists and whose owner is owner. It returns ErrFenced.
	SetState(ctx context.Context, g Generation, owner uint64, s PartitionState) error

	// Get returns a document and its partition's header from one atomic step; nil when there is none. A document that was removed behind the
	// store's back is returned with Values nil, as far as the store can tell.
	Get(ctx context.Context, g Generation, def *Definition, ref Ref) (Header, *Document, error)

	// Lookup returns the documents of refs, in order, and beside each of them its partition's header, in as few round trips as there are servers, and one more where a document is
	// not there. What Get says of one document holds for each: it is at least as new as its header, and nil only where a partition of that header has none.
	Lookup(ctx context.Context, g Generation, def *Definition, refs []Ref) ([]Header, []*Document, error)

	// Page returns, for one partition, its header and up to limit documents with keys above after, in byte order of keys. Header and
	// keys come from one atomic step; each document is at least as new as the header. A document that is listed and was removed behind the store's back, or whose name holds
	// something else by now, is returned with its key and nothing else: Values nil.
	Page(ctx context.Context, g Generation, def *Definition, partition int, after string, limit int) (Header, []Document, error)

	// Find returns, for one partition, its header and up to q.Limit entries of an index with their documents, in the byte order of value and then key, or from the
	// last to the first with q.Reverse. It returns fewer only at the end of the range. Header and entries come from one atomic step; each document is at
	// least as new as the header. So a document may have got another value since, or may be under a value that somebody wrote into the index by hand: whoever asks
	// compares Found.Value with Definition.IndexValue and leaves out what differs. A document that is in the index and was removed behind the store's back, or whose
	// name holds something else by now, is returned with Values nil. With q.Bare no document is read, and there is one Found for each entry, whether it has a document or not; one that
	// cannot be read is there with all of it as the value, and without a key. From an absent partition comes the header alone. It returns
	// ErrUnknownIndex, and ErrDocumentDamaged when an entry cannot be read and q.Bare is not set.
	Find(ctx context.Context, g Generation, def *Definition, partition int, q IndexQuery) (Header, []Found, error)

	// Count returns, for one partition, its header and the number of entries of an index from one encoded value up to another, the second one not counted, as in
	// IndexQuery; from one atomic step. An empty index counts all documents, as the header does, whatever the range.
	// It counts entries and does not look at documents, so it is as right as the index: see Find. It returns ErrUnknownIndex.
	Count(ctx context.Context, g Generation, def *Definition, partition int, index, from, to string) (Header, uint64, error)

	// Changes returns, for one partition, its header, the keys that were changed after a sequence, oldest first, and the log's floor, all from one atomic step or as if it
	// were one. A key is there once for each commit that wrote it. Only whole commits are returned: as many as it takes to have at least limit keys, so
	// the sequence of the last one is where to go on. Fewer than limit keys are all there are up to the header's checkpoint. What was put right at the checkpoint is logged behind it and
	// comes when the partition has moved, which it does with every mark.
	//
	// What a reader may rely on: when after is at or above floor, every document that differs between the states at after and at the header's checkpoint is in the list
	// or behind it. Documents that do not differ may be there too. When after is below floor the list is empty: the log does not reach back so far, because it was cut off at its
	// older end, or the partition became live later, or the log was lost or damaged. Then the reader goes through all documents, and begins anew at the checkpoint
	// of the header that came with them. The floor is the sequence of the oldest entry, but not above the checkpoint's, and that when there is none.
	//
	// A sequence is the log's and means the same in every copy of the read model that was folded from the same history with the same definition. So a reader goes on
	// with its sequence after the store was emptied, restored or failed over, and in the generation that a replay made; when the checkpoint is below its sequence, the
	// partition went back, and the reader waits until it has come back. That holds for live partitions; of any other only the header means something, and
	// an absent one answers with the header alone.
	//
	// An entry that somebody deletes from the middle of the log by hand is not missed.
	Changes(ctx context.Context, g Generation, partition int, after uint64, limit int) (h Header, list []Change, floor uint64, err error)

	// Inspect returns, for one partition, its header and what it has under the keys that are asked, in order, all from one atomic step: so it can be compared with what the log says at
	// the header's checkpoint. Nothing is judged here. From an absent partition comes the header alone. It returns ErrUnknownIndex, and events.ErrTooLarge for more than MaxInspected keys.
	Inspect(ctx context.Context, g Generation, def *Definition, partition int, asked []Inspected) (Header, []Inspected, error)

	// Sizes returns, for one partition, its header, how many keys its list of keys has, and how many entries each index has, by name: those of the definition, ParkedIndexName and
	// ExpiryIndexName; all from one atomic step. From an absent partition comes the header alone.
	Sizes(ctx context.Context, g Generation, def *Definition, partition int) (h Header, keys uint64, entries map[string]uint64, err error)

	// Strays yields what is under the name of a document and not in its partition's list of keys: no Page and no commit of the generation finds it. A partition that is absent has none. Each one
	// was seen there, and seen not to be listed, in one atomic step, so a document that is being made is never one. What is there from the beginning to the end of the walk is yielded,
	// in any order and maybe more than once; what comes or goes meanwhile, or is moved between servers, may be. The walk goes through all names of the store, also those of others, in
	// bounded steps, and ends with the first error.
	//
	// listed says which documents whoever asks has seen listed: these are not looked at, which spares the store most of the work. nil: none.
	Strays(ctx context.Context, g Generation, listed func(Ref) bool) iter.Seq2[Ref, error]

	// Drop removes a generation in bounded steps. Dropping what is not there is no error.
	Drop(ctx context.Context, g Generation) error

	// Memory says how much memory the store uses and may use.
	Memory(ctx context.Context) (Memory, error)
}

// ErrMoved says that a partition is not at the checkpoint that the projector expected. It reads the headers again and goes on from there.
const ErrMoved = events.Code("checkpoint-moved")
