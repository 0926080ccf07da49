package forward

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tidemark.dev/events"
)

// rich is a batch in which every field of every part is set.
func rich() events.Batch {
	point := events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 2, Sequence: 1042}
	full := events.Event{
		ID: "42", Source: "urn:shop:checkout", Type: "FlightLanded", Entity: events.Entity{Type: "airport", ID: "O R/D.ü"},
		Time: time.Date(2001, 4, 1, 9, 0, 0, 123_456_789, time.UTC), ContentType: "text/plain; charset=utf-8", Schema: "urn:schema:1",
		Extensions: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b", "tenant": "ä b"},
		Observed:   events.At(point, events.Point{Origin: "eu", Lineage: "09c1", Term: 1, Sequence: 7}), Data: []byte("\x00\xff\r\n any bytes"),
	}
	least := events.Event{ID: "1", Source: "s", Type: "T", Entity: events.Entity{Type: "a", ID: "b"}}
	return events.Batch{
		Events: []events.Event{full, least},
		Expect: map[events.Entity]events.Expectation{full.Entity: events.ExpectExactly(77), least.Entity: events.ExpectNone()},
		Controls: []events.ControlWrite{
			{Control: events.Control{Name: "import.flights", Data: []byte("3")}, Expect: events.ExpectExactly(1 << 40)},
			{Control: events.Control{Name: "mark"}},
		},
	}
}

