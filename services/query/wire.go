//go:build wireinject

package main

import (
	"context"

	"github.com/google/wire"

	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/service"
)

// open composes the query.
func open(ctx context.Context, s service.Settings) (service.Part, func(), error) {
	wire.Build(
		parts.QueryConfig, parts.NewLogger, parts.OpenRegion, parts.NewTelemetry, parts.NewHeads, parts.NewReader,
		parts.NewProjections, parts.NewExpected, parts.NewService, parts.NewQuery, parts.QueryPart,
	)
	return service.Part{}, nil, nil
}
