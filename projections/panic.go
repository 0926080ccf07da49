package projections

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
)

// Panic is the error of a projection's function that panicked. The event that it met is handled like any other that cannot be applied: what it
// does is a function of the event and the document alone, so it panics at the same event in every region and in every replay. Its text becomes part
// of the document, so it is the same everywhere too: no addresses, no stack.
//
// What Go itself cannot stop still ends the process: a stack that overflows, memory that runs out, a map written by two goroutines.
type Panic struct {
	text string
	// Stack of the goroutine when it panicked, for the log. It differs from process to process.
	Stack []byte
}

// Error returns "panic: " and what the function panicked with.
func (p *Panic) Error() string { return p.text }

// AsPanic returns the Panic in an error's chain.
func AsPanic(err error) (*Panic, bool) { return errors.AsType[*Panic](err) }

// recovered turns a panic into an error. It is to be deferred.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &Panic{text: "panic: " + told(v), Stack: debug.Stack()}
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
