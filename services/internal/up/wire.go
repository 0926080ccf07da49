//go:build wireinject

package up

import (
	"context"

	"github.com/google/wire"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
)

// New puts a region together: everything is open and nothing works yet. The function that it returns closes all of it again; call it after
// Run has returned. Errors are those of region.Open, and failure.ErrCannotListen; after one, nothing is left open.
func New(ctx context.Context, c Config) (*App, func(), error) {
	wire.Build(
		newLogger, listen, openRegion, newLog, wire.Bind(new(events.Reader), new(events.Log)),
		newProjections, newNames, newProjectors, query.NewHeads, newReader, newAPI, newApp,
	)
	return nil, nil, nil
}
