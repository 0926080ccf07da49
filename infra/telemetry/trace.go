package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"tidemark.dev/events"
	"tidemark.dev/projections/projector"
)

// maxSpans bounds the spans made for one batch.
const maxSpans = 128

// spans makes a span for each event of a batch whose trace is sampled, as a child of whoever published it: the trace then shows when the
// event could be read in this region. A replay makes none, because those traces are long over.
func (p *projection) spans(c *projector.Committed) {
	if p.tracer == nil {
		return
	}
	made := 0
	for _, r := range c.Records {
		if r.Kind != events.KindEvent || r.Event.Extensions["traceparent"] == "" {
			continue
		}
		from := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(r.Event.Extensions))
		if !trace.SpanContextFromContext(from).IsSampled() {
			continue
		}
		if made++; made > maxSpans {
			return
		}
		_, span := p.tracer.Start(from, "apply "+r.Event.Type, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(c.Began),
			trace.WithAttributes(
				attribute.String("tidemark.region", p.region), attribute.String("tidemark.origin", c.Origin),
				attribute.Int64("tidemark.sequence", whole(r.Sequence)), attribute.String("tidemark.projection", c.Projection),
				attribute.Int64("tidemark.generation", int64(c.Generation)), attribute.Int("tidemark.batch.records", len(c.Records)),
			))
		span.End(trace.WithTimestamp(c.Ended))
	}
}
