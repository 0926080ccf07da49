package telemetry

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"tidemark.dev/events"
)

// The outcomes of an append beside the codes of its errors.
const (
	outcomeStored    = "stored"
	outcomeDuplicate = "duplicate"
)

// appends are the metrics of appends.
type appends struct {
	total, events, bytes metric.Int64Counter
	took                 metric.Float64Histogram
	inFlight             metric.Int64UpDownCounter
}

func newAppends(m *maker) appends {
	return appends{
		total:    m.counter("tidemark_append_total", "{append}", "Appends by outcome: stored, duplicate, or the code of the error."),
		events:   m.counter("tidemark_append_events_total", "{event}", "Events in these appends."),
		bytes:    m.counter("tidemark_append_bytes_total", "By", "Payload of the events in these appends."),
		took:     m.histogram("tidemark_append_duration_seconds", "s", "From submitting an append to its outcome.", seconds()),
		inFlight: m.upDown("tidemark_append_in_flight", "{append}", "Appends whose outcome is not known yet."),
	}
}

// Log returns a log whose appends are measured. What it does is what l does.
func (t *Telemetry) Log(l events.Log) events.Log {
	return struct {
		events.Appender
		events.Reader
	}{t.Appender(l.Origin(), l), l}
}

// Appender returns an appender to an origin that is measured. With a tracer, events without a trace context get that of the context they are
// appended with; it is no part of their content.
func (t *Telemetry) Appender(origin string, a events.Appender) events.Appender {
	return &appender{t: t, to: a, origin: origin}
}

type appender struct {
	t      *Telemetry
	to     events.Appender
	origin string
}

// Submit queues an append.
func (a *appender) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	m := a.begin(ctx, &b)
	p, err := a.to.Submit(ctx, b)
	if err != nil {
		m.end(events.Receipt{}, err)
		return nil, err
	}
	wait := func() { m.end(p.Wait(context.WithoutCancel(ctx))) }
	select {
	case <-p.Done():
		wait()
	default:
		if !a.t.background(wait) {
			m.forget()
		}
	}
	return p, nil
}

// Append submits and waits.
func (a *appender) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	m := a.begin(ctx, &b)
	r, err := a.to.Append(ctx, b)
	m.end(r, err)
	return r, err
}

// measure is one append under way.
type measure struct {
	*appender
	ctx    context.Context //nolint:containedctx // for exemplars only
	began  time.Time
	events int64
	bytes  int64
}

func (a *appender) begin(ctx context.Context, b *events.Batch) *measure {
	if a.t.tracer != nil {
		b.Events = traced(ctx, b.Events)
	}
	ctx = context.WithoutCancel(ctx)
	m := &measure{appender: a, ctx: ctx, began: time.Now(), events: int64(len(b.Events))}
	for i := range b.Events {
		m.bytes += int64(len(b.Events[i].Data))
	}
	a.t.appends.inFlight.Add(ctx, 1, labels("origin", a.origin))
	return m
}

// forget ends an append that nobody measures any more.
func (m *measure) forget() { m.t.appends.inFlight.Add(m.ctx, -1, labels("origin", m.origin)) }

func (m *measure) end(r events.Receipt, err error) {
	m.forget()
	outcome := outcomeStored
	switch {
	case err != nil:
		outcome = codeOf(err)
	case r.Duplicate:
		outcome = outcomeDuplicate
	}
	as, by := &m.t.appends, labels("origin", m.origin, "outcome", outcome)
	as.total.Add(m.ctx, 1, by)
	as.events.Add(m.ctx, m.events, by)
	as.bytes.Add(m.ctx, m.bytes, by)
	as.took.Record(m.ctx, time.Since(m.began).Seconds(), by)
}

// traced returns the events with the trace context of ctx, where they have none. The caller's events are not changed.
func traced(ctx context.Context, list []events.Event) []events.Event {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return list
	}
	given := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, given)
	out := slices.Clone(list)
	for i := range out {
		e := &out[i]
		if _, has := e.Extensions["traceparent"]; has || len(e.Extensions)+len(given) > events.MaxExtensions {
			continue
		}
		extensions := make(map[string]string, len(e.Extensions)+len(given))
		maps.Copy(extensions, e.Extensions)
		maps.Copy(extensions, given)
		e.Extensions = extensions
	}
	return out
}
