package telemetry_test

import (
	"context"
	"testing"
)

func TestQueriesOverNATSAreCountedByOperationAndCode(t *testing.T) {
	tel := newTelemetry(t, nil)
	q, ctx := tel.Queries(), context.Background()
	first, second := q.Asked(ctx, "get"), q.Asked(ctx, "list")
	scraped(t, tel).is(2, "tidemark_nats_requests_in_flight")
	first("")
	second("unavailable")
	s := scraped(t, tel)
	s.is(0, "tidemark_nats_requests_in_flight")
	s.is(1, "tidemark_nats_requests_total", "operation", "get", "code", "ok")
	s.is(1, "tidemark_nats_requests_total", "operation", "list", "code", "unavailable")
	s.is(1, "tidemark_nats_request_duration_seconds_count", "operation", "list")
}
