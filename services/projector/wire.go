//go:build wireinject

package main

import (
	"context"

	"github.com/google/wire"

	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/service"
)

// open composes the projector.
func open(ctx context.Context, s service.Settings) (service.Part, func(), error) {
	wire.Build(
		parts.ProjectorConfig, parts.NewLogger, parts.OpenRegion, parts.NewTelemetry, parts.NewLog, parts.NewHeads, parts.NewReader,
		parts.NewProjections, parts.NewProjectors, parts.ProjectorPart,
	)
	return service.Part{}, nil, nil
}
