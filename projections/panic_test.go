package projections_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"tidemark.dev/projections"
)

// evil panics with itself when it is asked what it is.
type evil struct{ evil *evil }

func (e *evil) Error() string { panic(e) }

// bomb is a payload whose decoding panics.
type bomb struct{}

func (*bomb) DecodeData([]byte) error { panic("the decoder") }

// use makes the compiler believe that a value is needed.
func use(int) {}

func nobody() any { return nil }

// panicking returns what the fold of a projection says when it panics with what do panics with.
func panicking(t *testing.T, do func()) error {
	t.Helper()
	p, err := projections.New("orders", 1, projections.On("order", "OrderPaid", func(o order, _ projections.Event[empty]) (order, error) {
		o.Total = 99 // must not stay
		do()
		return o, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	var ops projections.Ops
	s, r := p.NewState(), record("order/42", "OrderPaid", `{}`)
	p.Route(r, 0, &ops)
	err = p.Fold(s, r, &ops.List()[0])
	if got := strings.Join(s.AppendFields(nil), "|"); got != "0||false" {
		t.Errorf("the fold that panicked left %s behind", got)
	}
	return err
}

func TestAFoldThatPanicsIsAnErrorWithTheSameTextEverywhere(t *testing.T) {
	var none []int
	var nowhere *order
	var unset map[string]int
	var anything any = "text"
	type pair struct{ a *int }
	three := 3
	for text, do := range map[string]func(){
		"panic: no such airport": func() { panic("no such airport") },
		"panic: refused":         func() { panic(errRefused) },
		"panic: 42":              func() { panic(42) },
		"panic: true":            func() { panic(true) },
		"panic: runtime error: index out of range [3] with length 0":              func() { use(none[three]) },
		"panic: runtime error: invalid memory address or nil pointer dereference": func() { nowhere.Total++ },
		"panic: assignment to entry in nil map":                                   func() { unset["a"] = 1 },
		"panic: runtime error: integer divide by zero":                            func() { use(1 / len(none)) },
		"panic: interface conversion: interface {} is string, not int":            func() { use(anything.(int)) },
		"panic: panic called with nil argument":                                   func() { panic(nobody()) },
		"panic: a *projections_test.order":                                        func() { panic(&order{}) },
		"panic: a projections_test.pair":                                          func() { panic(pair{a: new(int)}) },
		"panic: a *projections_test.evil":                                         func() { panic(&evil{}) },
		"panic: a chan int":                                                       func() { panic(make(chan int)) },
		"panic: delete-document":                                                  func() { panic(projections.Delete) },
	} {
		err := panicking(t, do)
		p, ok := projections.AsPanic(err)
		if !ok || err.Error() != text {
			t.Errorf("got %v, expected %q", err, text)
			continue
		}
		if !bytes.Contains(p.Stack, []byte("panic_test.go")) {
			t.Errorf("%s: the stack does not say where: %s", text, p.Stack)
		}
		if errors.Is(err, projections.Delete) {
			t.Error("a panic removed the document")
		}
	}
}

func TestAPayloadWhoseDecodingPanicsParksTheEntitysDocument(t *testing.T) {
	fold := func(o order, _ projections.Event[bomb]) (order, error) { return o, nil }
	p, err := projections.New("orders", 1,
		projections.On("order", "OrderPaid", fold),
		projections.OnKey("order", "OrderPaid", func(projections.Event[bomb]) string { return "k" }, fold))
	if err != nil {
		t.Fatal(err)
	}
	var ops projections.Ops
	p.Route(record("order/42", "OrderPaid", `{}`), 0, &ops)
	got := ops.List()
	for i, key := range []string{"42", ""} {
		if got[i].Key != key || got[i].Err == nil || !strings.HasSuffix(got[i].Err.Error(), "panic: the decoder") {
			t.Errorf("operation %d: %+v", i, got[i])
		}
		if _, ok := projections.AsPanic(got[i].Err); !ok {
			t.Errorf("operation %d has no stack", i)
		}
	}
}

func TestAKeyThatPanicsIsAnEventWhoseDocumentCannotBeTold(t *testing.T) {
	p, err := projections.New("orders", 1, projections.OnKey("order", "OrderPaid",
		func(e projections.Event[placed]) string { return e.Data.Shop[:3] },
		func(o order, _ projections.Event[placed]) (order, error) { return o, nil }))
	if err != nil {
		t.Fatal(err)
	}
	var ops projections.Ops
	p.Route(record("order/42", "OrderPaid", `{"shop":"no"}`), 0, &ops)
	p.Route(record("order/42", "OrderPaid", `{"shop":"north"}`), 1, &ops)
	got := ops.List()
	if got[0].Key != "" || got[0].Err == nil || got[0].Err.Error() != "panic: runtime error: slice bounds out of range [:3] with length 2" {
		t.Errorf("operation: %+v", got[0])
	}
	if got[1].Key != "nor" || got[1].Err != nil {
		t.Errorf("the event after it: %+v", got[1])
	}
}
