package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

const (
	scope = "tidemark.dev/infra/telemetry"

	// maxSeries bounds the label combinations of one metric. What is beyond it is counted together, under otel_metric_overflow="true".
	maxSeries = 500
	// maxScrapes bounds the scrapes served at once, and scrapePatience how long one takes: a scrape may ask the leader for its floors.
	maxScrapes     = 4
	scrapePatience = 10 * time.Second
)

// Options of a Telemetry. The zero value works.
type Options struct {
	// Service and Region become the labels service and region of every metric of ours; default "tidemark" and "unknown".
	Service, Region string
	// Version of the program, shown in tidemark_build_info.
	Version string
	// Tracer makes the spans; nil: there are none, and trace contexts only travel. Which exporter is behind it is the program's business.
	Tracer trace.TracerProvider
	// Logger gets what keeps a scrape from being answered; default: none.
	Logger *slog.Logger
}

// Telemetry is what one process shows. It is safe for concurrent use. Its parts are handed to whom they observe: Log or Appender, Projector,
// Requests, Queries, Verdicts, Reconciled; ObserveCopy, ObserveFloors and ObserveAudit are told whom to ask.
type Telemetry struct {
	meter    metric.Meter
	provider *sdk.MeterProvider
	handler  http.Handler
	tracer   trace.Tracer // nil: no spans
	region   string

	appends     appends
	replication replication
	audits      audits
	projection  *projection
	requests    *Requests
	queries     *Queries
	verdicts    *Verdicts
	reconciled  *Reconciled

	mu      sync.Mutex
	closed  bool
	pending sync.WaitGroup // appends whose outcome is waited for
}

// New returns a Telemetry. It fails only when the metrics' names contradict each other, which its tests would have shown.
func New(o Options) (*Telemetry, error) {
	o.Service, o.Region = cmp.Or(o.Service, "tidemark"), cmp.Or(o.Region, "unknown")
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := exporter.New(
		exporter.WithRegisterer(registry),
		exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithoutSuffixes), // names are written out below
		exporter.WithoutScopeInfo(), exporter.WithoutTargetInfo(),
		exporter.WithResourceAsConstantLabels(attribute.NewAllowKeysFilter("service", "region")),
	)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{region: o.Region}
	t.provider = sdk.NewMeterProvider(sdk.WithReader(reader), sdk.WithCardinalityLimit(maxSeries),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service", o.Service), attribute.String("region", o.Region))))
	t.meter = t.provider.Meter(scope)
	t.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn), MaxRequestsInFlight: maxScrapes, Timeout: scrapePatience,
	})
	if o.Tracer != nil {
		t.tracer = o.Tracer.Tracer(scope)
	}
	return t, t.instruments(o.Version)
}

// instruments makes every metric.
func (t *Telemetry) instruments(version string) error {
	m := maker{meter: t.meter}
	info := m.gauge("tidemark_build_info", "1", "Always 1; says which program runs.")
	build := labels("version", version, "go", runtime.Version())
	m.observe(func(_ context.Context, o metric.Observer) error { o.ObserveInt64(info, 1, build); return nil }, info)
	t.appends = newAppends(&m)
	t.replication.make(&m)
	t.audits.make(&m)
	t.projection = newProjection(&m, t.region, t.tracer)
	t.requests = newRequests(&m)
	t.queries = newQueries(&m)
	t.verdicts = newVerdicts(&m)
	t.reconciled = newReconciled(&m, t.verdicts)
	return errors.Join(m.errs...)
}

// Handler answers with every metric, in the text format of Prometheus.
func (t *Telemetry) Handler() http.Handler { return t.handler }

// Close ends the metrics: samples are neither taken nor shown any more. It waits for appends whose outcome is not known until ctx ends; close the
// log first. A second Close does nothing.
func (t *Telemetry) Close(ctx context.Context) error {
	t.mu.Lock()
	before := t.closed
	t.closed = true
	t.mu.Unlock()
	if before {
		return nil
	}
	done := make(chan struct{})
	go func() {
		t.pending.Wait()
		close(done)
	}()
	var cut error
	select {
	case <-done:
	case <-ctx.Done():
		cut = fmt.Errorf("telemetry: closing did not wait for the outcome of every append: %w", context.Cause(ctx))
	}
	return errors.Join(cut, t.provider.Shutdown(context.WithoutCancel(ctx)))
}

// background runs f in a goroutine that Close waits for. After Close it does nothing and returns false.
func (t *Telemetry) background(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.pending.Go(f)
	return true
}
