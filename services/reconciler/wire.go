//go:build wireinject

package main

import (
	"context"

	"github.com/google/wire"

	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/service"
)

// open composes the reconciler.
func open(ctx context.Context, s service.Settings) (service.Part, func(), error) {
	wire.Build(
		parts.ReconcilerConfig, parts.NewLogger, parts.OpenRegion, parts.NewTelemetry, parts.NewHeads, parts.NewReader,
		parts.NewProjections, parts.NewReconciler, parts.ReconcilerPart,
	)
	return service.Part{}, nil, nil
}
