//go:build wireinject

package up

import (
	"context"

	"github.com/google/wire"

	"tidemark.dev/services/internal/parts"
)

// New puts a region together: everything is open and nothing works yet. The function that it returns closes all of it again; call it after
// Run has returned. Errors are those of region.Open, and failure.ErrCannotListen; after one, nothing is left open.
func New(ctx context.Context, c Config) (*App, func(), error) {
	wire.Build(
		partsOf, parts.NewLogger, listen, parts.OpenRegion, parts.NewTelemetry, parts.NewLog, parts.NewHeads, parts.NewReader,
		parts.NewProjections, parts.NewExpected, parts.NewProjectors, parts.NewReconciler, parts.NewOptions, parts.NewService, newAPI, newApp,
	)
	return nil, nil, nil
}
