package failure

import (
	"errors"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
)

// Report is an error in the parts that a surface shows separately.
type Report struct {
	Code    events.Code `json:"code"`
	Message string      `json:"message"` // what happened, and what was not done
	Next    string      `json:"next,omitempty"`

	// Of a conflict about an entity or a control record.
	Entity   string  `json:"entity,omitempty"`
	Expected *uint64 `json:"expected,omitempty"`
	Actual   *uint64 `json:"actual,omitempty"`
	// Position is where the read model stands, when that is what the error is about.
	Position string `json:"position,omitempty"`
}

// Positioned is an error about a read model that stands at a position.
type Positioned struct {
	Position events.Position
	Err      error
}

// Error is the error's own text, which names the position where it matters.
func (p *Positioned) Error() string { return p.Err.Error() }

// Unwrap returns the error.
func (p *Positioned) Unwrap() error { return p.Err }

// At returns err together with the position at which the read model stands.
func At(err error, p events.Position) error { return &Positioned{Position: p, Err: err} }

// Tell takes an error apart.
func Tell(err error) Report {
	r := Report{Code: Code(err)}
	text := err.Error()
	if e, ok := errors.AsType[*events.Error](err); ok {
		// What a caller wrote in front of the error stays; its code and its advice have places of their own.
		text = strings.Replace(text, e.Error(), e.What, 1)
		r.Next = e.Next
	}
	r.Message = strings.TrimPrefix(text, string(r.Code)+": ")
	if e, ok := errors.AsType[*events.ConflictError](err); ok {
		r.Entity, r.Expected, r.Actual = e.Control, &e.Expected, &e.Actual
		if e.Control == "" {
			r.Entity = e.Entity.String()
		}
		r.Message, r.Next, _ = strings.Cut(r.Message, ". ")
	}
	if e, ok := errors.AsType[*Positioned](err); ok {
		r.Position = e.Position.String()
	} else if e, ok := errors.AsType[*query.Absence](err); ok {
		r.Position = e.Answer.Position.String()
	} else if e, ok := errors.AsType[*query.Behind](err); ok && !e.Position.IsZero() {
		r.Position = e.Position.String()
	}
	return r
}

// String is the report on one line, as the command line prints it.
func (r Report) String() string {
	s := "tidemark: " + string(r.Code) + ": " + strings.TrimRight(r.Message, ".")
	if r.Next != "" {
		s += ". " + r.Next
	}
	return s
}
