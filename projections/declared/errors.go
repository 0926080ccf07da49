package declared

import (
	"fmt"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// The codes of findings. The error of Parse is a projections.ErrInvalidProjection.
const (
	// ErrSyntax: the text is not YAML, or uses a part of YAML that is not read here.
	ErrSyntax = events.Code("projection-syntax")
	// ErrTooLarge: the text, or a part of it, is over a bound.
	ErrTooLarge = events.Code("projection-too-large")
	// ErrUnknownKey: a key that is not known there.
	ErrUnknownKey = events.Code("projection-unknown-key")
	// ErrDuplicateKey: a key that is there twice.
	ErrDuplicateKey = events.Code("projection-duplicate-key")
	// ErrMissingKey: a key that must be there is not.
	ErrMissingKey = events.Code("projection-missing-key")
	// ErrWrongType: a text where a number is expected, and the like; of expressions too.
	ErrWrongType = events.Code("projection-wrong-type")
	// ErrBadValue: a value that is not possible.
	ErrBadValue = events.Code("projection-bad-value")
	// ErrExpression: an expression that is not CEL, or uses a name that is not known.
	ErrExpression = events.Code("projection-bad-expression")
	// ErrForbidden: an expression that may differ between regions: floats, comprehensions over maps, named time zones.
	ErrForbidden = events.Code("projection-not-deterministic")
	// ErrTooDear: an expression that may cost more than the bound.
	ErrTooDear = events.Code("projection-too-dear")
	// ErrUnsupported: what is not there, or not there yet.
	ErrUnsupported = events.Code("projection-unsupported")

	// ErrTestFailed: the events of a test did not become the documents that it expects.
	ErrTestFailed = events.Code("projection-test-failed")
)

// Codes lists every code of this package. All but ErrTestFailed stand in findings only.
func Codes() []events.Code {
	return []events.Code{
		ErrSyntax, ErrTooLarge, ErrUnknownKey, ErrDuplicateKey, ErrMissingKey, ErrWrongType, ErrBadValue, ErrExpression, ErrForbidden,
		ErrTooDear, ErrUnsupported, ErrTestFailed,
	}
}

// Finding is one thing that is wrong with a file.
type Finding struct {
	File    string      `json:"file"`
	Line    int         `json:"line"`   // counted from 1
	Column  int         `json:"column"` // counted from 1, in characters
	Code    events.Code `json:"code"`
	Message string      `json:"message"`
}

// String returns "file:line:column: code: message".
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Code, f.Message)
}

// Invalid is everything that is wrong with a file, sorted by line. It is a projections.ErrInvalidProjection.
type Invalid struct {
	File     string
	Findings []Finding
	Omitted  int // how many more there are than MaxFindings
}

// Error returns every finding on one line.
func (e *Invalid) Error() string { return e.coded().Error() }

// Unwrap returns an error with the code.
func (e *Invalid) Unwrap() error { return e.coded() }

func (e *Invalid) coded() *events.Error {
	lines := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		lines[i] = f.String()
	}
	if e.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.Omitted))
	}
	return events.Errorf(projections.ErrInvalidProjection, "the projection in %s cannot be used; nothing was done with it: %s", e.File, strings.Join(lines, "; ")).
		Hint("Mend what is named; tidemark projection check shows it line by line.")
}

// because returns why an event cannot be applied. It is a function of the definition, the event and the document alone, and values in it stand
// between double quotes.
func because(format string, args ...any) error { return projections.Because(format, args...) }
