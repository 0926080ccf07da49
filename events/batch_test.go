package events

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func numbered(n int) Event {
	return Event{ID: fmt.Sprint("e", n), Source: "urn:test", Type: "Counted", Entity: Entity{"airport", fmt.Sprint("A", n)}}
}

func write(name string) ControlWrite { return ControlWrite{Control: Control{Name: name}} }

func TestBatchValidateNamesWhatIsWrong(t *testing.T) {
	large := func(n int) (b Batch) {
		for i := range n {
			e := numbered(i)
			e.ContentType, e.Data = "text/plain", make([]byte, MaxDataBytes)
			b.Events = append(b.Events, e)
		}
		return b
	}
	many := func(n int) (b Batch) {
		for i := range n {
			b.Events = append(b.Events, numbered(i))
		}
		return b
	}
	expect := func(entity Entity, x Expectation) map[Entity]Expectation { return map[Entity]Expectation{entity: x} }
	bad := numbered(2)
	bad.Type = "not a type"
	for name, c := range map[string]struct {
		batch Batch
		code  Code
		says  string
	}{
		"one event":                {many(1), "", ""},
		"as many as can be":        {many(MaxBatch), "", ""},
		"too many":                 {many(MaxBatch + 1), ErrTooLarge, "1001 records"},
		"too many with a control":  {Batch{Events: many(MaxBatch).Events, Controls: []ControlWrite{write("mark")}}, ErrTooLarge, "1001 records"},
		"as large as can be":       {large(MaxBatchBytes / MaxDataBytes), "", ""},
		"too large":                {large(MaxBatchBytes/MaxDataBytes + 1), ErrTooLarge, "bytes of data"},
		"nothing":                  {Batch{}, ErrInvalidBatch, "no event"},
		"a control alone":          {Batch{Controls: []ControlWrite{write("import.x")}}, "", ""},
		"a control without name":   {Batch{Controls: []ControlWrite{write("")}}, ErrInvalidBatch, ""},
		"one control twice":        {Batch{Controls: []ControlWrite{write("a"), write("b"), write("a")}}, ErrInvalidBatch, "two control records a"},
		"a large control":          {Batch{Controls: []ControlWrite{{Control: Control{"a", make([]byte, MaxDataBytes)}}}}, "", ""},
		"too large a control":      {Batch{Controls: []ControlWrite{{Control: Control{"a", make([]byte, MaxDataBytes+1)}}}}, ErrTooLarge, "control record a"},
		"an invalid event":         {Batch{Events: []Event{numbered(1), bad, numbered(3)}}, ErrInvalidEvent, "event 2 of 3: "},
		"one event, invalid":       {Batch{Events: []Event{bad}}, ErrInvalidEvent, "invalid-event: \"not a type\""},
		"one id twice":             {Batch{Events: []Event{numbered(1), numbered(2), numbered(1)}}, ErrInvalidBatch, `"e1"`},
		"one id of two sources":    {Batch{Events: []Event{numbered(1), {ID: "e1", Source: "urn:other", Type: "T", Entity: Entity{"a", "b"}}}}, "", ""},
		"expecting without event":  {Batch{Events: many(2).Events, Expect: expect(Entity{"a", "\r\n" + strings.Repeat("x", 999)}, ExpectNone())}, ErrInvalidBatch, `"a/\r\n`},
		"expecting any of nothing": {Batch{Events: many(2).Events, Expect: expect(Entity{"a", "b"}, ExpectAny())}, ErrInvalidBatch, ""},
		"expecting":                {Batch{Events: many(2).Events, Expect: expect(Entity{"airport", "A1"}, ExpectExactly(7))}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.batch.Validate()
			if code, _ := CodeOf(err); code != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %q with %q", err, c.code, c.says)
			}
			if err != nil && (len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\r\n")) {
				t.Errorf("%q", err.Error())
			}
		})
	}
}

