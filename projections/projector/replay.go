package projector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// nearHead is how many events a new generation may be behind when the live one is asked to stand still, and the live one
	// behind the new one to be waited for.
	nearHead = 1_000
	// chases bounds how often a new generation reads up to the then-current head before the switch begins anyway.
	chases = 8
	// progressInterval is how often a replay's progress is written down.
	progressInterval = 250 * time.Millisecond
)

// replay executes the requested replay, if there is one. The live generation goes on meanwhile. It returns an error only when
// the projector itself cannot go on; a replay that fails is written down as failed and leaves the live generation alone.
func (p *Projector) replay(ctx context.Context, token uint64, live *follower) error {
	asked, revision, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(p.def.Name))
	if err != nil || !asked.Running() {
		return err
	}
	if err := p.options.trusted(p.def); err != nil {
		return err // it is not for this replay to fail: the next turn goes on with it
	}
	r := &replayRun{p: p, job: asked, revision: revision, token: token, live: live}
	err = r.run(ctx)
	switch {
	case err == nil || ctx.Err() != nil || lostOwnership(err) || errors.Is(err, errLiveEnded):
		return err
	case unreachable(err), errors.Is(err, events.ErrClosed), errors.Is(err, projections.ErrUntrustedLog):
		return err // the next turn goes on with it
	}
	if err := r.fail(ctx, err); err != nil {
		return err
	}
	if live.engine == nil {
		return err // there is nothing else to do here
	}
	return nil
}

func lostOwnership(err error) bool {
	return errors.Is(err, projections.ErrFenced) || errors.Is(err, projections.ErrLeaseLost) || errors.Is(err, projections.ErrRevision)
}

// errLiveEnded: the live generation's engine ended during a replay, for another reason than a refusal.
var errLiveEnded = errors.New("the live generation is not followed any more")

// replayRun is one replay being executed.
type replayRun struct {
	p        *Projector
	job      projections.Replay
	revision uint64
	token    uint64
	live     *follower
	next     *engine // the new generation
}

func (r *replayRun) run(ctx context.Context) error {
	switched, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	if switched {
		return r.finish(ctx) // the run before ended after the switch, before it could say so
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	return r.switchOver(ctx)
}

// prepare gives the new generation its number. A replay that goes on after a crash has one already, which is of use if it was begun with
// the same definition and was not given up. It reports whether that generation is live already.
func (r *replayRun) prepare(ctx context.Context) (switched bool, err error) {
	p, j := r.p, &r.job
	var number uint32
	err = r.move(ctx, func(now *projections.Pointer) error {
		number, switched = j.Generation, j.Generation != 0 && j.Generation == now.Generation
		usable := j.Generation != 0 && j.Partitions != 0 && j.Definition == p.def.Fingerprint() && !isRetired(now, j.Generation)
		if !switched && !usable {
			retire(now, projections.Retiree{Generation: j.Generation, Partitions: cmp.Or(j.Partitions, p.options.Partitions)})
			now.Highest++
			number = now.Highest
		}
		return nil
	})
	if err != nil || switched {
		return switched, err
	}
	if number != j.Generation {
		p.wakeSweeper()
		j.Generation, j.Partitions, j.Definition = number, p.options.Partitions, p.def.Fingerprint()
	}
	j.State = projections.ReplayBuilding
	if err := r.save(ctx); err != nil {
		return false, err
	}
	gen := projections.Generation{Projection: p.def.Name, Number: j.Generation, Partitions: j.Partitions}
	r.next = p.engine(p.ours(), gen, r.token)
	p.options.Logger.InfoContext(ctx, "replay begins", "generation", gen.Number, "reason", j.Reason)
	return false, nil
}

// catchUp builds the new generation until it is near the head.
func (r *replayRun) catchUp(ctx context.Context) error {
	for range chases {
		info, err := r.p.log.Info(ctx)
		if err != nil {
			return err
		}
		r.job.Head = info.Last
		if err := r.build(ctx, info.Last, r.live.done); err != nil {
			return err
		}
		after, err := r.p.log.Info(ctx)
		if err != nil {
			return err
		}
		if after.Last <= info.Last+nearHead {
			return nil
		}
	}
	return nil
}

// build runs the new generation up to a sequence and writes the progress down meanwhile. liveEnded is closed when the live generation ends;
// nil when it is meant to stand still.
func (r *replayRun) build(ctx context.Context, to uint64, liveEnded <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		if to == 0 {
			result <- r.next.settle(ctx)
			return
		}
		result <- r.next.run(ctx, to)
	}()
	stop := func(err error) error {
		cancel()
		<-result //nolint:errcheck // err is why
		return err
	}
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-result:
			r.observe()
			return err
		case <-tick.C:
			r.observe()
			if err := r.save(ctx); err != nil && !unreachable(err) { // progress is written again in a moment
				return stop(err)
			}
		case <-liveEnded:
			if !refuses(r.live.err) {
				return stop(fmt.Errorf("%w: %w", errLiveEnded, r.live.err))
			}
			// The new generation is what mends that.
			r.p.status.set(ctx, projections.ProjectorRefused, r.live.engine.gen.Number, r.live.err)
			liveEnded = nil
		}
	}
}

