package parts

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/projections/runner"
	"tidemark.dev/services/internal/httpapi"
)

// verdictPatience is how long the projectors are not begun while it is not known what the audit of the log has found.
const verdictPatience = 2 * time.Second

// Projectors run the projections of a region: those in the catalog, and those that are compiled in.
type Projectors struct {
	region *region.Region
	reader *query.Reader
	runner *runner.Runner
	marks  *marks.Writer // nil: another region leads the log
	audit  *marks.Auditor
	api    *httpapi.API
	begun  time.Time
}

// markGrace is how long after its begin a process is not asked whether marks are passed: while everything was stopped none was written.
const markGrace = reconcile.OverdueMarks * marks.DefaultInterval

// NewProjectors returns the projectors of a region.
func NewProjectors(
	c Config, r *region.Region, log events.Log, reader *query.Reader, own []projections.Projection, seen *telemetry.Telemetry, logger *slog.Logger,
) (*Projectors, error) {
	p := &Projectors{region: r, reader: reader, begun: time.Now()}
	o := runner.Options{Projector: c.Projector, Reader: r.Reader}
	o.Projector.Holder, o.Projector.Logger, o.Projector.Observer = r.Holder(), logger.With("region", r.Name()), seen.Projector()
	o.Projector.Signals = r.Signals()
	o.Projector.Region, o.Projector.Snapshots, o.Projector.Witnesses = r.Name(), r.Snapshots(), p.witnesses
	p.audit = marks.NewAuditor(r.Log(), r.KV(), r.Leases(), marks.AuditorOptions{
		Region: r.Name(), Leader: r.Leader(), Holder: r.Holder(), Others: r.Others, Logger: o.Projector.Logger,
	})
	o.Projector.Trust = p.audit.Verdict
	seen.ObserveAudit(p.audit)
	var err error
	if p.runner, err = runner.New(own, log, r.Store(), r.KV(), r.Leases(), o); err != nil {
		return nil, err
	}
	if r.Leads() {
		p.marks = marks.New(log, marks.Options{Logger: o.Projector.Logger})
	}
	answer := NewOptions(c, seen, logger)
	answer.Check = p.Missing
	p.api = httpapi.New(nil, nil, answer)
	return p, nil
}

// API returns the resources of a projector: its health.
func (p *Projectors) API() *httpapi.API { return p.api }

// Run runs the projectors and the audit of the log that they read, and where the region leads the log writes its marks, until ctx ends.
func (p *Projectors) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		t := time.NewTimer(verdictPatience)
		defer t.Stop()
		select {
		case <-p.audit.Known():
		case <-t.C: // the projectors wait, and say for what
		case <-running.Done():
		}
		return p.runner.Run(running)
	})
	group.Go(func() error { return p.audit.Run(running) })
	if p.marks != nil {
		group.Go(func() error { return p.marks.Run(running) })
	}
	group.Go(func() error { return untilLost(running, p.region) })
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// witnesses asks other regions what their read models were at the marks that they passed.
func (p *Projectors) witnesses(ctx context.Context, projection string) (list []projector.Witness) {
	for _, s := range standings(ctx, p.region, p.reader, projection) {
		if s.Region == p.region.Name() || s.Unknown != nil {
			continue
		}
		w := projector.Witness{Region: s.Region, Definition: s.Definition}
		for _, m := range s.Marks {
			w.Marks = append(w.Marks, projections.PartitionMark{Sequence: m.Sequence, Number: m.Number, Documents: m.Documents, Digest: m.Digest})
		}
		list = append(list, w)
	}
	return list
}

// Begun reports whether something is known here about every projection that should be followed: it has a read model, or its projector says why not.
func (p *Projectors) Begun(ctx context.Context) bool {
	wanted, known := p.runner.Wanted()
	if !known {
		return false
	}
	names, err := p.reader.Projections(ctx)
	return err == nil && !slices.ContainsFunc(wanted, func(n string) bool { return !slices.Contains(names, n) })
}

// Missing says which projections no projector of the region can advance.
func (p *Projectors) Missing(ctx context.Context) (out []httpapi.Missing) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	wanted, known := p.runner.Wanted()
	if !known {
		return []httpapi.Missing{{Part: "catalog", Reason: "which projections there are could not be read from the log yet"}}
	}
	overview, err := p.reader.Overview(ctx)
	if err != nil {
		return []httpapi.Missing{httpapi.Lacks("region", err)}
	}
	states := make(map[string]*query.ModelStatus, len(overview.Projections))
	for i := range overview.Projections {
		states[overview.Projections[i].Name] = &overview.Projections[i]
	}
	for _, name := range wanted {
		switch s := states[name]; {
		case s == nil:
			out = append(out, httpapi.Missing{Part: "projection " + name, Reason: "its projector has not begun"})
		case s.Projector == projections.ProjectorRefused || s.Projector == projections.ProjectorWaiting || s.Projector == projections.ProjectorSilent:
			out = append(out, httpapi.Missing{Part: "projection " + name, Code: s.Code, Reason: s.Message})
		case s.Projector == projections.ProjectorFollowing && time.Since(p.begun) > markGrace:
			out = append(out, stalled(ctx, p.reader, name)...)
		}
	}
	return out
}

// stalled says that a read model has passed no mark for longer than there should be none: it may answer, and still be dead. What cannot be asked now is found by other checks.
func stalled(ctx context.Context, reader *query.Reader, name string) []httpapi.Missing {
	m, err := reader.Marks(ctx, name, query.MarksOptions{})
	if err != nil || m.Unhealthy == nil || m.Unhealthy.Code != reconcile.ReasonOverdue {
		return nil
	}
	return []httpapi.Missing{{Part: "projection " + name, Code: m.Unhealthy.Code, Reason: m.Unhealthy.Message}}
}
