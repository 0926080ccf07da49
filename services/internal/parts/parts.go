// Package parts is what the services are made of: the writer, the projector, the query. Each service is composed of one of them, and tidemark up of
// all three in one process, so that both run the same code.
package parts

import (
	"context"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/httpapi"
)

// Config of one region's parts.
type Config struct {
	// Service is the name under which metrics are shown.
	Service string
	// Region says what the region is made of. Its Logger and Holder are used for everything.
	Region region.Config
	// Address is where the API listens; nil: there is none.
	Address net.Addr
	// Projections that run; nil: those of the flights example.
	Projections []projections.Projection
	// Projector adjusts the projectors; its Logger and Holder are set from the region's.
	Projector projector.Options
	// Reconciler adjusts the reconciler; its Logger, Holder and what it asks and tells are set here.
	Reconciler reconcile.ReconcilerOptions
}

// NewLogger returns the logger of every part.
func NewLogger(c Config) *slog.Logger {
	if c.Region.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Region.Logger
}

// OpenRegion opens the region, and returns how to close it.
func OpenRegion(ctx context.Context, c Config, logger *slog.Logger) (*region.Region, func(), error) {
	r, err := region.Open(ctx, c.Region)
	if err != nil {
		return nil, nil, err
	}
	return r, func() {
		if err := r.Close(context.WithoutCancel(ctx)); err != nil {
			logger.WarnContext(ctx, "the region did not close cleanly", "region", r.Name(), "reason", err.Error())
		}
	}, nil
}

// NewTelemetry returns what the process shows of itself, and how to end it.
func NewTelemetry(ctx context.Context, c Config, r *region.Region, logger *slog.Logger) (*telemetry.Telemetry, func(), error) {
	t, err := telemetry.New(telemetry.Options{Service: c.Service, Region: r.Name(), Version: Version(), Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	if c.Region.Role.Tends() {
		t.ObserveCopy(r.Copy())
		if r.Leads() {
			t.ObserveFloors(r.Log().Origin(), r.Floors())
		}
	}
	return t, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), telemetryPatience)
		defer cancel()
		if err := t.Close(end); err != nil {
			logger.WarnContext(end, "the metrics did not end cleanly", "reason", err.Error())
		}
	}, nil
}

// telemetryPatience bounds the end of the metrics.
const telemetryPatience = 2 * time.Second

// Version of the program, as the toolchain recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

// NewLog returns the region's log, observed.
func NewLog(r *region.Region, seen *telemetry.Telemetry) events.Log { return seen.Log(r.Log()) }

// NewProjections returns the projections that run.
func NewProjections(c Config) ([]projections.Projection, error) {
	if c.Projections != nil {
		return c.Projections, nil
	}
	return flights.All()
}

// NewHeads returns how far the region's log has come, and the leader's.
func NewHeads(r *region.Region) *query.Heads {
	return query.NewCopyHeads(r.Log(), r.Copy(), r.Head())
}

// NewReader returns the region's queries.
func NewReader(r *region.Region, heads *query.Heads) *query.Reader {
	return query.New(r.Name(), r.Store(), r.KV(), heads).Use(r.Signals()).Attach(r.Reader)
}

// NewOptions returns what every API of the region has.
func NewOptions(c Config, seen *telemetry.Telemetry, logger *slog.Logger) httpapi.Options {
	return httpapi.Options{Address: c.Address, Metrics: seen.Handler(), Observer: seen.Requests(), Logger: logger.With("region", c.Region.Name)}
}