func TestExpectations(t *testing.T) {
	if ExpectExactly(0) != ExpectNone() || ExpectAny() != (Expectation{}) || ExpectNone() == ExpectAny() {
		t.Error("the expectations have changed their meaning")
	}
	for x, want := range map[Expectation]struct {
		seq   uint64
		exact bool
	}{ExpectAny(): {0, false}, ExpectNone(): {0, true}, ExpectExactly(7): {7, true}} {
		if seq, exact := x.Sequence(); seq != want.seq || exact != want.exact {
			t.Errorf("%+v is %d, %v", x, seq, exact)
		}
	}
	if b := One(numbered(1), ExpectAny()); b.Expect != nil || len(b.Events) != 1 {
		t.Errorf("%+v", b)
	}
	if b := One(numbered(1), ExpectNone()); b.Expect[numbered(1).Entity] != ExpectNone() {
		t.Errorf("%+v", b)
	}
}

func TestMessagesAreStampedInOrder(t *testing.T) {
	clock := Clock{Wall: noon}
	seen := numbered(3)
	seen.Observed = At(Point{"eu", "09c1", 1, 5})
	b := Batch{
		Events:   []Event{numbered(1), numbered(2), seen, numbered(4)},
		Expect:   map[Entity]Expectation{numbered(1).Entity: ExpectNone(), numbered(2).Entity: ExpectExactly(41), seen.Entity: ExpectExactly(42)},
		Controls: []ControlWrite{write("import.x")},
	}
	messages, err := b.Messages("us", &clock, func(seq uint64) Position { return At(Point{"us", ours, 1, seq}) })
	if err != nil {
		t.Fatal(err)
	}
	var last Timestamp
	observed := []string{"", "us.7f3a09c1@1:41", "eu.09c1@1:5", "", ""}
	for i, m := range messages {
		var r Record
		if err := Decode(&r, "us", 7, noon(), m); err != nil || r.Kind == KindMalformed {
			t.Fatal(err, r.Reason)
		}
		if r.Stamp.Tx != (Tx{uint16(i + 1), 5}) || r.Stamp.Time <= last || r.Stamp.Observed.String() != observed[i] {
			t.Errorf("record %d: %+v", i, r.Stamp)
		}
		last = r.Stamp.Time
	}
	alone := One(numbered(1), ExpectAny())
	messages, err = alone.Messages("us", &clock, nil)
	if err != nil || len(messages) != 1 || strings.Contains(messages[0].Header["tm"][0], ";t=") {
		t.Errorf("%v, %v", messages, err)
	}
}

func TestMessagesRefuseAWrongClock(t *testing.T) {
	hand := &handClock{now: noon()}
	clock := Clock{Wall: hand.wall}
	future := numbered(2)
	future.Time = noon().Add(MaxTimeAhead + time.Second)
	b := Batch{Events: []Event{numbered(1), future}}
	if _, err := b.Messages("us", &clock, nil); !errors.Is(err, ErrClockAhead) || !strings.Contains(err.Error(), "event 2 of 2") {
		t.Errorf("an event of the future: %v", err)
	}
	b.Events[1].Time = noon().Add(MaxTimeAhead - time.Second)
	if _, err := b.Messages("us", &clock, nil); err != nil {
		t.Errorf("within the bound: %v", err)
	}
	hand.now = noon().Add(-time.Hour)
	for _, b := range []Batch{b, {Controls: []ControlWrite{write("mark")}}} {
		if messages, err := b.Messages("us", &clock, nil); !errors.Is(err, ErrClockAhead) || messages != nil {
			t.Errorf("the wall went back an hour: %v", err)
		}
	}
}

func TestPendingPrefersItsOutcomeToAnEndedContext(t *testing.T) {
	p, finish := NewPending()
	finish(Receipt{First: 1, Last: 2}, nil)
	ctx, cancel := canceled()
	defer cancel()
	for range 100 {
		if r, err := p.Wait(ctx); err != nil || r.Last != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	p, _ = NewPending()
	r, err := p.Wait(ctx)
	if !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, errTired) || r.Last != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestTheBoundsOfABatchFitItsStamp(t *testing.T) {
	s := Stamp{Tx: place(MaxBatch-1, MaxBatch)}
	if got, ok := parseStamp(s.text()); !ok || got.Tx != (Tx{MaxBatch, MaxBatch}) {
		t.Errorf("%+v, %v", got, ok)
	}
	if !slices.Contains(Codes(), ErrTooLarge) {
		t.Error("no code for what is larger")
	}
}
