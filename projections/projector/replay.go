package projector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
func (p *Projector) replay(ctx context.Context, token uint64, live, kept *follower) error {
	asked, revision, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(p.def.Name))
	if err != nil || !asked.Running() {
		return err
	}
	if err := p.options.trusted(p.def); err != nil && asked.Kind != projections.ReplayDrop && !asked.Cancel {
		return err // it is not for this replay to fail: the next turn goes on with it
	}
	asked.Yields = "" // of whoever executed it before
	r := &replayRun{p: p, job: asked, saved: asked, revision: revision, token: token, live: live, kept: kept, version: p.ours()}
	err = r.run(ctx)
	switch {
	case err == nil || ctx.Err() != nil || lostOwnership(err) || errors.Is(err, errLiveEnded):
		return err
	case errors.Is(err, projections.ErrStoreFull): // what it built is in the way of everything else
	case unreachable(err), errors.Is(err, events.ErrClosed), errors.Is(err, projections.ErrUntrustedLog):
		return err // the next turn goes on with it
	}
	if err := r.fail(ctx, err); err != nil {
		return err
	}
	if err := p.followKept(ctx, token, kept); err != nil {
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

var (
	// errLiveEnded: the live generation's engine ended during a replay, for another reason than a refusal.
	errLiveEnded = errors.New("the live generation is not followed any more")
	// errUnproven: what was built from something that was trusted could not be proven.
	errUnproven = errors.New("it is not proven")
)

// replayRun is one replay being executed.
type replayRun struct {
	p        *Projector
	job      projections.Replay
	saved    projections.Replay // the job as it is stored, at revision
	revision uint64
	token    uint64
	live     *follower
	kept     *follower
	version  Version // that is built
	next     *engine // the new generation
	throttle throttle
	pace     progress
	memory   memoryLook
	// different is what the new generation differs in, once that was looked for.
	different *projections.Difference
	// settled: what was built is in use, so it is too late to give it up.
	settled bool
}

func (r *replayRun) run(ctx context.Context) error {
	var err error
	if r.settled, err = r.switched(ctx); err != nil {
		return err
	}
	if r.settled {
		return r.finish(ctx) // the run before ended after the switch, before it could say so
	}
	if r.job.Cancel {
		return cancelled(&r.job)
	}
	if r.job.Begun == nil {
		now := time.Now().UTC()
		r.job.Begun = &now
	}
	if err := r.decide(ctx); err != nil {
		return err
	}
	switch r.job.Plan.Strategy {
	case projections.StrategyDrop:
		return r.drop(ctx)
	case projections.StrategyKept:
		return r.rollBack(ctx)
	case projections.StrategyRefold, projections.StrategySnapshot, projections.StrategyWhole:
	}
	for {
		err := r.attempt(ctx)
		if !errors.Is(err, errUnproven) {
			return err
		}
		if err := r.goBack(ctx, err); err != nil {
			return err
		}
	}
}

// attempt executes the plan as it is.
func (r *replayRun) attempt(ctx context.Context) error {
	if r.job.Plan.Strategy == projections.StrategyRefold {
		return r.refold(ctx)
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if r.job.Kind == projections.ReplayCopy {
		return r.makeCopy(ctx)
	}
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	if err := r.examine(ctx); err != nil {
		return err
	}
	if err := r.catchUp(ctx); err != nil { // that took its time
		return err
	}
	return r.switchOver(ctx)
}

// switched reports whether what was built is in use already.
func (r *replayRun) switched(ctx context.Context) (bool, error) {
	if r.job.Generation == 0 || r.job.Plan != nil && r.job.Plan.Strategy == projections.StrategyRefold {
		return false, nil
	}
	now, _, err := projections.ReadPointer(ctx, r.p.kv, r.p.def.Name)
	if err != nil {
		return false, err
	}
	if r.job.Kind == projections.ReplayCopy {
		c, ok := now.Copy(r.job.As)
		return ok && c.Generation == r.job.Generation, nil
	}
	return now.Generation == r.job.Generation, nil
}

// decide makes the plan, once, and looks whether there is room for it.
func (r *replayRun) decide(ctx context.Context) error {
	if r.job.Plan != nil {
		return nil
	}
	p := r.p
	plan, err := Plan(ctx, Planning{Version: r.version, Partitions: p.options.Partitions, Store: p.store, KV: p.kv, Snapshots: p.snapshotsOf(r.version)}, r.job.ReplayRequest)
	if err != nil {
		return err
	}
	if err := r.room(ctx, &plan); err != nil {
		return err
	}
	r.job.Plan = &plan
	p.options.Logger.InfoContext(ctx, "replay is planned", "replay", r.job.ID, "strategy", string(plan.Strategy), "records", plan.Records, "reason", plan.Why)
	return r.save(ctx)
}

// prepare gives the new generation its number. A replay that goes on after a crash has one already, which is of use if it was begun with
// the same definition and was not given up.
func (r *replayRun) prepare(ctx context.Context) (err error) {
	p, j := r.p, &r.job
	var number uint32
	err = r.move(ctx, func(now *projections.Pointer) error {
		number = j.Generation
		if usable := j.Generation != 0 && j.Partitions != 0 && j.Definition == p.def.Fingerprint() && !isRetired(now, j.Generation); !usable {
			retire(now, projections.Retiree{Generation: j.Generation, Partitions: cmp.Or(j.Partitions, p.options.Partitions)})
			now.Highest++
			number = now.Highest
		}
		return nil
	})
	if err != nil {
		return err
	}
	if number != j.Generation {
		p.wakeSweeper()
		j.Generation, j.Partitions, j.Definition = number, p.options.Partitions, p.def.Fingerprint()
	}
	j.State = projections.ReplayBuilding
	if err := r.save(ctx); err != nil {
		return err
	}
	r.begin(projections.Generation{Projection: p.def.Name, Number: j.Generation, Partitions: j.Partitions})
	if err := r.suspect(ctx); err != nil {
		return err
	}
	p.options.Logger.InfoContext(ctx, "replay begins", "generation", j.Generation, "reason", j.Reason)
	return nil
}

// begin makes the engine of the new generation.
func (r *replayRun) begin(gen projections.Generation) {
	r.next = r.p.engine(r.version, gen, r.token)
	r.throttle.rate = r.job.Rate
	r.next.pace, r.next.options.Batch = r.throttle.wait, pacedBatch(r.job.Rate, r.p.options.Batch)
	if plan := r.job.Plan; plan.Strategy == projections.StrategySnapshot {
		r.next.base.most = plan.First - 1
	} else {
		r.next.base.snapshots = nil
	}
}

// catchUp builds the new generation until it is near the head. At a rate that is too low for that the rest is read without.
func (r *replayRun) catchUp(ctx context.Context) error {
	r.job.State = projections.ReplayBuilding
	for i := range 2 * chases {
		if i == chases {
			if r.job.Rate == 0 {
				break
			}
			r.p.options.Logger.InfoContext(ctx, "more is written than the replay may read: it reads the rest as fast as it can", "replay", r.job.ID, "rate", r.job.Rate)
			r.unbound()
		}
		info, err := r.next.log.Info(ctx)
		if err != nil {
			return err
		}
		r.job.Head = info.Last
		if err := r.build(ctx, info.Last, r.live.done); err != nil {
			return err
		}
		after, err := r.next.log.Info(ctx)
		if err != nil {
			return err
		}
		if after.Last <= info.Last+nearHead {
			return nil
		}
	}
	return nil
}

// unbound lets the new generation read as fast as it can. It must not be running.
func (r *replayRun) unbound() {
	r.throttle.rate, r.next.options.Batch = 0, r.p.options.Batch
}

// build runs the new generation up to a sequence and writes the progress down meanwhile. liveEnded is closed when the live generation ends;
// nil when it is meant to stand still.
func (r *replayRun) build(ctx context.Context, to uint64, liveEnded <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resting := liveEnded == nil
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
	defer r.goOn()
	for {
		select {
		case err := <-result:
			r.observe()
			return err
		case <-tick.C:
			r.observe()
			if err := r.yield(ctx, resting); err != nil {
				return stop(err)
			}
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
	r.job.Sequence, r.job.Documents = r.next.reached.Load(), r.next.docs.Load()
	r.job.PerSecond, r.job.Remaining = r.pace.at(time.Now(), r.job.Sequence, r.job.Head)
}

// switchOver lets the live generation stand still, brings the new one to the same position, compares, and moves the pointer.
func (r *replayRun) switchOver(ctx context.Context) error {
	p, live := r.p, r.live
	r.job.State = projections.ReplaySwitching
	if err := r.save(ctx); err != nil {
		return err
	}
	var old projections.Retiree
	r.unbound() // the live one waits
	rested, err := live.rest(r.meeting())
	if err != nil {
		err = fmt.Errorf("%w: %w", errLiveEnded, err)
	} else {
		err = r.reach(ctx, rested)
	}
	if err == nil {
		r.kept.stop() // it may be retired in a moment
		old, err = r.point(ctx, rested)
	}
	if err != nil {
		live.start(ctx, 0) // nothing was switched: the live one goes on
		return err
	}
	r.settled = true
	live.stop()
	proofs := r.next.proofs
	r.next.proofs = nil
	live.engine = r.next
	live.engine.live.Store(true)
	live.engine.pace, live.engine.options.Batch, live.engine.base = nil, p.options.Batch, base{snapshots: p.snapshotsOf(r.version)}
	live.start(ctx, 0)
	r.tellReaders(ctx, old)
	p.wakeSweeper()
	r.review(ctx, proofs)
	if err := p.followKept(ctx, r.token, r.kept); err != nil {
		return err
	}
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
	info, err := r.next.log.Info(ctx)
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
	digest, _, at := r.next.sum()
	r.job.Digest, r.job.Position = digest.String(), at.String()
	r.job.Compared, r.job.Equal = false, false
	if rested && live.finger == r.next.finger {
		before, _, stood := live.sum()
		r.job.Compared = stood.Equal(at) && !at.IsZero()
		r.job.Equal = r.job.Compared && before == digest
	}
	if err := r.conclude(); err != nil {
		return err
	}
	// It may have been begun for a target that is further on than the live one is: nobody shall find it building.
	return r.p.store.SetState(ctx, r.next.gen, r.token, projections.Live)
}

// point makes the new generation live and returns the one before. When that can be followed on, it is kept.
func (r *replayRun) point(ctx context.Context, rested bool) (old projections.Retiree, err error) {
	p, gen, def := r.p, r.next.gen, r.version.Projection.Definition()
	err = r.move(ctx, func(now *projections.Pointer) error {
		if isRetired(now, gen.Number) {
			return events.Errorf(projections.ErrFenced, "generation %d of %s was given up; it was not made live", gen.Number, gen.Projection)
		}
		if now.Generation == gen.Number {
			return nil // it is written already
		}
		old = projections.Retiree{Generation: now.Generation, Partitions: now.Partitions}
		before := now.Previous
		now.Previous = nil
		if rested && p.options.Keep > 0 {
			now.Previous = built(now, time.Now().UTC().Add(p.options.Keep))
		}
		now.Declined = ""
		if r.job.Kind == projections.ReplayRollback && now.Definition == p.def.Fingerprint() && def.Fingerprint() != p.def.Fingerprint() {
			now.Declined = now.Definition // or it would be built again at once
		}
		now.Generation, now.Partitions = gen.Number, gen.Partitions
		now.Version, now.Definition = def.Version, def.Fingerprint()
		now.Fields, now.Indexes, now.Source = def.Fields, def.Indexes, def.Source
		if now.Previous == nil {
			retire(now, old)
		}
		if before != nil {
			retire(now, before.Retiree)
		}
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
	r.job.State, r.job.Finished, r.job.Yields, r.job.Remaining = projections.ReplayDone, &now, "", 0
	r.p.options.Logger.InfoContext(ctx, "replay is done", "replay", r.job.ID, "generation", r.job.Generation,
		"position", r.job.Position, "compared", r.job.Compared, "equal", r.job.Equal)
	return r.save(ctx)
}

// fail gives up what was built and writes the failure down, in this order, so that nothing is left behind when it ends in between. What
// was built was never live, so no reader holds it and it can go at once.
func (r *replayRun) fail(ctx context.Context, cause error) error {
	p := r.p
	given := errors.Is(cause, projections.ErrReplayCancelled)
	if !given {
		p.options.Logger.WarnContext(ctx, "replay failed; the live generation goes on", "replay", r.job.ID, "generation", r.job.Generation, "reason", cause.Error())
	} else {
		p.options.Logger.InfoContext(ctx, "replay was given up; the live generation goes on", "replay", r.job.ID, "generation", r.job.Generation)
	}
	var built projections.Retiree // what is there only because of the replay
	if r.job.Plan == nil || r.job.Plan.Strategy == projections.StrategyWhole || r.job.Plan.Strategy == projections.StrategySnapshot {
		built = projections.Retiree{Generation: r.job.Generation, Partitions: cmp.Or(r.job.Partitions, p.options.Partitions)}
	}
	r.job.Cancel = r.job.Cancel || given
	if err := r.move(ctx, func(now *projections.Pointer) error {
		if inUse(now, built.Generation) {
			built = projections.Retiree{}
		}
		retire(now, built)
		return nil
	}); err != nil {
		return err
	}
	now := time.Now().UTC()
	code, _ := events.CodeOf(cause)
	r.job.State, r.job.Finished, r.job.Code, r.job.Message = projections.ReplayFailed, &now, string(code), cause.Error()
	r.job.Yields, r.job.Remaining = "", 0
	if given {
		r.job.State = projections.ReplayCancelled
	}
	if err := r.save(ctx); err != nil || built.Generation == 0 {
		return err
	}
	if err := p.drop(ctx, built); err != nil {
		p.wakeSweeper() // tries again
	}
	return nil
}

// inUse reports whether a generation is live, kept, or a copy.
func inUse(now *projections.Pointer, number uint32) bool {
	return now.Generation == number || now.Previous != nil && now.Previous.Generation == number ||
		slices.ContainsFunc(now.Copies, func(c projections.Copy) bool { return c.Generation == number })
}

// save writes the job down. It returns ErrReplayCancelled when somebody has asked to give it up meanwhile, unless it is too late for that; nobody else may change it but who takes it over.
func (r *replayRun) save(ctx context.Context) error {
	revision, err := projections.WriteJSON(ctx, r.p.kv, projections.ReplayKey(r.p.def.Name), r.job, r.revision)
	if errors.Is(err, projections.ErrRevision) && !r.job.Cancel {
		found := r.cancelled(ctx)
		if errors.Is(found, projections.ErrReplayCancelled) && r.settled {
			return r.save(ctx)
		}
		if found != nil {
			return found
		}
	}
	if errors.Is(err, events.ErrTooLarge) && r.job.Difference != nil && r.job.Difference.Samples != nil {
		r.job.Difference.Samples = nil
		return r.save(ctx)
	}
	if err != nil {
		return err
	}
	r.revision, r.saved = revision, r.job
	if r.p.options.Observer != nil {
		r.p.options.Observer.Replayed(r.job)
	}
	return nil
}

// cancelled looks whether the stored job is the one that was saved last, and is to be given up.
func (r *replayRun) cancelled(ctx context.Context) error {
	now, revision, err := projections.ReadJSON[projections.Replay](ctx, r.p.kv, projections.ReplayKey(r.p.def.Name))
	if err != nil || !now.Cancel {
		return err
	}
	was := r.saved
	was.Cancel = true
	a, err := json.Marshal(was)
	if err != nil {
		return err
	}
	b, err := json.Marshal(now)
	if err != nil {
		return err
	}
	if string(a) != string(b) {
		return nil // somebody else has it
	}
	r.job.Cancel, r.revision, r.saved = true, revision, now
	return cancelled(&r.job)
}

func cancelled(job *projections.Replay) error {
	return events.Errorf(projections.ErrReplayCancelled, "the replay %s of %s was given up, as somebody asked; nothing was switched", job.ID, job.Projection)
}

// progress tells how fast something goes.
type progress struct {
	times  []time.Time
	values []uint64
}

// at takes note of a value and returns how much it rises in each second lately, and how many seconds the rest takes; 0 when that is not known.
func (p *progress) at(now time.Time, value, end uint64) (perSecond, remaining float64) {
	const window = 40 // some ten seconds
	if n := len(p.values); n > 0 && value < p.values[n-1] {
		p.times, p.values = nil, nil
	}
	p.times, p.values = append(p.times, now), append(p.values, value)
	if len(p.times) > window {
		p.times, p.values = slices.Delete(p.times, 0, 1), slices.Delete(p.values, 0, 1)
	}
	took := now.Sub(p.times[0]).Seconds()
	if took <= 0 || value <= p.values[0] {
		return 0, 0
	}
	perSecond = float64(value-p.values[0]) / took
	if end > value {
		remaining = float64(end-value) / perSecond
	}
	return perSecond, remaining
}
