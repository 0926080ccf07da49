package telemetry_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections"
)

const (
	sampled    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	notSampled = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// traces returns a provider and what it exported.
func traces(t *testing.T) (*sdktrace.TracerProvider, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return provider, exporter
}

// natsLog is a log on a real server.
func natsLog(t *testing.T) events.Log {
	t.Helper()
	nc := natstest.Dial(t, natstest.Start(t).ClientURL())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := natslog.Setup(ctx, nc, natslog.Config{Origin: "us"}); err != nil {
		t.Fatal(err)
	}
	log, err := natslog.Open(ctx, nc, natslog.Config{Origin: "us"}, natslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	return log
}

func withParent(e events.Event, parent string) events.Event {
	e.Extensions = map[string]string{"traceparent": parent, "tracestate": "shop=1"}
	return e
}

func TestATraceThatBeganAtThePublisherGoesOnAtTheProjector(t *testing.T) {
	provider, exported := traces(t)
	tel, w := newTelemetry(t, provider), newWorld()
	log := tel.Log(natsLog(t))
	w.project(t, log, tel.Projector())
	defer func() { w.end() }()

	ctx, span := provider.Tracer("shop").Start(context.Background(), "check out")
	span.End()
	for _, c := range []struct {
		ctx context.Context
		e   events.Event
	}{
		{context.Background(), withParent(deposited(1, 1), sampled)},    // given with the event
		{context.Background(), withParent(deposited(2, 1), notSampled)}, // not wanted
		{context.Background(), withParent(deposited(3, 1), "what is this")},
		{context.Background(), deposited(4, 1)},
		{ctx, deposited(5, 1)},                      // given by the context
		{ctx, withParent(deposited(6, 1), sampled)}, // the event's own goes first
	} {
		if _, err := log.Append(c.ctx, events.One(c.e, events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
	applied := func() (found []tracetest.SpanStub) {
		for _, s := range exported.GetSpans() {
			if s.Name == "apply Deposited" {
				found = append(found, s)
			}
		}
		return found
	}
	eventually(t, "three spans", func() bool { return len(applied()) >= 3 })
	eventually(t, "everything is applied", func() bool {
		got := scraped(t, tel).values("tidemark_projection_checkpoint_sequence")
		return len(got) == 1 && got[0] == 7
	})
	bySequence := map[int64]tracetest.SpanStub{}
	for _, s := range applied() {
		for _, a := range s.Attributes {
			if a.Key == "tidemark.sequence" {
				bySequence[a.Value.AsInt64()] = s
			}
		}
	}
	if len(bySequence) != 3 {
		t.Fatalf("spans of %d events, expected 3", len(bySequence))
	}
	for seq, parent := range map[int64]string{2: sampled, 6: "", 7: sampled} {
		s, ok := bySequence[seq]
		trace, id := s.SpanContext.TraceID().String(), s.Parent.SpanID().String()
		want := fmt.Sprintf("00-%s-%s-01", trace, id)
		switch {
		case !ok:
			t.Errorf("there is no span of %d", seq)
		case parent != "" && (want != parent || s.Parent.TraceState().String() != "shop=1" || !s.Parent.IsRemote()):
			t.Errorf("the span of %d belongs to %s", seq, want)
		case parent == "" && (trace != span.SpanContext().TraceID().String() || id != span.SpanContext().SpanID().String()):
			t.Errorf("the span of %d belongs to %s", seq, want)
		case s.EndTime.Before(s.StartTime):
			t.Errorf("the span of %d ends before it starts", seq)
		}
	}
}

func TestAReplayMakesNoSpans(t *testing.T) {
	provider, exported := traces(t)
	tel, w := newTelemetry(t, provider), newWorld()
	defer w.log.Close()
	if _, err := w.log.Append(context.Background(), events.One(withParent(deposited(1, 1), sampled), events.ExpectAny())); err != nil {
		t.Fatal(err)
	}
	w.project(t, w.log, tel.Projector())
	defer func() { w.end() }()
	eventually(t, "the span", func() bool { return len(exported.GetSpans()) == 1 })
	if _, err := projections.RequestReplay(context.Background(), w.kv, "accounts", "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay is live", func() bool {
		return len(scraped(t, tel).values("tidemark_projection_replays_total", "outcome", "equal")) == 1
	})
	if n := len(exported.GetSpans()); n != 1 {
		t.Errorf("there are %d spans", n)
	}
}

func TestTheSpansOfOneBatchAreBounded(t *testing.T) {
	provider, exported := traces(t)
	tel, w := newTelemetry(t, provider), newWorld()
	defer w.log.Close()
	var list []events.Event
	for i := range 1_000 {
		list = append(list, withParent(deposited(i, 1), sampled))
	}
	if _, err := w.log.Append(context.Background(), events.Batch{Events: list}); err != nil {
		t.Fatal(err)
	}
	w.project(t, w.log, tel.Projector())
	defer func() { w.end() }()
	eventually(t, "all are applied", func() bool {
		got := scraped(t, tel).values("tidemark_projection_checkpoint_sequence")
		return len(got) == 1 && got[0] == 1_001
	})
	if n := len(exported.GetSpans()); n != 128 {
		t.Errorf("1000 traced events in one batch made %d spans", n)
	}
}

// looking calls itself for each span that ended.
type looking func()

func (l looking) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { l(); return nil }

func (looking) Shutdown(context.Context) error { return nil }

func TestWhoSeesACheckpointSeesAllThatLedToIt(t *testing.T) {
	var tel *telemetry.Telemetry
	var shown [][]float64
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(looking(func() {
		shown = append(shown, scraped(t, tel).values("tidemark_projection_checkpoint_sequence"))
	})))
	defer func() { _ = provider.Shutdown(context.Background()) }()
	tel = newTelemetry(t, provider)
	w := newWorld()
	defer w.log.Close()
	if _, err := w.log.Append(context.Background(), events.Batch{Events: []events.Event{
		withParent(deposited(1, 1), sampled), withParent(deposited(2, 1), sampled),
	}}); err != nil {
		t.Fatal(err)
	}
	w.project(t, w.log, tel.Projector())
	eventually(t, "all are applied", func() bool {
		return slices.Equal(scraped(t, tel).values("tidemark_projection_checkpoint_sequence"), []float64{3})
	})
	scraped(t, tel).is(3, "tidemark_projection_records_total")
	w.end()
	if len(shown) != 2 {
		t.Errorf("%d spans", len(shown))
	}
	for i, values := range shown {
		if slices.Contains(values, 3) {
			t.Errorf("span %d was made when the checkpoint had been shown: %v", i, values)
		}
	}
}

func TestATraceContextThatIsAddedChangesNothingForTheCaller(t *testing.T) {
	provider, _ := traces(t)
	tel, w := newTelemetry(t, provider), newWorld()
	defer w.log.Close()
	ctx, span := provider.Tracer("shop").Start(context.Background(), "check out")
	defer span.End()
	full := deposited(2, 1)
	full.Extensions = map[string]string{}
	for i := range events.MaxExtensions {
		full.Extensions[fmt.Sprint("x", i)] = "1"
	}
	given := []events.Event{deposited(1, 1), full}
	given[0].Extensions = map[string]string{"tenant": "a"}
	log := tel.Log(w.log)
	if _, err := log.Append(ctx, events.Batch{Events: given}); err != nil {
		t.Fatal(err)
	}
	if len(given[0].Extensions) != 1 || len(given[1].Extensions) != events.MaxExtensions {
		t.Errorf("the caller's events have %v now", given)
	}
	for seq, want := range map[uint64]bool{2: true, 3: false} {
		r, err := log.Record(ctx, seq)
		if _, has := r.Event.Extensions["traceparent"]; err != nil || has != want {
			t.Errorf("event %d: traced is %v: %v", seq, has, err)
		}
	}
	// The same events from another trace are the same events.
	other, end := provider.Tracer("shop").Start(context.Background(), "check out again")
	defer end.End()
	if r, err := log.Append(other, events.Batch{Events: given}); err != nil || !r.Duplicate {
		t.Errorf("appended again: %+v, %v", r, err)
	}
}
