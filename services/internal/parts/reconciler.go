package parts

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/projections/runner"
	"tidemark.dev/services/internal/httpapi"
)

// standingPatience bounds what one region gets to say what its read model is.
const standingPatience = 5 * time.Second

// Reconciler keeps a region's read models what the log says: it compares them with other regions', scrubs them, and has repaired what is wrong.
type Reconciler struct {
	region     *region.Region
	reader     *query.Reader
	reconciler *reconcile.Reconciler
	api        *httpapi.API
}

// NewReconciler returns the reconciler of a region.
func NewReconciler(c Config, r *region.Region, reader *query.Reader, own []projections.Projection, seen *telemetry.Telemetry, logger *slog.Logger) *Reconciler {
	p := &Reconciler{region: r, reader: reader}
	o := c.Reconciler
	o.Holder, o.Logger, o.Observer = r.Holder(), logger.With("region", r.Name()), seen.Reconciled()
	o.Snapshots = r.Snapshots()
	o.Standings = func(ctx context.Context, projection string) []reconcile.Standing {
		return standings(ctx, r, reader, projection)
	}
	o.Announce = func(record reconcile.Record) {
		if err := r.Announce(&record); err != nil {
			o.Logger.Warn("findings were not announced", "projection", record.Projection, "reason", err.Error())
		}
	}
	versions := runner.NewVersions(own, r.Log(), r.KV(), r.Reader)
	p.reconciler = reconcile.NewReconciler(r.Name(), versions, r.Store(), r.KV(), r.Leases(), o)
	p.api = httpapi.New(nil, nil, NewOptions(c, seen, logger))
	return p
}

// API returns the resources of a reconciler: its health.
func (p *Reconciler) API() *httpapi.API { return p.api }

// Run works until ctx ends.
func (p *Reconciler) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return p.reconciler.Run(running) })
	group.Go(func() error { return untilLost(running, p.region) })
	return group.Wait()
}

// standings asks every region what its read model was at the marks that it passed: this one itself, the others over the links.
func standings(ctx context.Context, r *region.Region, reader *query.Reader, projection string) []reconcile.Standing {
	ctx, cancel := context.WithTimeout(ctx, standingPatience)
	defer cancel()
	names, err := r.Elsewhere(ctx)
	if err != nil {
		names = nil // the leader does not say who follows it: then there is nobody to compare with now
	}
	list := make([]reconcile.Standing, 1+len(names))
	var asking sync.WaitGroup
	asking.Go(func() {
		m, err := reader.Marks(ctx, projection, query.MarksOptions{})
		list[0] = standingOf(r.Name(), projection, &m, err)
	})
	for i, name := range names {
		asking.Go(func() {
			var m query.Marks
			err := r.Ask(ctx, name, queryservice.Marks, queryservice.NewMarksRequest(projection, query.MarksOptions{}), &m)
			list[i+1] = standingOf(name, projection, &m, err)
		})
	}
	asking.Wait()
	slices.SortFunc(list, func(a, b reconcile.Standing) int {
		if a.Region < b.Region {
			return -1
		}
		return 1
	})
	return list
}

func standingOf(region, projection string, m *query.Marks, err error) reconcile.Standing {
	if err == nil {
		return m.Standing
	}
	code, _ := events.CodeOf(err)
	return reconcile.Standing{Region: region, Projection: projection, Unknown: &reconcile.Reason{Code: string(code), Message: err.Error()}}
}
