//go:build wireinject

package main

import (
	"context"

	"github.com/google/wire"

	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/service"
)

// open composes the writer.
func open(ctx context.Context, s service.Settings) (service.Part, func(), error) {
	wire.Build(parts.WriterConfig, parts.NewLogger, parts.OpenRegion, parts.NewTelemetry, parts.NewLog, parts.NewWriter, parts.WriterPart)
	return service.Part{}, nil, nil
}
