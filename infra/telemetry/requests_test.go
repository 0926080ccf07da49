package telemetry_test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestRequestsAreCountedByRouteStatusAndCode(t *testing.T) {
	tel := newTelemetry(t, nil)
	r, ctx := tel.Requests(), context.Background()
	first, second := r.Begin(ctx, "GET"), r.Begin(ctx, "POST")
	scraped(t, tel).is(2, "tidemark_http_requests_in_flight")
	first("GET /v1/models/{projection}/{key...}", 200, "")
	second("POST /v1/events", 409, "conflict")
	r.Begin(ctx, "BREW")("", 405, "method-not-allowed")
	r.Waited(ctx, 20*time.Millisecond, "")
	r.Waited(ctx, time.Second, "not-reached")
	s := scraped(t, tel)
	s.is(0, "tidemark_http_requests_in_flight")
	s.is(1, "tidemark_http_requests_total", "method", "GET", "route", "GET /v1/models/{projection}/{key...}", "status", "200", "code", "ok")
	s.is(1, "tidemark_http_requests_total", "method", "POST", "status", "409", "code", "conflict")
	s.is(1, "tidemark_http_requests_total", "method", "other", "route", "none")
	s.is(1, "tidemark_http_request_duration_seconds_count", "route", "POST /v1/events")
	s.is(1, "tidemark_query_waits_total", "outcome", "reached")
	s.is(1, "tidemark_query_waits_total", "outcome", "not-reached")
	s.is(2, "tidemark_query_wait_duration_seconds_count")
	ended := r.Watching(ctx)
	r.Watching(ctx)("resync")
	s = scraped(t, tel)
	s.is(1, "tidemark_watches")
	s.is(1, "tidemark_watch_ends_total", "code", "resync")
	ended("")
	s = scraped(t, tel)
	s.is(0, "tidemark_watches")
	s.is(1, "tidemark_watch_ends_total", "code", "gone")
}

func TestLabelValuesWithoutEndAreCountedTogether(t *testing.T) {
	tel := newTelemetry(t, nil)
	for i := range 2_000 {
		tel.Requests().Begin(context.Background(), "GET")("/v1/models/airports/"+fmt.Sprint(i), 200, "") // a mistake of the caller's
	}
	s := scraped(t, tel)
	got := s.values("tidemark_http_requests_total")
	sum := 0.0
	for _, n := range got {
		sum += n
	}
	if len(got) > 500 || sum != 2_000 {
		t.Errorf("2000 requests to as many routes made %d series with the sum %v", len(got), sum)
	}
	if overflow := s.values("tidemark_http_requests_total", "otel_metric_overflow", "true"); len(overflow) != 1 {
		t.Errorf("what is too much is shown as %v", overflow)
	}
}
