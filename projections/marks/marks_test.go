package marks_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections/marks"
)

func publish(t *testing.T, log events.Log) {
	t.Helper()
	e := events.Event{ID: events.NewID(), Source: "urn:test", Type: "Happened", Entity: events.Entity{Type: "thing", ID: "a"}, Data: []byte(`{"n":1}`)}
	if _, err := log.Append(context.Background(), events.One(e, events.ExpectAny())); err != nil {
		t.Fatal(err)
	}
}

// all returns the marks of a log.
func all(t *testing.T, log events.Log) (found []events.Record) {
	t.Helper()
	for records, err := range log.Read(t.Context(), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			if _, ok := events.MarkTime(&records[i]); ok {
				found = append(found, records[i])
			}
		}
	}
	return found
}

// run runs writers for a time and stops them.
func run(t *testing.T, log events.Log, n int, long, each time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, n)
	for range n {
		go func() { ended <- marks.New(log, marks.Options{}).Run(ctx) }()
	}
	for range int(long / each) {
		time.Sleep(each) // of the bubble's clock
		if each < long {
			publish(t, log)
		}
	}
	synctest.Wait()
	cancel()
	for range n {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestALogThatIsWrittenToGetsAMarkEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		run(t, log, 1, 2*time.Minute, time.Second)
		if n := len(all(t, log)); n < 11 || n > 12 {
			t.Errorf("in two minutes there were %d marks", n)
		}
	})
}

func TestAnIdleLogGetsAMarkAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		run(t, log, 1, 10*time.Minute, 10*time.Minute)
		if n := len(all(t, log)); n < 9 || n > 11 {
			t.Errorf("in ten idle minutes there were %d marks", n)
		}
	})
}

func TestSeveralWritersWriteNoMoreThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		run(t, log, 3, 2*time.Minute, time.Second)
		if n := len(all(t, log)); n < 11 || n > 12 {
			t.Errorf("in two minutes three writers wrote %d marks", n)
		}
	})
}

func TestALogThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log.Close()
		ended := make(chan error, 1)
		go func() { ended <- marks.New(log, marks.Options{}).Run(ctx) }()
		time.Sleep(time.Minute) // of the bubble's clock
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAMarkStandsForTheEarlierTime: one clock that is ahead lets nothing expire early.
func TestAMarkStandsForTheEarlierTime(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	mark := func(writer, broker time.Time) *events.Record {
		data, err := json.Marshal(events.Mark{Time: writer})
		if err != nil {
			t.Fatal(err)
		}
		return &events.Record{Kind: events.KindControl, Time: broker, Control: events.Control{Name: events.ControlMark, Data: data}}
	}
	for name, r := range map[string]*events.Record{
		"the writer's clock is ahead": mark(at.AddDate(10, 0, 0), at),
		"the broker's clock is ahead": mark(at, at.AddDate(10, 0, 0)),
	} {
		if got, ok := events.MarkTime(r); !ok || !got.Equal(at) {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	for name, r := range map[string]*events.Record{
		"junk":          {Kind: events.KindControl, Time: at, Control: events.Control{Name: events.ControlMark, Data: []byte("junk")}},
		"no time":       {Kind: events.KindControl, Time: at, Control: events.Control{Name: events.ControlMark, Data: []byte("{}")}},
		"another name":  {Kind: events.KindControl, Time: at, Control: events.Control{Name: "term", Data: []byte(`{"time":"2026-01-01T00:00:00Z"}`)}},
		"another kind":  {Kind: events.KindEvent, Time: at},
		"not even data": {Kind: events.KindControl, Time: at, Control: events.Control{Name: events.ControlMark}},
	} {
		if got, ok := events.MarkTime(r); ok {
			t.Errorf("%s is a mark of %v", name, got)
		}
	}
}
