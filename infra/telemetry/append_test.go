package telemetry_test

import (
	"context"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace/noop"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/events/memlog"
)

func TestAnAppendIsCountedByItsOutcome(t *testing.T) {
	tel := newTelemetry(t, nil)
	inner := memlog.New("us", memlog.Options{})
	defer inner.Close()
	log := tel.Log(inner)
	ctx := context.Background()
	must := func(r events.Receipt, err error) events.Receipt {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	must(log.Append(ctx, events.Batch{Events: []events.Event{deposited(1, 1), deposited(2, 2)}}))
	must(log.Append(ctx, events.Batch{Events: []events.Event{deposited(3, 3)}}))
	if r := must(log.Append(ctx, events.One(deposited(3, 3), events.ExpectAny()))); !r.Duplicate {
		t.Error("it was no duplicate")
	}
	if _, err := log.Append(ctx, events.One(deposited(4, 4), events.ExpectNone())); err == nil {
		t.Error("there was no conflict")
	}
	if _, err := log.Append(ctx, events.Batch{Events: []events.Event{{}}}); err == nil {
		t.Error("an empty event was accepted")
	}
	s := scraped(t, tel)
	s.is(2, "tidemark_append_total", "outcome", "stored", "origin", "us", "region", "us", "service", "up")
	s.is(3, "tidemark_append_events_total", "outcome", "stored")
	s.is(3*7, "tidemark_append_bytes_total", "outcome", "stored")
	s.is(1, "tidemark_append_total", "outcome", "duplicate")
	s.is(1, "tidemark_append_total", "outcome", "conflict")
	s.is(1, "tidemark_append_total", "outcome", "invalid-entity")
	s.is(2, "tidemark_append_duration_seconds_count", "outcome", "stored")
	s.is(0, "tidemark_append_in_flight")
	s.missing("tidemark_append_total", "outcome", "other")
}

func TestASubmittedAppendIsInFlightUntilItsOutcomeIsKnown(t *testing.T) {
	tel := newTelemetry(t, nil)
	inner := memlog.New("us", memlog.Options{})
	defer inner.Close()
	log := tel.Log(inner)
	release := inner.Hold()
	free := sync.OnceFunc(release)
	defer free()
	for i := range 5 {
		if _, err := log.Submit(context.Background(), events.One(deposited(i, 1), events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
	scraped(t, tel).is(5, "tidemark_append_in_flight")
	free()
	eventually(t, "all are counted", func() bool {
		got := scraped(t, tel).values("tidemark_append_total", "outcome", "stored")
		return len(got) == 1 && got[0] == 5
	})
	scraped(t, tel).is(0, "tidemark_append_in_flight")
}

func TestClosingWaitsForAppendsNoLongerThanItsContextLasts(t *testing.T) {
	tel := newTelemetry(t, nil)
	inner := memlog.New("us", memlog.Options{})
	defer inner.Close()
	defer inner.Hold()()
	if _, err := tel.Log(inner).Submit(context.Background(), events.One(deposited(1, 1), events.ExpectAny())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := tel.Close(ctx); err == nil {
		t.Error("it did not say that it was cut short")
	}
	if _, err := tel.Log(inner).Submit(context.Background(), events.One(deposited(2, 1), events.ExpectAny())); err != nil {
		t.Errorf("after Close nothing can be appended: %v", err)
	}
}

func TestAMeasuredLogIsStillALog(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		l := memlog.New("us", memlog.Options{})
		t.Cleanup(l.Close)
		return logtest.Subject{Log: newTelemetry(t, noop.NewTracerProvider()).Log(l), ExpireDuplicates: l.ForgetDuplicates, StoreRaw: l.StoreRaw, Close: l.Close}
	})
}
