package importer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/services/internal/importer"
)

const twoEvents = `
name: flights
source: urn:test:flights
events:
  - type: FlightDeparted
    entity: airport/{origin}
  - type: FlightLanded
    entity: airport/{destination}
    data: {late: delay, day: date}
`

func flightLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"date":"2001/01/%02d","delay":%d,"origin":"A%d","destination":"B%d"}`+"\n", i%28+1, i-50, i%7, i%5)
	}
	return b.String()
}

func parse(t *testing.T, text string) *importer.Map {
	t.Helper()
	m, err := importer.ParseMap([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newLog(t *testing.T) *memlog.Log {
	t.Helper()
	log := memlog.New("us", memlog.Options{Lineage: "abcd"})
	t.Cleanup(log.Close)
	return log
}

// told returns what a log says of its events: everything but what an append adds.
func told(t *testing.T, log events.Reader) []string {
	t.Helper()
	var out []string
	for records, err := range log.Read(t.Context(), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Kind == events.KindEvent {
				out = append(out, fmt.Sprint(r.Event.ID, " ", r.Event.Type, " ", r.Event.Entity, " ", string(r.Event.Data)))
			}
		}
	}
	return out
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("event %d is %s, want %s", i, got[i], want[i])
		}
	}
}

func run(t *testing.T, log events.Log, m *importer.Map, input string, o importer.Options) importer.Result {
	t.Helper()
	r, err := importer.Run(t.Context(), log, m, strings.NewReader(input), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func refused(t *testing.T, log events.Log, m *importer.Map, input string, code events.Code, says string) importer.Result {
	t.Helper()
	r, err := importer.Run(t.Context(), log, m, strings.NewReader(input), importer.Options{})
	if !errors.Is(err, code) || !strings.Contains(err.Error(), says) {
		t.Fatalf("the error is %v, want %s that says %q", err, code, says)
	}
	return r
}

func head(t *testing.T, log events.Reader) uint64 {
	t.Helper()
	info, err := log.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Last
}

func TestEveryLineBecomesItsEventsInOrder(t *testing.T) {
	log := newLog(t)
	r := run(t, log, parse(t, twoEvents), flightLines(2), importer.Options{})
	same(t, told(t, log), []string{
		`flights-1-1 FlightDeparted airport/A0 {"date":"2001/01/01","delay":-50,"origin":"A0","destination":"B0"}`,
		`flights-1-2 FlightLanded airport/B0 {"late":-50,"day":"2001/01/01"}`,
		`flights-2-1 FlightDeparted airport/A1 {"date":"2001/01/02","delay":-49,"origin":"A1","destination":"B1"}`,
		`flights-2-2 FlightLanded airport/B1 {"late":-49,"day":"2001/01/02"}`,
	})
	if r.AddedLines != 2 || r.AddedEvents != 4 || r.Position.String() != "us.abcd@1:6" {
		t.Errorf("the result is %+v", r)
	}
}

func TestImportingTwiceAddsNothing(t *testing.T) {
	log := newLog(t)
	m := parse(t, twoEvents)
	first := run(t, log, m, flightLines(1500), importer.Options{})
	before := head(t, log)
	again := run(t, log, m, flightLines(1500), importer.Options{})
	if head(t, log) != before || again.AddedEvents != 0 || again.Events != 3000 || !again.Position.Equal(first.Position) {
		t.Errorf("the head went from %d to %d; the second result is %+v", before, head(t, log), again)
	}
}

func TestAGrownInputIsContinued(t *testing.T) {
	log, whole := newLog(t), newLog(t)
	m := parse(t, twoEvents)
	run(t, log, m, strings.TrimSuffix(flightLines(700), "\n"), importer.Options{}) // its last line has no newline yet
	r := run(t, log, m, flightLines(1800), importer.Options{})
	run(t, whole, m, flightLines(1800), importer.Options{})
	same(t, told(t, log), told(t, whole))
	if r.ResumedAtLine != 700 || r.AddedLines != 1100 {
		t.Errorf("the result is %+v", r)
	}
}

func TestCompressedInputIsRecognised(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.WriteString(w, flightLines(40))
	_ = w.Close()
	log, plain := newLog(t), newLog(t)
	run(t, log, parse(t, twoEvents), packed.String(), importer.Options{})
	run(t, plain, parse(t, twoEvents), flightLines(40), importer.Options{})
	same(t, told(t, log), told(t, plain))
	refused(t, newLog(t), parse(t, twoEvents), packed.String()[:packed.Len()/2], importer.ErrInvalidLine, "ends in the middle")
}

func TestAChangedBeginningIsRefused(t *testing.T) {
	log := newLog(t)
	m := parse(t, twoEvents)
	run(t, log, m, flightLines(30), importer.Options{})
	before := head(t, log)
	refused(t, log, m, strings.Replace(flightLines(40), "2001/01/03", "2001/01/04", 1), importer.ErrChanged, "the first 30 lines")
	refused(t, log, m, flightLines(29), importer.ErrChanged, "ends after line 29")
	refused(t, log, m, "", importer.ErrChanged, "ends after line 0")
	other := parse(t, strings.Replace(twoEvents, "FlightLanded", "FlightArrived", 1))
	refused(t, log, other, flightLines(40), importer.ErrChanged, "another map")
	if head(t, log) != before {
		t.Error("a refused import wrote to the log")
	}
	commented := parse(t, "# the same, with a comment\n"+twoEvents)
	run(t, log, commented, flightLines(40), importer.Options{})
}

func TestABadLineStopsTheImportBehindTheLinesBeforeIt(t *testing.T) {
	long := `{"origin":"A","destination":"B","delay":1,"date":"` + strings.Repeat("x", importer.MaxLineBytes) + `"}`
	for _, c := range []struct{ name, line, says string }{
		{"no JSON", "what is this", "byte 0"},
		{"a key twice", `{"origin":"A","origin":"B"}`, "twice"},
		{"not an object", `[1,2]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"a missing field", `{"origin":"A","delay":1,"date":"d"}`, "event 2: entity: there is no field destination"},
		{"a field that is no single value", `{"origin":{"a":1},"destination":"B","delay":1,"date":"d"}`, "event 1: entity: the field origin is an object"},
		{"a null field", `{"origin":null,"destination":"B","delay":1,"date":"d"}`, "origin is null"},
		{"an empty id", `{"origin":"","destination":"B","delay":1,"date":"d"}`, "empty id"},
		{"a number beyond floats", `{"origin":"A","destination":"B","delay":1e400,"date":"d"}`, "64-bit float"},
		{"not UTF-8", "{\"origin\":\"\xff\"}", "UTF-8"},
		{"a line that is too long", long, "more than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := newLog(t)
			m := parse(t, twoEvents)
			bad := flightLines(20) + c.line + "\n" + flightLines(3)
			r := refused(t, log, m, bad, importer.ErrInvalidLine, "line 21: ")
			if r.Lines != 20 {
				t.Errorf("%d lines are imported, want the 20 before the bad one", r.Lines)
			}
			refused(t, log, m, bad, importer.ErrInvalidLine, c.says)
			r = run(t, log, m, flightLines(20)+flightLines(3), importer.Options{})
			if r.ResumedAtLine != 20 || r.AddedLines != 3 {
				t.Errorf("the mended import did %+v", r)
			}
		})
	}
}

