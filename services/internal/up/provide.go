package up

import (
	"context"
	"log/slog"
	"net"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// The providers that wire puts together.

func newLogger(c Config) *slog.Logger {
	if c.Region.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Region.Logger
}

func openRegion(ctx context.Context, c Config, logger *slog.Logger) (*region.Region, func(), error) {
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

func newProjections(c Config) ([]projections.Projection, error) {
	if c.Projections != nil {
		return c.Projections, nil
	}
	return flights.All()
}

func newProjectors(c Config, r *region.Region, all []projections.Projection, logger *slog.Logger) ([]*projector.Projector, error) {
	o := c.Projector
	o.Holder, o.Logger = r.Holder(), logger
	out := make([]*projector.Projector, len(all))
	for i, p := range all {
		var err error
		if out[i], err = projector.New(p, r.Log(), r.Store(), r.KV(), r.Leases(), o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func newReader(r *region.Region, heads *query.Heads) *query.Reader {
	return query.New(r.Name(), r.Store(), r.KV(), heads)
}

func newLog(r *region.Region) events.Log { return r.Log() }

// listen begins to listen before anything works, so that an address that is taken is told before anything is done.
func listen(ctx context.Context, c Config) (net.Listener, func(), error) {
	if c.HTTP == "" {
		return nil, func() {}, nil
	}
	l, err := httpapi.Listen(ctx, c.HTTP)
	if err != nil {
		return nil, nil, err
	}
	return l, func() { _ = l.Close() }, nil // closed already, unless the app never ran
}

// names are those of the projections that run.
type names []string

func newNames(all []projections.Projection) names {
	var out names
	for _, p := range all {
		out = append(out, p.Definition().Name)
	}
	return out
}

func newAPI(log events.Log, reader *query.Reader, l net.Listener, run names, logger *slog.Logger) *httpapi.API {
	o := httpapi.Options{Projections: run, Logger: logger}
	if l != nil {
		o.Address = l.Addr()
	}
	return httpapi.New(log, reader, o)
}

func newApp(
	c Config, r *region.Region, reader *query.Reader, p []*projector.Projector, run names, l net.Listener, api *httpapi.API, logger *slog.Logger,
) *App {
	return &App{region: r, reader: reader, projectors: p, names: run, listener: l, api: api, config: c, logger: logger}
}
