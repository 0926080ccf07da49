package projector

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// nearHead is how many events a new generation may be behind when the live one is asked to stand still.
	nearHead = 1_000
	// chases bounds how often a new generation reads up to the then-current head before the switch begins anyway.
	chases = 8
	// progressInterval is how often a replay's progress is written down.
	progressInterval = 250 * time.Millisecond
)

// replay executes the requested replay, if there is one. The live generation goes on meanwhile. It returns an error only when
// the projector itself cannot go on; a replay that fails is written down as failed and leaves the live generation alone.
func (p *Projector) replay(ctx context.Context, token uint64, live *follower) error {
	job, revision, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(p.def.Name))
	if err != nil || !job.Running() {
		return err
	}
	r := &replayRun{p: p, job: job, revision: revision}
	err = r.run(ctx, token, live)
	if err == nil || ctx.Err() != nil || lostOwnership(err) {
		return err
	}
	if unreachable(err) {
		return err // the next turn goes on with it
	}
	return r.fail(ctx, err)
}

func lostOwnership(err error) bool {
	return errors.Is(err, projections.ErrFenced) || errors.Is(err, projections.ErrLeaseLost) || errors.Is(err, projections.ErrRevision)
}

// replayRun is one replay being executed.
type replayRun struct {
	p        *Projector
	job      projections.Replay
	revision uint64
	next     *engine // the new generation
}

func (r *replayRun) run(ctx context.Context, token uint64, live *follower) error {
	if r.switched(ctx) {
		return r.finish(ctx) // the run before ended after the switch, before it could say so
	}
	if err := r.prepare(ctx, token); err != nil {
		return err
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	return r.switchOver(ctx, live)
}

// prepare gives the new generation its number. A replay that goes on after a crash has one already.
func (r *replayRun) prepare(ctx context.Context, token uint64) error {
	p := r.p
	if r.job.Generation == 0 {
		pointer, err := p.update(ctx, func(now *projections.Pointer) { now.Highest++ })
		if err != nil {
			return err
		}
		r.job.Generation = pointer.Highest
	}
	r.job.State = projections.ReplayBuilding
	if err := r.save(ctx); err != nil {
		return err
	}
	gen := projections.Generation{Projection: p.def.Name, Number: r.job.Generation, Partitions: p.options.Partitions}
	r.next = p.engine(gen, token)
	p.options.Logger.InfoContext(ctx, "replay begins", "projection", p.def.Name, "generation", gen.Number, "reason", r.job.Reason)
	return nil
}

// catchUp builds the new generation until it is near the head.
func (r *replayRun) catchUp(ctx context.Context) error {
	for range chases {
		info, err := r.p.log.Info(ctx)
		if err != nil {
			return err
		}
		r.job.Head = info.Last
		if err := r.build(ctx, info.Last); err != nil {
			return err
		}
		after, err := r.p.log.Info(ctx)
		if err != nil {
			return err
		}
		if after.Last-info.Last <= nearHead {
			return nil
		}
	}
	return nil
}

// build runs the new generation up to a sequence and writes the progress down meanwhile.
func (r *replayRun) build(ctx context.Context, to uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- r.next.run(ctx, to) }()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-result:
			r.observe()
			return err
		case <-tick.C:
			r.observe()
			if err := r.save(ctx); err != nil {
				cancel()
				<-result
				return err
			}
		}
	}
}

func (r *replayRun) observe() {
	r.job.Sequence, r.job.Documents = r.next.applied.Load(), r.next.docs.Load()
}

// switchOver lets the live generation stand still, brings the new one to the same position, compares, and moves the pointer.
func (r *replayRun) switchOver(ctx context.Context, live *follower) error {
	p := r.p
	r.job.State = projections.ReplaySwitching
	if err := r.save(ctx); err != nil {
		return err
	}
	rested := live.rest()
	err := r.reach(ctx, live, rested)
	if err == nil {
		err = r.point(ctx)
	}
	if err != nil {
		live.start(ctx, 0) // nothing was switched: the live one goes on
		return err
	}
	old := live.engine
	live.stop()
	live.engine = r.next
	live.start(ctx, 0)
	if old != nil {
		// Readers that still hold the old generation are told. What cannot be told now is dropped soon anyway.
		_ = p.store.SetState(ctx, old.gen, old.owner, projections.Retired)
	}
	p.jobs.Go(func() { p.dropRetired(ctx) })
	return r.finish(ctx)
}

// reach brings the new generation to where the live one stands, or to the head when that does not stand anywhere.
func (r *replayRun) reach(ctx context.Context, live *follower, rested bool) error {
	info, err := r.p.log.Info(ctx)
	if err != nil {
		return err
	}
	to := info.Last
	if rested {
		to = max(live.engine.tip.seq, r.next.tip.seq)
	}
	if err := r.build(ctx, to); err != nil {
		return err
	}
	digest, _, at := r.next.sum()
	r.job.Digest, r.job.Position = digest.String(), at.String()
	if rested && live.engine.finger == r.next.finger {
		before, _, stood := live.engine.sum()
		r.job.Compared = stood.Equal(at) && !at.IsZero()
		r.job.Equal = r.job.Compared && before == digest
	}
	return nil
}

// point makes the new generation live.
func (r *replayRun) point(ctx context.Context) error {
	p, gen := r.p, r.next.gen
	_, err := p.update(ctx, func(now *projections.Pointer) {
		if now.Generation == gen.Number {
			return
		}
		now.Retired = append(now.Retired, projections.Retiree{Generation: now.Generation, Partitions: now.Partitions})
		now.Generation, now.Partitions = gen.Number, gen.Partitions
		now.Version, now.Definition, now.Fields = p.def.Version, p.def.Fingerprint(), p.def.Fields
	})
	return err
}

// switched reports whether the new generation is live already.
func (r *replayRun) switched(ctx context.Context) bool {
	if r.job.Generation == 0 {
		return false
	}
	pointer, _, err := projections.ReadPointer(ctx, r.p.kv, r.p.def.Name)
	return err == nil && pointer.Generation == r.job.Generation
}

func (r *replayRun) finish(ctx context.Context) error {
	now := time.Now().UTC()
	r.job.State, r.job.Finished = projections.ReplayDone, &now
	r.p.options.Logger.InfoContext(ctx, "replay is live", "projection", r.p.def.Name, "generation", r.job.Generation,
		"position", r.job.Position, "compared", r.job.Compared, "equal", r.job.Equal)
	return r.save(ctx)
}

// fail writes the failure down and leaves what was built to be dropped.
func (r *replayRun) fail(ctx context.Context, cause error) error {
	now := time.Now().UTC()
	code, _ := events.CodeOf(cause)
	r.job.State, r.job.Finished, r.job.Code, r.job.Message = projections.ReplayFailed, &now, string(code), cause.Error()
	r.p.options.Logger.WarnContext(ctx, "replay failed; the live generation goes on", "projection", r.p.def.Name,
		"generation", r.job.Generation, "reason", cause.Error())
	if _, err := r.p.update(ctx, func(p *projections.Pointer) {
		p.Retired = append(p.Retired, projections.Retiree{Generation: r.job.Generation, Partitions: r.p.options.Partitions})
	}); err != nil {
		return err
	}
	r.p.jobs.Go(func() { r.p.dropRetired(ctx) })
	return r.save(ctx)
}

func (r *replayRun) save(ctx context.Context) error {
	revision, err := projections.WriteJSON(ctx, r.p.kv, projections.ReplayKey(r.p.def.Name), r.job, r.revision)
	if err == nil {
		r.revision = revision
	}
	return err
}
