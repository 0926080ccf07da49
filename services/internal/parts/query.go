package parts

import (
	"context"
	"log/slog"

	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// Query answers queries over HTTP.
type Query struct {
	region *region.Region
	api    *httpapi.API
}

// NewQuery returns a Query.
func NewQuery(c Config, r *region.Region, reader *query.Reader, expected *Expected, seen *telemetry.Telemetry, logger *slog.Logger) *Query {
	o := NewOptions(c, seen, logger)
	o.Expected = expected.Names
	return &Query{region: r, api: httpapi.New(nil, reader, o)}
}

// API returns the resources of the read models.
func (q *Query) API() *httpapi.API { return q.api }

// Run works until ctx ends.
func (q *Query) Run(ctx context.Context) error { return untilLost(ctx, q.region) }
