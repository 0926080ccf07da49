package command

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

const (
	// livePoll is how often a read model that is being built is looked at.
	livePoll = 200 * time.Millisecond
	// liveTroubles bounds how often in a row nothing may answer.
	liveTroubles = 25
)

// awaitLive watches until queries in this region are answered from what was applied. Ending it ends only the watching.
func (p *program) awaitLive(ctx context.Context, c *client.Client, done *catalog.Done) (*query.ModelStatus, error) {
	w := &building{p: p, client: c, entry: done.After, since: done.Catalog.Sequence, progress: display.NewProgress(p.progressWriter(), "build "+done.After.Name, "records")}
	defer w.progress.End()
	return p.watchLive(ctx, w, w.look)
}

// watchLive looks until there is a read model, or an error that says why there will be none.
func (p *program) watchLive(ctx context.Context, w *building, look func(context.Context) (*query.ModelStatus, error)) (*query.ModelStatus, error) {
	patience := time.AfterFunc(unattended, func() {
		p.note("no projector in this region has begun to build it yet; it begins as soon as one runs")
	})
	defer patience.Stop()
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	for troubles := 0; ; {
		model, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, events.Errorf(failure.ErrInterrupted, "%s goes on being built; only watching it ended", w.entry.Name).Hint("%s status shows its progress.", p.self)
		case err == nil && model != nil:
			return model, nil
		case err == nil:
			troubles = 0
		case errors.Is(err, events.ErrUnreachable), errors.Is(err, projections.ErrStoreUnreachable):
			if troubles++; troubles > liveTroubles {
				return nil, err
			}
		default:
			return nil, err
		}
		if w.begun {
			patience.Stop()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// building is a version that is being waited for.
type building struct {
	p        *program
	client   *client.Client
	entry    catalog.Entry
	since    uint64 // the catalog that has it
	progress *display.Progress
	begun    bool
}

// look returns the read model when it is live, or nil when it is not yet; an error says why it will not be.
func (w *building) look(ctx context.Context) (*query.ModelStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, w.p.timeout)
	defer cancel()
	now, err := catalog.Read(ctx, w.client.Log())
	if err != nil || now.Sequence < w.since {
		return nil, err // this region's copy does not have it yet
	}
	name := w.entry.Name
	e, err := now.Get(name)
	switch {
	case err != nil:
		return nil, events.Errorf(projections.ErrUnknownProjection, "%s was removed meanwhile", name)
	case e.Version != w.entry.Version:
		return nil, events.Errorf(events.ErrConflict, "version %d of %s was applied meanwhile, so version %d is not waited for", e.Version, name, w.entry.Version)
	case e.State == catalog.Paused:
		return nil, events.Errorf(catalog.ErrPaused, "%s is paused, so it is not built", name).Hint("tidemark projection resume %s", name)
	}
	d, err := w.client.Reader().Definition(ctx, name)
	if err != nil || d.Here == nil {
		return nil, err
	}
	status, _, err := projections.ReadStatus(ctx, w.client.Region().KV(), name)
	if err != nil {
		return nil, err
	}
	m := d.Here
	job := m.Replay
	ours := job != nil && job.Definition == e.Fingerprint
	switch {
	case m.Version == e.Version && m.State == string(projections.Live):
		return m, nil
	case m.Projector == projections.ProjectorRefused && status.Definition.Version == e.Version:
		return nil, events.Errorf(events.Code(m.Code), "version %d of %s is not built: %s", e.Version, name, m.Message)
	case ours && job.State == projections.ReplayFailed:
		return nil, events.Errorf(failure.ErrReplayFailed, "version %d of %s could not be built: %s; the version before goes on, and it is tried again by itself", e.Version, name, job.Message).
			Hint("%s status shows how it does.", w.p.self)
	case ours && job.Running():
		w.shows(job.Sequence, job.Head)
	case m.Version == e.Version:
		applied := projections.SequenceOf(m.Position)
		head := applied
		if m.Lag != nil {
			head += m.Lag.Events
		}
		w.shows(applied, head)
	}
	return nil, nil
}

func (w *building) shows(done, total uint64) {
	w.begun = w.begun || done > 0
	w.progress.Set(done, total)
}
