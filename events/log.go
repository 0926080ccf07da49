package events

import (
	"context"
	"iter"
	"time"
)

// Bounds of an append.
const (
	// MaxBatch is the largest number of records in one append.
	MaxBatch = 1_000
	// MaxBatchBytes bounds the payloads of one append together.
	MaxBatchBytes = 8 << 20
	// DefaultDuplicateWindow is how long a log recognises an event it already has by source and id alone.
	DefaultDuplicateWindow = 2 * time.Minute
)

// Log is one origin's ordered history. Sequences begin at 1 and have no holes. Every adapter passes the suite in logtest. A stream of
// somebody else's can be read like one, as far as Info.Sparse says.
type Log interface {
	Appender
	Reader
}

// Appender writes.
//
// An event is known by its source and id, so appending the same again is safe: the answer is a Receipt with Duplicate set, even
// when the expectation no longer holds, because the first attempt itself moved the entity. That is promised
//
//   - within the log's duplicate window, by the broker's time, for every append of events;
//   - at any age, for an append that expects an exact sequence, or none, of all its entities.
//
// Beyond the window an append without expectations is stored a second time. Control records have no id: an append of controls
// alone is not recognised, and only its expectations tell that it was stored before.
type Appender interface {
	// Submit queues an append and returns at once, unless so many appends are unfinished that it has to wait for room.
	// Appends that one goroutine submits for the same entity are stored in the order in which they were submitted.
	// An error means that nothing was queued: the batch is invalid (ErrInvalidEvent, ErrInvalidEntity, ErrInvalidData,
	// ErrInvalidBatch, ErrTooLarge, ErrImpossiblePosition), a clock is wrong (ErrClockAhead), the log is closed (ErrClosed),
	// or ctx ended while waiting for room: then the error is the context's cause.
	// After Submit returned, ctx no longer matters. The batch's data must not be changed until the outcome is known.
	Submit(ctx context.Context, b Batch) (*Pending, error)

	// Append submits and waits. Beside the errors of Submit it returns those of Pending.Wait.
	Append(ctx context.Context, b Batch) (Receipt, error)
}

// Batch is an append: all of its records are stored next to each other, or none is.
type Batch struct {
	Events []Event
	// Expect holds what the writer expects of an entity; an entity that is not in it may be at any sequence.
	Expect map[Entity]Expectation
	// Controls follow the events in the same transaction. Only machinery uses them.
	Controls []ControlWrite
}

// ControlWrite is a control record with the expected last sequence of its own name.
type ControlWrite struct {
	Control
	Expect Expectation
}

// One returns the batch of a single event.
func One(e Event, x Expectation) Batch {
	b := Batch{Events: []Event{e}}
	if x != (Expectation{}) {
		b.Expect = map[Entity]Expectation{e.Entity: x}
	}
	return b
}

// Expectation is a condition on an entity's last sequence at the moment of the append. The zero Expectation is none: any sequence will do.
type Expectation struct {
	exact bool
	seq   uint64
}

// ExpectAny is the expectation that always holds.
func ExpectAny() Expectation { return Expectation{} }

// ExpectNone expects that the entity has no event yet.
func ExpectNone() Expectation { return Expectation{exact: true} }

// ExpectExactly expects seq as the sequence of the entity's last event; 0 is ExpectNone.
func ExpectExactly(seq uint64) Expectation { return Expectation{exact: true, seq: seq} }

// Sequence returns the expected last sequence, and whether one is expected.
func (x Expectation) Sequence() (uint64, bool) { return x.seq, x.exact }

// Receipt tells where an append stands in the log.
type Receipt struct {
	// Position of the last record.
	Position Position
	// First and Last are the sequences of the first and last record.
	First, Last uint64
	// Duplicate says that the same events were in the log already and nothing was written now. First and Last are their
	// lowest and highest sequences; they need not be next to each other when the events were appended one by one.
	Duplicate bool
}

// Pending is a submitted append.
type Pending struct {
	done    chan struct{}
	receipt Receipt
	err     error
}

// NewPending returns a Pending and the function that finishes it, to be called once. For adapters.
func NewPending() (*Pending, func(Receipt, error)) {
	p := &Pending{done: make(chan struct{})}
	return p, func(r Receipt, err error) {
		p.receipt, p.err = r, err
		close(p.done)
	}
}