// killer is a log whose writer dies at one append: before it, or after it took effect.
type killer struct {
	events.Log
	left  int
	after bool
	kill  context.CancelFunc
}

func (k *killer) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	if k.left--; k.left != 0 {
		return k.Log.Append(ctx, b)
	}
	if k.after {
		if _, err := k.Log.Append(ctx, b); err != nil {
			return events.Receipt{}, err
		}
	}
	k.kill()
	return events.Receipt{}, context.Canceled
}

func TestAKilledImportEndsLikeOneThatWasNot(t *testing.T) {
	m := parse(t, twoEvents)
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		lines := 1 + random.IntN(300)
		o := importer.Options{Batch: 2 + random.IntN(60)}
		log, whole := newLog(t), newLog(t)
		run(t, whole, m, flightLines(lines), o)
		kills := 0
		for {
			ctx, cancel := context.WithCancel(t.Context())
			k := &killer{Log: log, left: 1 + random.IntN(5), after: random.IntN(2) == 0, kill: cancel}
			log.LoseReplies(random.IntN(3)) // some replies are lost on the way as well
			part := 1 + random.IntN(lines)  // the file grows meanwhile
			if kills > 2 {
				part = lines
			}
			_, err := importer.Run(ctx, k, m, strings.NewReader(flightLines(part)), o)
			cancel()
			switch {
			case errors.Is(err, context.Canceled):
				kills++
				continue
			case errors.Is(err, importer.ErrChanged) && part < lines: // the shorter file of the same beginning: that it was longer is known
				continue
			case err != nil:
				t.Fatalf("seed %d: %v", seed, err)
			}
			if part == lines {
				break
			}
		}
		same(t, told(t, log), told(t, whole))
	}
}