func (r *replayRun) observe() {
	r.job.Sequence, r.job.Documents = r.next.applied.Load(), r.next.docs.Load()
}

// switchOver lets the live generation stand still, brings the new one to the same position, compares, and moves the pointer.
func (r *replayRun) switchOver(ctx context.Context) error {
	p, live := r.p, r.live
	r.job.State = projections.ReplaySwitching
	if err := r.save(ctx); err != nil {
		return err
	}
	var old projections.Retiree
	rested, err := live.rest(r.meeting())
	if err != nil {
		err = fmt.Errorf("%w: %w", errLiveEnded, err)
	} else {
		err = r.reach(ctx, rested)
	}
	if err == nil {
		old, err = r.point(ctx)
	}
	if err != nil {
		live.start(ctx, 0) // nothing was switched: the live one goes on
		return err
	}
	live.stop()
	live.engine = r.next
	live.engine.live.Store(true)
	live.start(ctx, 0)
	r.tellReaders(ctx, old)
	p.wakeSweeper()
	return r.finish(ctx)
}

// meeting returns the sequence at which the live generation should stand still, so that the two can be compared; 0 when the live
// one is so far behind that waiting for it would only make readers wait, or is of another log.
func (r *replayRun) meeting() uint64 {
	if live := r.live.engine; live != nil && r.sameLog() && live.applied.Load()+nearHead >= r.next.tip.seq {
		return r.next.tip.seq
	}
	return 0
}

// sameLog reports whether the live generation is folded from the log that the new one is folded from: only then do their sequences mean the same.
func (r *replayRun) sameLog() bool {
	live := r.live.engine
	return live != nil && live.log.Origin() == r.next.log.Origin()
}

// reach brings the new generation to where the live one stands, or to the head when that does not stand anywhere, and compares them.
func (r *replayRun) reach(ctx context.Context, rested bool) error {
	info, err := r.p.log.Info(ctx)
	if err != nil {
		return err
	}
	to, live := info.Last, r.live.engine
	if rested && r.sameLog() {
		to = max(live.highest(), r.next.tip.seq) // no partition may answer from further back than before
	}
	if err := r.build(ctx, to, nil); err != nil {
		return err
	}
	// It may have been begun for a target that is further on than the live one is: nobody shall find it building.
	if err := r.p.store.SetState(ctx, r.next.gen, r.token, projections.Live); err != nil {
		return err
	}
	digest, _, at := r.next.sum()
	r.job.Digest, r.job.Position = digest.String(), at.String()
	r.job.Compared, r.job.Equal = false, false
	if rested && live.finger == r.next.finger {
		before, _, stood := live.sum()
		r.job.Compared = stood.Equal(at) && !at.IsZero()
		r.job.Equal = r.job.Compared && before == digest
	}
	return nil
}

