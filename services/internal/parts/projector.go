package parts

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// Projectors run the projections of a region.
type Projectors struct {
	region *region.Region
	reader *query.Reader
	all    []*projector.Projector
	names  Names
	api    *httpapi.API
}

// NewProjectors returns the projectors of projections.
func NewProjectors(
	c Config, r *region.Region, log events.Log, reader *query.Reader, all []projections.Projection, names Names, seen *telemetry.Telemetry, logger *slog.Logger,
) (*Projectors, error) {
	p := &Projectors{region: r, reader: reader, names: names}
	o := c.Projector
	o.Holder, o.Logger, o.Observer, o.Signals = r.Holder(), logger.With("region", r.Name()), seen.Projector(), r.Signals()
	for _, one := range all {
		worker, err := projector.New(one, log, r.Store(), r.KV(), r.Leases(), o)
		if err != nil {
			return nil, err
		}
		p.all = append(p.all, worker)
	}
	answer := NewOptions(c, seen, logger)
	answer.Check = p.Missing
	p.api = httpapi.New(nil, nil, answer)
	return p, nil
}

// API returns the resources of a projector: its health.
func (p *Projectors) API() *httpapi.API { return p.api }

// Run runs the projectors until ctx ends.
func (p *Projectors) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	for _, one := range p.all {
		group.Go(func() error { return one.Run(running) })
	}
	group.Go(func() error { return untilLost(running, p.region) })
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Missing says which projections no projector of the region can advance.
func (p *Projectors) Missing(ctx context.Context) (out []httpapi.Missing) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	overview, err := p.reader.Overview(ctx)
	if err != nil {
		return []httpapi.Missing{httpapi.Lacks("region", err)}
	}
	states := make(map[string]*query.ModelStatus, len(overview.Projections))
	for i := range overview.Projections {
		states[overview.Projections[i].Name] = &overview.Projections[i]
	}
	for _, name := range p.names {
		switch s := states[name]; {
		case s == nil:
			out = append(out, httpapi.Missing{Part: "projection " + name, Reason: "its projector has not begun"})
		case s.Projector == projections.ProjectorRefused || s.Projector == projections.ProjectorWaiting || s.Projector == projections.ProjectorSilent:
			out = append(out, httpapi.Missing{Part: "projection " + name, Code: s.Code, Reason: s.Message})
		}
	}
	return out
}