func TestALostReplyIsFoundOut(t *testing.T) {
	log := newLog(t)
	log.LoseReplies(memlog.Attempts + 1) // the log gives up once; the importer sends the same again
	r := run(t, log, parse(t, twoEvents), flightLines(10), importer.Options{})
	if r.AddedEvents != 20 || len(told(t, log)) != 20 {
		t.Errorf("the result is %+v with %d events in the log", r, len(told(t, log)))
	}
}

// racer lets another import go first at one append.
type racer struct {
	events.Log
	at    int
	other func()
}

func (r *racer) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	if r.at--; r.at == 0 {
		r.other()
	}
	return r.Log.Append(ctx, b)
}

func TestOfTwoImportsAtOnceOneWins(t *testing.T) {
	m := parse(t, twoEvents)
	for name, batch := range map[string]int{"the same batches": 100, "other batches": 40} {
		for at := 1; at <= 3; at++ {
			t.Run(fmt.Sprint(name, " at ", at), func(t *testing.T) {
				log, whole := newLog(t), newLog(t)
				run(t, whole, m, flightLines(200), importer.Options{})
				r := &racer{Log: log, at: at, other: func() { run(t, log, m, flightLines(200), importer.Options{Batch: batch}) }}
				_, err := importer.Run(t.Context(), r, m, strings.NewReader(flightLines(200)), importer.Options{Batch: 100})
				if !errors.Is(err, importer.ErrRunning) {
					t.Errorf("the error is %v, want %s", err, importer.ErrRunning)
				}
				same(t, told(t, log), told(t, whole))
			})
		}
	}
}

func TestEventsThatWerePublishedBeforeOnlyMoveTheCursor(t *testing.T) {
	log := newLog(t)
	text := twoEvents + "    id: b{delay}\n"
	run(t, log, parse(t, strings.Replace(text, "entity: airport/{origin}", "entity: airport/{origin}\n    id: a{delay}", 1)), flightLines(5), importer.Options{})
	again := strings.Replace(text, "entity: airport/{origin}", "entity: airport/{origin}\n    id: a{delay}", 1)
	r := run(t, log, parse(t, strings.Replace(again, "name: flights", "name: other", 1)), flightLines(5), importer.Options{})
	if n := len(told(t, log)); n != 10 || r.Lines != 5 {
		t.Errorf("%d events are in the log, want 10; the result is %+v", n, r)
	}
}

func TestAnUnreachableLogIsToldAndTheImportGoesOnLater(t *testing.T) {
	log := newLog(t)
	m := parse(t, twoEvents)
	log.Unreachable(-1)
	refused(t, log, m, flightLines(10), events.ErrUnreachable, "")
	log.Unreachable(0)
	if r := run(t, log, m, flightLines(10), importer.Options{}); r.AddedEvents != 20 {
		t.Errorf("the result is %+v", r)
	}
}

func TestProgressEndsAtTheEnd(t *testing.T) {
	log := newLog(t)
	var last importer.Progress
	input := flightLines(300)
	run(t, log, parse(t, twoEvents), input, importer.Options{Batch: 50, Progress: func(p importer.Progress) {
		if p.Lines < last.Lines || p.Read < last.Read {
			t.Errorf("the progress went from %+v to %+v", last, p)
		}
		last = p
	}})
	if want := (importer.Progress{Read: int64(len(input)), Lines: 300, Events: 600}); last != want {
		t.Errorf("the last progress is %+v, want %+v", last, want)
	}
}