// point makes the new generation live and returns the one before.
func (r *replayRun) point(ctx context.Context) (old projections.Retiree, err error) {
	p, gen := r.p, r.next.gen
	err = r.move(ctx, func(now *projections.Pointer) error {
		if isRetired(now, gen.Number) {
			return events.Errorf(projections.ErrFenced, "generation %d of %s was given up; it was not made live", gen.Number, gen.Projection)
		}
		old = projections.Retiree{Generation: now.Generation, Partitions: now.Partitions}
		now.Generation, now.Partitions = gen.Number, gen.Partitions
		now.Version, now.Definition = p.def.Version, p.def.Fingerprint()
		now.Fields, now.Indexes, now.Source = p.def.Fields, p.def.Indexes, p.def.Source
		retire(now, old)
		return nil
	})
	return old, err
}

// move changes the pointer unless somebody else has taken the replay over. change may be called again.
//
// Whoever takes a replay over moves the pointer first, if only to give it a new revision. So saving the job proves that nobody had done
// so when the pointer was read, and comparing its revision proves that nobody has since: a projector that slept in between changes nothing.
func (r *replayRun) move(ctx context.Context, change func(*projections.Pointer) error) error {
	for {
		now, revision, err := projections.ReadPointer(ctx, r.p.kv, r.p.def.Name)
		if err != nil {
			return err
		}
		if err := r.save(ctx); err != nil {
			return err
		}
		if err := change(&now); err != nil {
			return err
		}
		_, err = projections.WriteJSON(ctx, r.p.kv, projections.PointerKey(r.p.def.Name), now, revision)
		if !errors.Is(err, projections.ErrRevision) {
			return err
		}
	}
}

// tellReaders marks the generation before as retired, for readers that still hold it. Whoever cannot be told now looks at the pointer
// again within a second, long before it is dropped.
func (r *replayRun) tellReaders(ctx context.Context, old projections.Retiree) {
	gen := projections.Generation{Projection: r.p.def.Name, Number: old.Generation, Partitions: old.Partitions}
	if _, err := r.p.store.Claim(ctx, gen, r.token); err == nil { // nobody follows it when the version was raised
		_ = r.p.store.SetState(ctx, gen, r.token, projections.Retired)
	}
}

func (r *replayRun) finish(ctx context.Context) error {
	now := time.Now().UTC()
	r.job.State, r.job.Finished = projections.ReplayDone, &now
	r.p.options.Logger.InfoContext(ctx, "replay is live", "generation", r.job.Generation,
		"position", r.job.Position, "compared", r.job.Compared, "equal", r.job.Equal)
	return r.save(ctx)
}

// fail gives up what was built and writes the failure down, in this order, so that nothing is left behind when it ends in between. What
// was built was never live, so no reader holds it and it can go at once.
func (r *replayRun) fail(ctx context.Context, cause error) error {
	p := r.p
	p.options.Logger.WarnContext(ctx, "replay failed; the live generation goes on",
		"generation", r.job.Generation, "reason", cause.Error())
	built := projections.Retiree{Generation: r.job.Generation, Partitions: r.job.Partitions}
	if err := r.move(ctx, func(now *projections.Pointer) error { retire(now, built); return nil }); err != nil {
		return err
	}
	now := time.Now().UTC()
	code, _ := events.CodeOf(cause)
	r.job.State, r.job.Finished, r.job.Code, r.job.Message = projections.ReplayFailed, &now, string(code), cause.Error()
	if err := r.save(ctx); err != nil || r.next == nil {
		return err
	}
	if err := p.drop(ctx, built); err != nil {
		p.wakeSweeper() // tries again
	}
	return nil
}

func (r *replayRun) save(ctx context.Context) error {
	revision, err := projections.WriteJSON(ctx, r.p.kv, projections.ReplayKey(r.p.def.Name), r.job, r.revision)
	if err != nil {
		return err
	}
	r.revision = revision
	if r.p.options.Observer != nil {
		r.p.options.Observer.Replayed(r.job)
	}
	return nil
}
