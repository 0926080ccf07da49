package parts

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// NewService returns what answers the region's queries over NATS.
func NewService(r *region.Region, reader *query.Reader, seen *telemetry.Telemetry) (*queryservice.Server, error) {
	return r.Queries(reader, queryservice.Options{Observer: seen.Queries(), Program: Version()})
}

// Query answers queries over HTTP and over NATS.
type Query struct {
	region  *region.Region
	service *queryservice.Server
	api     *httpapi.API
}

// NewQuery returns a Query.
func NewQuery(
	c Config, r *region.Region, reader *query.Reader, service *queryservice.Server, expected *Expected, seen *telemetry.Telemetry, logger *slog.Logger,
) *Query {
	o := NewOptions(c, seen, logger)
	o.Expected = expected.Names
	return &Query{region: r, service: service, api: httpapi.New(nil, reader, o)}
}

// API returns the resources of the read models.
func (q *Query) API() *httpapi.API { return q.api }

// Run works until ctx ends.
func (q *Query) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return q.service.Run(running) })
	group.Go(func() error { return untilLost(running, q.region) })
	return group.Wait()
}
