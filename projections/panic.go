package projections

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// Panic is the error of a projection's function that panicked. The event that it met is handled like any other that cannot be applied: what it
// does is a function of the event and the document alone, so it panics at the same event in every region and in every replay. Its text becomes part
// of the document, so it is the same everywhere too: no addresses, no stack.
//
// What Go itself cannot stop still ends the process: a stack that overflows, memory that runs out, a map written by two goroutines.
type Panic struct {
	text string
	ours bool // the words are Go's own: only numbers in them may be from data
	// Stack of the goroutine when it panicked, for the log. It differs from process to process.
	Stack []byte
}

const panicPrefix = "panic: "

// Error returns "panic: " and what the function panicked with.
func (p *Panic) Error() string { return p.text }

// reason returns the words with whatever may come from data between double quotes.
func (p *Panic) reason() string {
	words, _ := strings.CutPrefix(p.text, panicPrefix)
	if !p.ours {
		return panicPrefix + strconv.Quote(words)
	}
	return panicPrefix + quoteNumbers(words)
}

// quoteNumbers puts each number of a text between double quotes. Names like int64 stay as they are.
func quoteNumbers(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		end := i
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		if end == i || i > 0 && isLetter(text[i-1]) {
			end = max(end, i+1)
			b.WriteString(text[i:end])
		} else {
			b.WriteString(strconv.Quote(text[i:end]))
		}
		i = end
	}
	return b.String()
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

// AsPanic returns the Panic in an error's chain.
func AsPanic(err error) (*Panic, bool) { return errors.AsType[*Panic](err) }

// recovered turns a panic into an error. It is to be deferred.
func recovered(err *error) {
	if v := recover(); v != nil {
		_, ours := v.(runtime.Error)
		*err = &Panic{text: panicPrefix + told(v), ours: ours, Stack: debug.Stack()}
	}
}

// told returns the text of what was panicked with. Only of plain values and errors: others may hold addresses, and are told by their type.
func told(v any) (text string) {
	defer func() {
		if recover() != nil { // its Error method panicked as well
			text = "a " + reflect.TypeOf(v).String()
		}
	}()
	switch v := v.(type) {
	case runtime.Error:
		return v.Error()
	case error:
		return v.Error()
	case string:
		return v
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16,
		reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64, reflect.String:
		return fmt.Sprint(v)
	default:
		return "a " + r.Type().String()
	}
}
