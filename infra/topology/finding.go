package topology

import (
	"fmt"
	"strings"

	"tidemark.dev/events"
)

// Finding is one thing that is wrong with a topology file, or with a variable that overrides a key of it.
type Finding struct {
	File   string `json:"file,omitempty"` // empty: it is in Variable
	Line   int    `json:"line,omitempty"` // counted from 1
	Column int    `json:"column,omitempty"`
	// Variable of the environment that the value is from; empty when it is from the file.
	Variable string      `json:"variable,omitempty"`
	Code     events.Code `json:"code"`
	Message  string      `json:"message"`
}

// Where returns file:line:column, or $VARIABLE.
func (f Finding) Where() string {
	if f.Variable != "" {
		return "$" + f.Variable
	}
	if f.Line == 0 {
		return f.File
	}
	return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
}

// String returns "where: code: message".
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Where(), f.Code, f.Message) }

// Invalid is an ErrInvalid: everything that is wrong with a topology file, sorted by line; what is wrong with variables comes last. No secret is in it.
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
	return events.Errorf(ErrInvalid, "the topology file %s cannot be used; nothing was done with it: %s", e.File, strings.Join(lines, "; ")).
		Hint("Mend what is named; tidemark config check shows it line by line.")
}
