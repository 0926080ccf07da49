package queryservice

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
)

// Codes of what has no code of its own: those that the HTTP API uses.
const (
	codeStopping = events.Code("stopping")
	codeTimedOut = events.Code("timed-out")
	codeInternal = events.Code("internal")
	codeTooSlow  = events.Code("too-slow")
)

// The code of this package.
const (
	// ErrProtocol: an answer of a query service that cannot be read.
	ErrProtocol = events.Code("query-protocol")
)

// Codes lists every code of this package that no other has.
func Codes() []events.Code { return []events.Code{ErrProtocol} }

// SharedCodes lists those that are the HTTP API's, for the test there that holds them together.
func SharedCodes() []events.Code {
	return []events.Code{codeStopping, codeTimedOut, codeInternal, codeTooSlow}
}

// Problem is the body of an answer that is an error. Its members are named as those of a problem document over HTTP.
type Problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`         // what happened, and what was not done
	Next   string `json:"next,omitempty"` // what to do next
	// Position is what the read model has reached, when that is what the problem is about.
	Position events.Position `json:"position,omitzero"`
}

// problemOf takes an error apart. What has no name is told without details: they are in the service's log.
func problemOf(err error) Problem {
	var p Problem
	code, known := events.CodeOf(err)
	e, ours := errors.AsType[*events.Error](err)
	switch {
	case ours:
		// What a caller wrote in front of the error stays; its code and its advice have places of their own.
		p.Detail, p.Next = strings.Replace(err.Error(), e.Error(), e.What, 1), e.Next
	case known:
		p.Detail = strings.TrimPrefix(err.Error(), string(code)+": ")
	case errors.Is(err, context.DeadlineExceeded):
		code, p.Detail = codeTimedOut, "the answer was not there in the time that was given"
	case errors.Is(err, context.Canceled):
		code, p.Detail = codeStopping, "the service ended before the answer was there"
	default:
		code, p.Detail = codeInternal, "something went wrong that has no name; the service's log has it"
	}
	p.Code = string(code)
	if absence, ok := errors.AsType[*query.Absence](err); ok {
		p.Position = absence.Answer.Position
	} else if behind, ok := errors.AsType[*query.Behind](err); ok {
		p.Position = behind.Position
	}
	return p
}

// message makes the answer.
func (p Problem) message() *nats.Msg {
	m := &nats.Msg{Header: nats.Header{}}
	m.Header.Set(HeaderErrorCode, p.Code)
	m.Header.Set(HeaderError, strings.NewReplacer("\r", " ", "\n", " ").Replace(p.Detail))
	if !p.Position.IsZero() {
		m.Header.Set(HeaderPosition, p.Position.String())
	}
	m.Data, _ = json.Marshal(p) // texts always marshal
	return m
}

// err is the problem as an error.
func (p Problem) err() *events.Error {
	return &events.Error{Code: events.Code(p.Code), What: p.Detail, Next: p.Next}
}