// Done is closed when the outcome is known.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns the outcome: a receipt, or one of
//
//   - ErrConflict (a *ConflictError): an expectation does not hold; nothing was written.
//   - ErrIDConflict: an event with the same source and id and other content exists, or only some of the events
//     exist; nothing was written. The error names the event.
//   - ErrUnknownOutcome: it could not be found out in time whether the append is stored. Append the same again.
//   - ErrUnreachable, ErrUnauthorized, ErrNoLog, ErrTooLarge, ErrImpossiblePosition, ErrOverloaded, ErrClockAhead: nothing was written.
//     Of an append that is made again after ErrUnknownOutcome they speak of the new attempt only: the first one may be stored.
//   - ErrClosed: the log was closed before the append was sent; nothing was written.
//
// When ctx ends first, Wait returns ErrUnknownOutcome; the append goes on.
func (p *Pending) Wait(ctx context.Context) (Receipt, error) {
	select {
	case <-p.done:
		return p.receipt, p.err
	default:
	}
	select {
	case <-p.done:
		return p.receipt, p.err
	case <-ctx.Done():
		return Receipt{}, Errorf(ErrUnknownOutcome, "waiting for the append ended before its outcome was known: %w", context.Cause(ctx)).
			Hint("Append the same events (same ids, same expectation) again: that resolves it.")
	}
}

// Info describes a log at one moment, as its leader knows it.
type Info struct {
	Origin string
	Terms  Terms
	// Begins is the first sequence that this copy was made to hold: above 1 where a region joined later. What is below is read over the link to the leader, and only while that is up. 0 means 1.
	Begins uint64
	First  uint64 // the first retained sequence; above Begins something is missing
	Last   uint64 // the head; 0 when the log is empty
	// Time is when the leader stored the head.
	Time time.Time
	// Sparse says that this is no log of ours but a stream of somebody else's, from which messages may be missing: Read yields a record of
	// a kind that is Gone in their place, and Record does not find them.
	Sparse bool
}

// Position returns the position of a sequence of this log.
func (i Info) Position(seq uint64) Position { return At(i.Terms.Point(i.Origin, seq)) }

// Head returns the position of the last record.
func (i Info) Head() Position { return i.Position(i.Last) }

// Range says which records to read.
type Range struct {
	// From is the first sequence; 0 means 1.
	From uint64
	// To is the last sequence; 0 means the head when the iteration begins, unless Follow is set. So does a To beyond the
	// head, unless Follow is set: then its record is waited for.
	To uint64
	// Follow goes on with new records until the context ends.
	Follow bool
	// Batch bounds the records yielded at once; 0 means DefaultReadBatch.
	Batch int
}

// DefaultReadBatch is the largest number of records that Read yields at once unless told otherwise.
const DefaultReadBatch = 5_000

// Reader reads. All its methods see the region's own copy of the log. Beside the errors they name, those that take a context
// return its cause when it ended, ErrUnauthorized, and ErrClosed when the log was closed.
type Reader interface {
	// Origin returns the origin's name.
	Origin() string

	// Info returns the log's identity and bounds. Errors: ErrUnreachable, ErrUnauthorized, ErrNoLog, ErrForeignHistory (no genesis).
	Info(ctx context.Context) (Info, error)

	// Read yields the records of r in sequence order, without a hole, each content checked, some at a time. (Of a log that is Sparse contents
	// cannot be checked, and a hole is what the log itself does not say is Gone.) When it has reached the end of
	// what is stored now, it yields what it has without waiting for a full batch. The yielded slice is valid until the next step of
	// the iteration; a Record copied from it, and what that refers to, stays valid and must not be changed. The iteration ends after r.To,
	// or with one error after every record before it was yielded: ErrHole, ErrDamaged, ErrForeignHistory (the log ends before
	// r.From-1, or was recreated or cut back while reading), ErrUnreachable, ErrNoLog, or the context's cause.
	Read(ctx context.Context, r Range) iter.Seq2[[]Record, error]

	// Record returns one record: ErrNotFound, ErrDamaged, ErrUnreachable, ErrNoLog.
	Record(ctx context.Context, seq uint64) (Record, error)

	// History yields an entity's records with sequence >= from, in order, each content checked. Errors end it:
	// ErrInvalidEntity, ErrDamaged, ErrUnreachable, ErrNoLog. It ends at what was stored when it began, or later.
	History(ctx context.Context, e Entity, from uint64) iter.Seq2[Record, error]

	// LastControl returns the newest control record of a name: ErrNotFound, ErrDamaged, ErrUnreachable, ErrNoLog.
	LastControl(ctx context.Context, name string) (Record, error)

	// Controls yields the control records of a name with sequence >= from, in order, each content checked. A name that no control record
	// can have has none. Errors end it: ErrDamaged, ErrUnreachable, ErrNoLog. It ends at what was stored when it began, or later.
	Controls(ctx context.Context, name string, from uint64) iter.Seq2[Record, error]
}
