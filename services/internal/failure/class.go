package failure

import (
	"context"
	"errors"
	"net/http"

	"tidemark.dev/events"
)

// Exit codes of the command line.
const (
	ExitDone    = 0 // done
	ExitNotMet  = 1 // a condition is not met: a conflict, no such document, a position not reached
	ExitBad     = 2 // bad input: the same command will fail again
	ExitUnknown = 3 // something did not answer, or the outcome is not known: the same command may succeed later
)

// Class is what a code means.
type Class struct {
	Exit   int
	Status int
	Title  string
	// Later says that the same request may succeed later: an HTTP answer gets a Retry-After.
	Later bool
}

// ClassOf returns what a code means; ok is false for a code that is in no table.
func ClassOf(code events.Code) (c Class, ok bool) {
	for _, table := range [...]func(events.Code) Class{ofLog, ofReadSide, ofMending, ofInfra, ofServices} {
		if c = table(code); c.Status != 0 {
			return c, true
		}
	}
	return Class{}, false
}

// Code returns the code of an error. Errors of contexts and of HTTP bodies have one too; everything else is ErrInternal.
func Code(err error) events.Code {
	var tooLarge *http.MaxBytesError
	switch code, ok := events.CodeOf(err); {
	case ok:
		return code
	case errors.As(err, &tooLarge):
		return events.ErrTooLarge
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimedOut
	case errors.Is(err, context.Canceled):
		return ErrInterrupted
	}
	return ErrInternal
}

// Of returns what an error means.
func Of(err error) Class {
	c, ok := ClassOf(Code(err))
	if !ok {
		c, _ = ClassOf(ErrInternal)
	}
	return c
}

// ExitCode returns the exit code for the outcome of a command.
func ExitCode(err error) int {
	if err == nil {
		return ExitDone
	}
	return Of(err).Exit
}

// Status returns the HTTP status for an error.
func Status(err error) int { return Of(err).Status }

// These name the rows of the tables below by how the caller should take them.

func bad(status int, title string) Class { return Class{Exit: ExitBad, Status: status, Title: title} }
func notMet(status int, title string) Class {
	return Class{Exit: ExitNotMet, Status: status, Title: title}
}
func unknown(status int, title string) Class {
	return Class{Exit: ExitUnknown, Status: status, Title: title}
}

func later(c Class) Class {
	c.Later = true
	return c
}
