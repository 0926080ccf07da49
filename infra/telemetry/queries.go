package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// Queries measures what is answered over NATS.
type Queries struct {
	total    metric.Int64Counter
	took     metric.Float64Histogram
	inFlight metric.Int64UpDownCounter
}

func newQueries(m *maker) *Queries {
	return &Queries{
		total:    m.counter("tidemark_nats_requests_total", "{request}", "Answered requests. code is the stable code of the problem; ok when there was none."),
		took:     m.histogram("tidemark_nats_request_duration_seconds", "s", "Time to answer, waits for a position included; of a watch its whole life.", seconds()),
		inFlight: m.upDown("tidemark_nats_requests_in_flight", "{request}", "Requests that are being answered, and watches."),
	}
}

// Queries returns what a query service tells about its requests.
func (t *Telemetry) Queries() *Queries { return t.queries }

// Asked tells that a request for an operation came. What it returns is called once, with the code of the problem that was answered, empty for none.
func (q *Queries) Asked(ctx context.Context, operation string) func(code string) {
	ctx = context.WithoutCancel(ctx)
	began := time.Now()
	q.inFlight.Add(ctx, 1)
	return func(code string) {
		q.inFlight.Add(ctx, -1)
		if code == "" {
			code = "ok"
		}
		q.total.Add(ctx, 1, labels("operation", operation, "code", code))
		q.took.Record(ctx, time.Since(began).Seconds(), labels("operation", operation))
	}
}
