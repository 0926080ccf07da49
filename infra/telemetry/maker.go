package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"tidemark.dev/events"
)

// Boundaries of histograms, in seconds and records.
func seconds() []float64 {
	return []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
}

func counts() []float64 { return []float64{1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000} }

// maker makes instruments and collects what is wrong with them.
type maker struct {
	meter metric.Meter
	errs  []error
}

func (m *maker) counter(name, unit, what string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
	m.errs = append(m.errs, err)
	return c
}

func (m *maker) upDown(name, unit, what string) metric.Int64UpDownCounter {
	c, err := m.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
	m.errs = append(m.errs, err)
	return c
}

func (m *maker) histogram(name, unit, what string, bounds []float64) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit(unit), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
	m.errs = append(m.errs, err)
	return h
}

// gauge makes a gauge of whole numbers whose value is asked for at each scrape.
func (m *maker) gauge(name, unit, what string) metric.Int64ObservableGauge {
	g, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
	m.errs = append(m.errs, err)
	return g
}

func (m *maker) floatGauge(name, unit, what string) metric.Float64ObservableGauge {
	g, err := m.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
	m.errs = append(m.errs, err)
	return g
}

// observe lets f give the values of gauges at each scrape.
func (m *maker) observe(f metric.Callback, gauges ...metric.Observable) {
	_, err := m.meter.RegisterCallback(f, gauges...)
	m.errs = append(m.errs, err)
}

// labels are label values in pairs: name, value.
func labels(pairs ...string) metric.MeasurementOption {
	list := make([]attribute.KeyValue, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, attribute.String(pairs[i], pairs[i+1]))
	}
	return metric.WithAttributeSet(attribute.NewSet(list...))
}

// codeOf returns the stable code of an error, which is one of a bounded set.
func codeOf(err error) string {
	if code, ok := events.CodeOf(err); ok {
		return string(code)
	}
	return "other"
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// whole returns a sequence or count as a sample. Both are far below 2^63.
func whole(n uint64) int64 { return int64(min(n, 1<<63-1)) } //nolint:gosec // bounded just now
