package parts

import (
	"context"
	"log/slog"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/services/internal/httpapi"
)

// checkPatience bounds a question whose answer makes a service ready.
const checkPatience = 2 * time.Second

// Writer takes appends over HTTP, and keeps the region's copy of the log: it sets the log up and answers other regions where the region leads, and
// mirrors it everywhere else.
type Writer struct {
	region *region.Region
	api    *httpapi.API
}

// NewWriter returns a Writer.
func NewWriter(c Config, r *region.Region, log events.Log, seen *telemetry.Telemetry, logger *slog.Logger) *Writer {
	w := &Writer{region: r}
	o := NewOptions(c, seen, logger)
	o.Floors, o.Check = r.Floors(), w.missing
	w.api = httpapi.New(log, nil, o)
	return w
}

// API returns the writer's resources.
func (w *Writer) API() *httpapi.API { return w.api }

// Run works until ctx ends.
func (w *Writer) Run(ctx context.Context) error { return untilLost(ctx, w.region) }

// missing says what keeps the writer from taking appends: its own copy of the log, or the leader.
func (w *Writer) missing(ctx context.Context) []httpapi.Missing {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if _, err := w.region.Log().Info(ctx); err != nil {
		return []httpapi.Missing{httpapi.Lacks("log", err)}
	}
	if now := w.region.Copy().Replication(); now.State == events.CopyDiverged {
		return []httpapi.Missing{{Part: "log", Code: string(now.Code), Reason: now.Message}}
	}
	if w.region.Leads() {
		return nil
	}
	if _, err := w.region.Floors().Floors(ctx); err != nil {
		return []httpapi.Missing{httpapi.Lacks("leader", err)}
	}
	return nil
}

// untilLost returns when ctx ends, or something of the region's that it cannot do without has ended by itself.
func untilLost(ctx context.Context, r *region.Region) error {
	select {
	case err := <-r.Lost():
		return err
	case <-ctx.Done():
		return nil
	}
}
