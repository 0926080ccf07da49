package telemetry

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// Requests measures what an HTTP API answers. Routes must be patterns, never paths: a path may hold a key.
type Requests struct {
	total    metric.Int64Counter
	took     metric.Float64Histogram
	inFlight metric.Int64UpDownCounter
	waits    metric.Int64Counter
	waited   metric.Float64Histogram
	watches  metric.Int64UpDownCounter
	ends     metric.Int64Counter
}

func newRequests(m *maker) *Requests {
	return &Requests{
		total:    m.counter("tidemark_http_requests_total", "{request}", "Answered requests. code is the stable code of the problem; ok when there was none."),
		took:     m.histogram("tidemark_http_request_duration_seconds", "s", "Time to answer, waits for a position included.", seconds()),
		inFlight: m.upDown("tidemark_http_requests_in_flight", "{request}", "Requests that are being answered."),
		waits:    m.counter("tidemark_query_waits_total", "{wait}", "Reads that asked for a position, or for the leader's head, by outcome: reached, or the code of the error."),
		waited:   m.histogram("tidemark_query_wait_duration_seconds", "s", "How long these reads took.", seconds()),
		watches:  m.upDown("tidemark_watches", "{watch}", "Watches that run."),
		ends:     m.counter("tidemark_watch_ends_total", "{watch}", "Watches that ended, by the code of why; gone when the client went."),
	}
}

// Requests returns what an HTTP API tells about its requests.
func (t *Telemetry) Requests() *Requests { return t.requests }

// Begin tells that a request came. The function that it returns is called once with how it was answered: route is the pattern that matched,
// empty for none; code is the stable code of the problem, empty for none.
func (r *Requests) Begin(ctx context.Context, method string) func(route string, status int, code string) {
	ctx = context.WithoutCancel(ctx)
	began := time.Now()
	method = known(method)
	r.inFlight.Add(ctx, 1)
	return func(route string, status int, code string) {
		r.inFlight.Add(ctx, -1)
		if route == "" {
			route = "none"
		}
		if code == "" {
			code = "ok"
		}
		r.total.Add(ctx, 1, labels("method", method, "route", route, "status", strconv.Itoa(status), "code", code))
		r.took.Record(ctx, time.Since(began).Seconds(), labels("method", method, "route", route))
	}
}

// Waited tells that a read with a position took so long, and how it ended: code is empty when the position was reached.
func (r *Requests) Waited(ctx context.Context, took time.Duration, code string) {
	if code == "" {
		code = "reached"
	}
	r.waits.Add(ctx, 1, labels("outcome", code))
	r.waited.Record(ctx, took.Seconds())
}

// Watching tells that a watch has begun. The function that it returns is called once, with the code of why it ended, empty when the client went.
func (r *Requests) Watching(ctx context.Context) func(code string) {
	ctx = context.WithoutCancel(ctx)
	r.watches.Add(ctx, 1)
	return func(code string) {
		if code == "" {
			code = "gone"
		}
		r.watches.Add(ctx, -1)
		r.ends.Add(ctx, 1, labels("code", code))
	}
}

// known returns the method if it is one of HTTP's own: a client may send any word.
func known(method string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}, method) {
		return method
	}
	return "other"
}
