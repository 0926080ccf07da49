package projections

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Reason says why an event cannot be applied, in words that can be kept, shown and logged: whatever comes from the event's data or from a document
// stands between double quotes, and nothing else does, so that Mask can hide it. Because makes one.
type Reason struct {
	text  string
	cause error
}

// Quoted is a value of an event's data or of a document, as an argument of Because.
type Quoted string

// Because returns a Reason. Arguments of type Quoted, and errors that are no Reason, stand between double quotes; other texts lose the double quotes
// that they have. An error among them is its cause.
func Because(format string, args ...any) *Reason {
	r := &Reason{}
	for i, a := range args {
		switch a := a.(type) {
		case Quoted:
			args[i] = strconv.Quote(string(a))
		case error:
			args[i], r.cause = ReasonOf(a), a
		case string:
			args[i] = strings.ReplaceAll(a, `"`, `'`)
		}
	}
	r.text = fmt.Sprintf(format, args...)
	return r
}

// Error returns the words, values included.
func (r *Reason) Error() string { return r.text }

// Unwrap returns the cause.
func (r *Reason) Unwrap() error { return r.cause }

// ReasonOf returns the words for an error of a projection. What a function in Go says in its error or panic may hold anything, so all of it stands
// between double quotes.
func ReasonOf(err error) string {
	if r, ok := errors.AsType[*Reason](err); ok {
		return r.text
	}
	if p, ok := AsPanic(err); ok {
		return p.reason()
	}
	return strconv.Quote(err.Error())
}

// Mask hides the values in a reason. It also takes one that was cut off.
func Mask(reason string) string {
	var b strings.Builder
	for {
		before, rest, quoted := strings.Cut(reason, `"`)
		b.WriteString(before)
		if !quoted {
			return b.String()
		}
		b.WriteString(`"…"`)
		end := 0
		for end < len(rest) && rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(rest) {
			return b.String()
		}
		reason = rest[end+1:]
	}
}
