package events

import (
	"errors"
	"fmt"
	"strings"
)

// Code is a stable, machine-readable name of a failure. Codes are part of the public contract: the command line prints
// them, HTTP puts them into problem documents, and a script may compare them. A Code is itself an error, so that
// errors.Is(err, events.ErrConflict) works on every error that carries it.
type Code string

// Error returns the code.
func (c Code) Error() string { return string(c) }

// The codes of the log.
const (
	// ErrInvalidEvent: an attribute of the event is missing, malformed or out of bounds.
	ErrInvalidEvent = Code("invalid-event")
	// ErrInvalidEntity: the entity's type or id is empty, too long, not UTF-8, or the type has a forbidden character.
	ErrInvalidEntity = Code("invalid-entity")
	// ErrInvalidData: the payload says it is JSON and is not, nests too deep, repeats a key, or holds a number no reader can represent.
	ErrInvalidData = Code("invalid-data")
	// ErrTooLarge: the event or the batch is over a bound.
	ErrTooLarge = Code("too-large")
	// ErrInvalidBatch: an append without events, or with expectations that contradict each other.
	ErrInvalidBatch = Code("invalid-batch")
	// ErrInvalidPosition: a text that is not a position.
	ErrInvalidPosition = Code("invalid-position")
	// ErrLostPosition: a position of a history that is not this one: another lineage, or a tail that a failover left behind.
	ErrLostPosition = Code("lost-position")
	// ErrImpossiblePosition: an event claims to have observed what the log does not hold.
	ErrImpossiblePosition = Code("impossible-position")
	// ErrConflict: the entity's last sequence is not the expected one; nothing was written. See ConflictError.
	ErrConflict = Code("conflict")
	// ErrIDConflict: an event with the same source and id but other content is in the log already, or only some events of an
	// append are in it already; nothing was written.
	ErrIDConflict = Code("id-conflict")
	// ErrUnknownOutcome: the append may or may not be in the log, and it could not be found out in time. Sending the
	// same events (same ids, same expectation) again is safe and resolves it.
	ErrUnknownOutcome = Code("unknown-outcome")
	// ErrUnreachable: the log's servers did not answer; nothing was written.
	ErrUnreachable = Code("unreachable")
	// ErrUnauthorized: the servers refused the credentials, or the right is missing.
	ErrUnauthorized = Code("unauthorized")
	// ErrNoLog: the servers answer, but this origin's log does not exist.
	ErrNoLog = Code("no-log")
	// ErrUnsafeLog: the log exists with settings under which a guarantee would not hold.
	ErrUnsafeLog = Code("unsafe-log")
	// ErrHole: a sequence that must exist is missing from the log.
	ErrHole = Code("hole")
	// ErrEvicted: a stream that is not ours does not retain any more what was to be read next.
	ErrEvicted = Code("evicted")
	// ErrDamaged: a record's content does not match its hash.
	ErrDamaged = Code("damaged")
	// ErrForeignHistory: the log is not the one that was read before: recreated, truncated, or of another lineage.
	ErrForeignHistory = Code("foreign-history")
	// ErrNotFound: no record at that sequence.
	ErrNotFound = Code("not-found")
	// ErrClockAhead: a timestamp, or the time of a new event, is further ahead of the wall clock than its bound.
	ErrClockAhead = Code("clock-ahead")
	// ErrOverloaded: there was no room for the request; nothing was done.
	ErrOverloaded = Code("overloaded")
	// ErrNotConfirmed: the append is stored, and fewer regions than wanted had confirmed it in time.
	ErrNotConfirmed = Code("not-confirmed")
	// ErrClosed: the log was closed by its owner.
	ErrClosed = Code("closed")
)

// Codes lists every code of this package, for tables that must be complete.
func Codes() []Code {
	return []Code{
		ErrInvalidEvent, ErrInvalidEntity, ErrInvalidData, ErrTooLarge, ErrInvalidBatch, ErrInvalidPosition, ErrLostPosition,
		ErrImpossiblePosition, ErrConflict, ErrIDConflict, ErrUnknownOutcome, ErrUnreachable, ErrUnauthorized, ErrNoLog,
		ErrUnsafeLog, ErrHole, ErrEvicted, ErrDamaged, ErrForeignHistory, ErrNotFound, ErrClockAhead, ErrOverloaded, ErrNotConfirmed, ErrClosed,
	}
}

// Error is a failure told to a person: what happened (and what was not done), and what to do next.
type Error struct {
	Code Code
	What string // what happened, and what was not done
	Next string // what to do next; may be empty
	Err  error  // the cause; may be nil
}

// Errorf makes an Error with a formatted What. Arguments wrapped by %w become the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if _, several := err.(interface{ Unwrap() []error }); several {
		cause = err
	}
	return &Error{Code: code, What: err.Error(), Err: cause}
}

// Hint returns e with Next set.
func (e *Error) Hint(format string, args ...any) *Error {
	e.Next = fmt.Sprintf(format, args...)
	return e
}

// Error returns "code: what. next".
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.What
	if e.Next != "" {
		s = strings.TrimRight(s, ".") + ". " + e.Next
	}
	return s
}

// Is reports whether target is e's code.
func (e *Error) Is(target error) bool { return target == e.Code }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code that err carries, and whether it carries one.
func CodeOf(err error) (Code, bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code, true
	}
	if _, ok := errors.AsType[*ConflictError](err); ok {
		return ErrConflict, true
	}
	if c, ok := errors.AsType[Code](err); ok {
		return c, true
	}
	return "", false
}

// ConflictError says that an entity, or a control record, is not where the writer expected it. It is an ErrConflict.
// Nothing was written.
type ConflictError struct {
	Entity   Entity // zero when it is a control record's expectation that does not hold
	Control  string // the control record's name; empty when it is an entity's
	Expected uint64 // the sequence the writer expected as the last; 0: none at all
	Actual   uint64 // the last sequence in the log; 0: there is none
}

// Error says what was expected and found.
func (e *ConflictError) Error() string {
	name := e.Entity.String()
	if e.Control != "" {
		name = e.Control
	}
	return fmt.Sprintf("%s: %q is at sequence %d, expected %d; nothing was written. Read it again and decide anew",
		ErrConflict, clip(name), e.Actual, e.Expected)
}

// Is reports whether target is ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
