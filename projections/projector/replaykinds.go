package projector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// A replay stands still from yieldShare of the store's memory on, until it is below resumeShare again, and is given up at giveUpShare, or after yieldPatience. It is not begun when it would take
	// the store beyond roomShare.
	yieldShare    = 0.90
	resumeShare   = 0.85
	giveUpShare   = 0.97
	roomShare     = 0.95
	yieldPatience = 10 * time.Minute
	// stepRecords is about how many records are read for one step of folding documents again: no event is applied meanwhile.
	stepRecords = 5_000
	// commonPatience is how long documents that were folded again wait for a mark at which another region can be compared.
	commonPatience = 75 * time.Second
)

// room returns ErrStoreFull when the store has no room for what is planned. The generation before makes room first.
func (r *replayRun) room(ctx context.Context, plan *projections.ReplayPlan) error {
	if plan.Strategy != projections.StrategyWhole && plan.Strategy != projections.StrategySnapshot {
		return nil // nothing is built
	}
	for dropped := false; ; dropped = true {
		m, err := r.p.store.Memory(ctx)
		if errors.Is(err, events.ErrUnauthorized) { // that is no reason to hold up anything: then it has no bound that can be kept
			r.p.options.Logger.WarnContext(ctx, "the store does not say how much memory it uses, so a replay cannot make room", "replay", r.job.ID, "reason", err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		if m.Max == 0 || float64(m.Used+plan.Memory) <= roomShare*float64(m.Max) {
			return nil
		}
		full := events.Errorf(projections.ErrStoreFull, "the store uses %d of %d bytes, and a replay of %s takes some %d more; it was not begun", m.Used, m.Max, r.p.def.Name, plan.Memory).
			Hint("Raise maxmemory, or drop what is not needed: tidemark replay list %s shows copies and the generation before.", r.p.def.Name)
		if dropped {
			return full
		}
		if freed, err := r.dropKept(ctx); err != nil || !freed {
			if err != nil {
				return err
			}
			return full
		}
	}
}

// dropKept drops the generation before, at once, and reports whether there was one.
func (r *replayRun) dropKept(ctx context.Context) (bool, error) {
	if r.job.Kind == projections.ReplayRollback {
		return false, nil
	}
	var before *projections.Built
	r.kept.stop()
	err := r.move(ctx, func(now *projections.Pointer) error {
		if before, now.Previous = now.Previous, nil; before != nil {
			retire(now, before.Retiree)
		}
		return nil
	})
	if err != nil || before == nil {
		return false, err
	}
	r.p.options.Logger.WarnContext(ctx, "the generation before is dropped, to make room for a replay", "generation", before.Generation)
	return true, r.p.drop(ctx, before.Retiree)
}

// yield lets the new generation stand still while the store is nearly full, so that the live one can go on, and gives it up when that is not enough. While the live one stands still itself and waits
// for it, it does not stand still.
func (r *replayRun) yield(ctx context.Context, resting bool) error {
	now := time.Now()
	if now.Sub(r.memory.looked) < memoryInterval {
		return nil
	}
	r.memory.looked = now
	m, err := r.p.store.Memory(ctx)
	if err != nil {
		return nil //nolint:nilerr // whoever writes will say what is the matter
	}
	share := m.Share()
	held := r.job.Yields != ""
	switch {
	case held && share < resumeShare:
		r.goOn()
	case share >= giveUpShare, held && now.Sub(r.memory.since) > yieldPatience:
		if freed, err := r.dropKept(ctx); err != nil || freed {
			r.memory.since = now
			return err
		}
		return events.Errorf(projections.ErrStoreFull, "the store uses %d of %d bytes; the replay was given up so that what is live can go on", m.Used, m.Max).Hint("Raise maxmemory, then replay again.")
	case !held && !resting && share >= yieldShare:
		r.memory.since = now
		r.job.Yields = fmt.Sprintf("the store uses %.0f %% of its memory; it goes on below %.0f %%", 100*share, 100*resumeShare)
		r.throttle.hold()
		r.p.options.Logger.WarnContext(ctx, "the replay stands still: the store is nearly full", "replay", r.job.ID, "used", m.Used, "most", m.Max)
	}
	return nil
}

// goOn ends standing still.
func (r *replayRun) goOn() {
	r.job.Yields, r.memory.since = "", time.Time{}
	r.throttle.free()
}

// memoryInterval is how often the store's memory is looked at.
const memoryInterval = 500 * time.Millisecond

// memoryLook is what is remembered of looking at the store's memory.
type memoryLook struct {
	looked, since time.Time
}

// makeCopy builds the read model as it was at a position, and gives it its name.
func (r *replayRun) makeCopy(ctx context.Context) error {
	j := &r.job
	j.Head = j.Plan.Last
	if err := r.build(ctx, j.Plan.Last, r.live.done); err != nil {
		return err
	}
	if err := r.p.store.SetState(ctx, r.next.gen, r.token, projections.Live); err != nil {
		return err
	}
	digest, documents, at := r.next.sum()
	j.Digest, j.Position, j.Documents = digest.String(), at.String(), documents
	def := r.version.Projection.Definition()
	err := r.move(ctx, func(now *projections.Pointer) error {
		if isRetired(now, r.next.gen.Number) {
			return events.Errorf(projections.ErrFenced, "generation %d of %s was given up; it is no copy", r.next.gen.Number, def.Name)
		}
		if made, ok := now.Copy(j.As); ok && made.Generation == r.next.gen.Number {
			return nil // it is written already
		} else if ok {
			return events.Errorf(projections.ErrCopyExists, "%s has a copy %s by now; what was built is dropped", def.Name, j.As).Hint("Take another name.")
		}
		now.Copies = append(now.Copies, projections.Copy{
			Name: j.As, Position: j.Position, Documents: documents, Digest: j.Digest, Made: time.Now().UTC(),
			Built: projections.Built{
				Retiree: projections.Retiree{Generation: j.Generation, Partitions: j.Partitions}, Version: def.Version, Definition: def.Fingerprint(),
				Fields: def.Fields, Indexes: def.Indexes, Source: def.Source, Until: j.Until,
			},
		})
		return nil
	})
	if err != nil {
		return err
	}
	r.settled = true
	return r.finish(ctx)
}

// drop drops a copy, or the generation before.
func (r *replayRun) drop(ctx context.Context) error {
	found := false
	if r.job.As == "" {
		r.kept.stop()
	}
	err := r.move(ctx, func(now *projections.Pointer) error {
		found = false
		if r.job.As == "" {
			if before := now.Previous; before != nil {
				found, now.Previous = true, nil
				retire(now, before.Retiree)
			}
			return nil
		}
		now.Copies = slices.DeleteFunc(now.Copies, func(c projections.Copy) bool {
			if c.Name != r.job.As {
				return false
			}
			found = true
			retire(now, c.Retiree)
			return true
		})
		return nil
	})
	if err != nil {
		return err
	}
	if found {
		r.p.wakeSweeper()
	}
	return r.finish(ctx) // what is not there is dropped, whoever did that
}

// rollBack has the generation before take over.
func (r *replayRun) rollBack(ctx context.Context) error {
	p, j := r.p, &r.job
	now, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil {
		return err
	}
	before := now.Previous
	if before == nil {
		return NothingKept(p.def.Name)
	}
	v, ok := p.version(before.Definition)
	if !ok {
		return events.Errorf(projections.ErrNothingKept, "generation %d of %s is of version %d, which this program does not have; nothing was switched", before.Generation, p.def.Name, before.Version).
			Hint("Use a program that was built with it.")
	}
	r.version = v
	j.Generation, j.Partitions, j.Definition, j.State = before.Generation, before.Partitions, before.Definition, projections.ReplayBuilding
	if err := r.move(ctx, func(*projections.Pointer) error { return nil }); err != nil { // whoever took it over before changes nothing any more
		return err
	}
	r.kept.stop()
	r.begin(before.Of(p.def.Name))
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	return r.switchOver(ctx)
}

// refold folds the documents again that records are about since an offset, in the live generation.
func (r *replayRun) refold(ctx context.Context) error {
	p, j, live := r.p, &r.job, r.live.engine
	if live == nil || live.finger != p.def.Fingerprint() {
		return fmt.Errorf("%w: another version is live by now", errUnproven)
	}
	j.State, j.Generation, j.Partitions, j.Definition = projections.ReplayBuilding, live.gen.Number, live.gen.Partitions, live.finger
	j.Head = j.Plan.Last
	if err := r.save(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // nobody carries out a step of a generation that is not followed
		select {
		case <-r.live.done:
			if refuses(r.live.err) {
				cancel(fmt.Errorf("%w: the live generation cannot be followed: %w", errUnproven, r.live.err))
			} else {
				cancel(fmt.Errorf("%w: %w", errLiveEnded, r.live.err))
			}
		case <-ctx.Done():
		}
	}()
	touched, all, err := touchedSince(ctx, r.version, j.Plan.First, j.Plan.Last, live.gen.Partitions, maxRefoldRecords)
	if err == nil && !all {
		err = fmt.Errorf("%w: a skip record is among the records", errUnproven)
	}
	if err != nil {
		return err
	}
	written := 0
	step := func(made repairing) error {
		done, err := p.step(ctx, made)
		if err == nil {
			written += done.written
		}
		if errors.Is(err, projections.ErrDocumentDamaged) || errors.Is(err, projections.ErrWrongType) {
			return fmt.Errorf("%w: %w", errUnproven, err) // more is wrong than was trusted
		}
		return err
	}
	headers, err := p.store.Headers(ctx, live.gen)
	if err != nil {
		return err
	}
	most := min(max(int(stepRecords/perDocument(j.Plan.Last, headers)), 1), repairStep)
	for done := 0; done < len(touched); {
		n := min(len(touched)-done, most)
		if err := step(repairing{generation: j.Generation, documents: touched[done : done+n], recount: -1}); err != nil {
			return err
		}
		done += n
		j.Documents = uint64(done)                                                                          //nolint:gosec // not negative
		j.Sequence = j.Plan.First - 1 + uint64(float64(j.Plan.Records)*float64(done)/float64(len(touched))) //nolint:gosec // a share of it
		j.PerSecond, j.Remaining = r.pace.at(time.Now(), j.Sequence, j.Head)
		if err := r.save(ctx); err != nil {
			return err
		}
	}
	for n := range live.gen.Partitions {
		if written == 0 || !slices.ContainsFunc(touched, func(d projections.RepairDocument) bool { return d.Partition == n }) {
			continue // it sums up to what it was summed up to
		}
		if err := step(repairing{generation: j.Generation, recount: n}); err != nil {
			return err
		}
	}
	j.Difference = &projections.Difference{Changed: uint64(written), Same: uint64(max(len(touched)-written, 0))} //nolint:gosec // not negative
	if err := r.proveRefold(ctx); err != nil {
		return err
	}
	return r.finish(ctx)
}

// proveRefold compares the read model with other regions' at the first mark that it passes.
func (r *replayRun) proveRefold(ctx context.Context) error {
	p, j := r.p, &r.job
	gen := projections.Generation{Projection: p.def.Name, Number: j.Generation, Partitions: j.Partitions}
	headers, err := p.store.Headers(ctx, gen)
	if err != nil {
		return err
	}
	var at uint64
	for i := range headers {
		point, _ := headers[i].Checkpoint.Point(p.log.Origin())
		at = max(at, point.Sequence)
	}
	digest, _, position := projections.Sum(headers)
	j.Digest, j.Position = digest.String(), position.String()
	j.State = projections.ReplayComparing
	for deadline := time.Now().Add(commonPatience); ; sleep(ctx, time.Second) {
		witnesses := p.witnesses(ctx)
		_, marks, err := p.store.Marks(ctx, gen)
		if err != nil {
			return err
		}
		proof := testify(p.def.Fingerprint(), SumMarks(marks), at-min(at, 1), witnesses)
		if proof.Result == projections.ProofUnknown && slices.ContainsFunc(witnesses, func(w Witness) bool { return w.Definition == p.def.Fingerprint() }) && time.Now().Before(deadline) && ctx.Err() == nil {
			if err := r.save(ctx); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if j.Proof = &proof; proof.Result == projections.ProofDifferent {
			return fmt.Errorf("%w: %s", errUnproven, proof.Why)
		}
		return nil
	}
}