func TestABatchComesBackWhole(t *testing.T) {
	if !reflect.DeepEqual(rich(), rich()) || len(rich().Events) != 2 {
		t.Fatal("the comparison is of no use")
	}
	if n := reflect.TypeFor[events.Event]().NumField(); n != 10 {
		t.Errorf("an event has %d fields now, and putEvent writes 10: extend the wire form under a new version", n)
	}
	if n := reflect.TypeFor[events.Batch]().NumField(); n != 3 {
		t.Errorf("a batch has %d fields now, and encodeAppend writes 3", n)
	}
	if n := reflect.TypeFor[events.Receipt]().NumField(); n != 4 {
		t.Errorf("a receipt has %d fields now, and encode writes 4", n)
	}
	if n := reflect.TypeFor[events.ConflictError]().NumField(); n != 4 {
		t.Errorf("a conflict has %d fields now, and encode writes 4", n)
	}
	want := rich()
	got, deadline, err := decodeAppend(withDeadline(encodeAppend(&want), 1_700_000_000_123))
	if err != nil || deadline != 1_700_000_000_123 {
		t.Fatalf("deadline %d, %v", deadline, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestTheBytesOfVersionOneStay(t *testing.T) {
	b := events.Batch{
		Events: []events.Event{{ID: "42", Source: "urn:x", Type: "Landed", Entity: events.Entity{Type: "airport", ID: "ORD"}, Time: time.Unix(986_115_600, 5).UTC(), Data: []byte("{}")}},
		Expect: map[events.Entity]events.Expectation{{Type: "airport", ID: "ORD"}: events.ExpectExactly(300)},
	}
	const want = "544101" + "0000018bcfe5687b" + "01" + "023432" + "0575726e3a78" + "064c616e646564" + "07616972706f7274" + "034f5244" + "00" + "00" +
		"91cae392eb01" + "05" + "00" + "00" + "027b7d" + "01" + "07616972706f7274" + "034f5244" + "ac02" + "00"
	if got := hex.EncodeToString(withDeadline(encodeAppend(&b), 1_700_000_000_123)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnAnswerComesBackWhole(t *testing.T) {
	position := events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 9})
	for _, want := range []answer{
		{what: answerReceipt, clock: 1_700_000_000_123, receipt: events.Receipt{Position: position, First: 8, Last: 9, Duplicate: true}},
		{what: answerError, err: &events.Error{Code: events.ErrIDConflict, What: "what happened", Next: "what to do"}},
		{what: answerConflict, err: &events.ConflictError{Entity: entity(1), Expected: 3, Actual: 5}},
		{what: answerConflict, err: &events.ConflictError{Control: "import.x", Expected: 1 << 63, Actual: 0}},
		{what: answerExpired, clock: 5},
		{what: answerHello, leader: "us", maxPayload: 2 << 20},
		{what: answerFloors, floors: []events.Floor{{Region: "ap", Sequence: 1}, {Region: "us", Sequence: 2, Connected: true}}},
		{what: answerHead, clock: 7, position: position},
	} {
		got, err := decodeAnswer(want.encode())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v (%v), want %+v", got, err, want)
		}
	}
}

func TestAnErrorIsTheSameAtTheFarSide(t *testing.T) {
	cross := func(err error) error {
		t.Helper()
		a := failed(err)
		got, wrong := decodeAnswer(a.encode())
		if wrong != nil {
			t.Fatal(wrong)
		}
		return got.err
	}
	conflict := cross(fmt.Errorf("append: %w", &events.ConflictError{Entity: entity(1), Expected: 3, Actual: 5}))
	if c, ok := errors.AsType[*events.ConflictError](conflict); !ok || c.Actual != 5 || !errors.Is(conflict, events.ErrConflict) {
		t.Errorf("got %#v", conflict)
	}
	for _, code := range events.Codes() {
		want := events.Errorf(code, "it went wrong: %w", errors.New("a cause")).Hint("Do that.")
		got := cross(fmt.Errorf("append: %w", want))
		if !errors.Is(got, code) || got.Error() != want.Error() {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := cross(code); !errors.Is(got, code) {
			t.Errorf("got %v, want %s", got, code)
		}
	}
	if got := cross(errors.New("nobody knows")); !errors.Is(got, events.ErrUnknownOutcome) {
		t.Errorf("got %v", got)
	}
	long := cross(events.Errorf(events.ErrNoLog, "%s", strings.Repeat("ü", 10_000)))
	if !errors.Is(long, events.ErrNoLog) || len(long.Error()) > 2*maxErrorBytes || !utf8.ValidString(long.Error()) {
		t.Errorf("got %d bytes", len(long.Error()))
	}
}

func TestAnotherVersionIsRefusedByName(t *testing.T) {
	b := rich()
	request := encodeAppend(&b)
	request[2] = 7
	_, _, err := decodeAppend(request)
	wantCode(t, err, ErrProtocol)
	if !strings.Contains(err.Error(), "version 7") {
		t.Error(err)
	}
	a := answer{what: answerExpired}
	m := a.encode()
	m[2] = 9
	if _, err := decodeAnswer(m); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Error(err)
	}
}

func TestWhatIsNotWholeIsRefused(t *testing.T) {
	b := rich()
	request := encodeAppend(&b)
	for i := range request {
		if _, _, err := decodeAppend(request[:i]); !errors.Is(err, ErrProtocol) {
			t.Fatalf("the first %d of %d bytes: %v", i, len(request), err)
		}
	}
	if _, _, err := decodeAppend(append(request, 0)); !errors.Is(err, ErrProtocol) {
		t.Errorf("one byte more: %v", err)
	}
	for name, body := range map[string][]byte{
		"a number in a longer form": {0x80, 0x00, 0, 0},
		"too many events":           putNumber(nil, events.MaxBatch+1),
		"a text beyond the end":     {1, 200},
		"a number over 64 bits":     bytes.Repeat([]byte{0xff}, 11),
	} {
		m := append(append(head(kindAppend), make([]byte, deadlineBytes)...), body...)
		if _, _, err := decodeAppend(m); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRandomBatchesComeBack is a property: what is written is read back, and it has one form only.
func TestRandomBatchesComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a seeded test
	text := func(most int) string {
		b := make([]byte, r.IntN(most))
		for i := range b {
			b[i] = byte(r.UintN(256))
		}
		return string(b)
	}
	for range 2_000 {
		var b events.Batch
		for i := range r.IntN(5) {
			e := events.Event{ID: text(9), Source: text(9), Type: text(9), Entity: events.Entity{Type: text(4), ID: fmt.Sprint(i, text(300))}, ContentType: text(5), Schema: text(5)}
			if r.IntN(2) == 0 {
				e.Time = time.Unix(r.Int64N(lastSecond-firstSecond)+firstSecond+1, r.Int64N(1e9)).UTC()
			}
			for range r.IntN(4) {
				if e.Extensions == nil {
					e.Extensions = map[string]string{}
				}
				e.Extensions[text(5)] = text(20)
			}
			if d := text(400); d != "" {
				e.Data = []byte(d)
			}
			b.Events = append(b.Events, e)
			if r.IntN(2) == 0 {
				if b.Expect == nil {
					b.Expect = map[events.Entity]events.Expectation{}
				}
				b.Expect[e.Entity] = events.ExpectExactly(r.Uint64() >> r.UintN(64))
			}
		}
		m := withDeadline(encodeAppend(&b), 1)
		got, _, err := decodeAppend(m)
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Fatalf("got %+v (%v), want %+v", got, err, b)
		}
		if again := withDeadline(encodeAppend(&got), 1); !bytes.Equal(again, m) {
			t.Fatalf("a second form: %x, %x", again, m)
		}
	}
}

func FuzzDecodeAppend(f *testing.F) {
	b := rich()
	f.Add(encodeAppend(&b))
	f.Add(encodeAppend(&events.Batch{}))
	f.Fuzz(func(t *testing.T, m []byte) {
		b, deadline, err := decodeAppend(m)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		if again := withDeadline(encodeAppend(&b), deadline); !bytes.Equal(again, m) {
			t.Fatalf("%x was read, and written it is %x", m, again)
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, a := range []answer{
		{what: answerReceipt, receipt: events.Receipt{First: 8, Last: 9}}, {what: answerError, err: &events.Error{Code: "x"}},
		{what: answerConflict, err: &events.ConflictError{Control: "c"}}, {what: answerExpired}, {what: answerHello, leader: "us"},
		{what: answerFloors, floors: []events.Floor{{Region: "ap"}}},
		{what: answerHead, position: events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: 9})},
	} {
		f.Add(a.encode())
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		a, err := decodeAnswer(m)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		if e, ok := errors.AsType[*events.Error](a.err); ok && max(len(e.Code), len(e.What), len(e.Next)) > maxErrorBytes {
			return // would be cut
		}
		if again := a.encode(); !bytes.Equal(again, m) {
			t.Fatalf("%x was read, and written it is %x", m, again)
		}
	})
}
