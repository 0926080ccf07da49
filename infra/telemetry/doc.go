// Package telemetry shows what a process does: metrics for Prometheus, measured through OpenTelemetry, and spans for events that carry a
// trace context. It exists so that no other package needs to know either: they have ports (events.Log, events.Copy, events.Floors,
// projector.Observer), and this package stands behind them.
//
// Nothing is global: a Telemetry has its own registry and providers. What is not known has no sample; see README.md for every metric.
package telemetry
