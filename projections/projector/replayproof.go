package projector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// examine compares the new generation with what others say, and with the live one, while that goes on.
func (r *replayRun) examine(ctx context.Context) error {
	p, j, live := r.p, &r.job, r.live.engine
	j.State = projections.ReplayComparing
	if err := r.save(ctx); err != nil {
		return err
	}
	marks := make([][]projections.PartitionMark, len(r.next.parts))
	headers := make([]projections.Header, len(r.next.parts))
	for i := range r.next.parts {
		marks[i], headers[i] = r.next.parts[i].marks, r.next.parts[i].head
	}
	proof := testify(r.next.finger, SumMarks(marks), r.next.base.used.Sequence, r.independent(p.witnesses(ctx)))
	if proof.Result == projections.ProofDifferent && r.trusting() {
		return fmt.Errorf("%w: %s", errUnproven, proof.Why)
	}
	same, err := r.sameAtMark(ctx, marks)
	if err != nil {
		return err
	}
	if proof.Result != projections.ProofEqual && j.RequireEqual && (r.trusting() || !same) { // nobody else will prove it
		if err := r.during(ctx, func(ctx context.Context) (err error) {
			proof, err = secondFold(ctx, r.version, headers)
			return err
		}); err != nil {
			return err
		}
		if proof.Result == projections.ProofDifferent && r.trusting() {
			return fmt.Errorf("%w: %s", errUnproven, proof.Why)
		}
	}
	j.Proof = &proof
	if err := r.save(ctx); err != nil {
		return err
	}
	if same || live == nil || !r.sameLog() {
		return nil
	}
	return r.differ(ctx)
}

// sameAtMark reports whether the live generation is of the same version and was the same at the newest mark that both have.
func (r *replayRun) sameAtMark(ctx context.Context, marks [][]projections.PartitionMark) (bool, error) {
	live := r.live.engine
	if live == nil || live.finger != r.next.finger || !r.sameLog() || ended(r.live.done) {
		return false, nil
	}
	_, theirs, err := r.p.store.Marks(ctx, live.gen)
	if err != nil {
		return false, err
	}
	a, b, ok := newestCommon(SumMarks(marks), SumMarks(theirs), 0)
	return ok && a == b, nil
}

// trusting reports whether what was built began with a snapshot, as far as that is known: after a crash it is not known that it did not.
func (r *replayRun) trusting() bool {
	return r.job.Plan.Strategy == projections.StrategySnapshot && !r.next.base.bare
}

// independent returns the witnesses that did not begin with the snapshot that was loaded, as far as can be told: the region where it was taken went on from it.
func (r *replayRun) independent(list []Witness) []Witness {
	if !r.trusting() {
		return list
	}
	return slices.DeleteFunc(list, func(w Witness) bool { return w.Region == r.job.Plan.Region || w.Region == r.next.base.used.Region })
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// differ looks for the documents in which the new generation differs from the live one.
func (r *replayRun) differ(ctx context.Context) error {
	live := r.live.engine
	return r.during(ctx, func(ctx context.Context) error {
		d, err := Compare(ctx, r.p.store, Side{Generation: live.gen, Definition: live.def}, Side{Generation: r.next.gen, Definition: r.next.def}, r.next.tip.seq)
		r.different = &d
		return err
	})
}

// during does something that takes its time, and finds out meanwhile when the replay is given up.
func (r *replayRun) during(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- work(ctx) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-result:
			r.job.Difference = r.different
			return err
		case <-tick.C:
			if err := r.save(ctx); err != nil && !unreachable(err) {
				cancel()
				<-result //nolint:errcheck // err is why
				return err
			}
		}
	}
}

// conclude decides what is proven of the new generation, now that the one before stands beside it. It returns errUnproven when it was built from something that is not, and ErrNotProven when
// that was required.
func (r *replayRun) conclude() error {
	j := &r.job
	if j.Proof == nil {
		j.Proof = &projections.Proof{Result: projections.ProofUnknown, Why: "nothing was compared"}
	}
	if j.Proof.Result == projections.ProofUnknown && j.Compared {
		at, _ := r.next.parts[0].head.Checkpoint.Point(r.next.log.Origin())
		proof := projections.Proof{Result: projections.ProofEqual, With: "live", Sequence: at.Sequence, Why: "the generation before had the same digest"}
		switch {
		case !j.Equal:
			proof.Result, proof.Why = projections.ProofDifferent, "the generation before had another digest"
		case r.trusting():
			proof.Result, proof.Why = projections.ProofConsistent, "the generation before had the same digest, and the snapshot is of that"
		}
		j.Proof = &proof
	}
	if j.Equal {
		j.Difference = nil
	}
	switch {
	case j.Kind == projections.ReplayRollback:
	case j.Proof.Result == projections.ProofEqual:
	case j.Proof.Result == projections.ProofConsistent && !j.RequireEqual:
	case r.trusting():
		return fmt.Errorf("%w: %s", errUnproven, j.Proof.Why)
	case j.RequireEqual:
		return events.Errorf(projections.ErrNotProven, "what was built of %s is not proven equal: %s; nothing was switched", j.Projection, j.Proof.Why).
			Hint("tidemark replay show %s has the documents that differ. Without --require-equal it would have been switched.", j.ID)
	}
	return nil
}

// maxBack bounds the reasons that are remembered for going back, and maxWhy each of them, in bytes.
const (
	maxBack = 16
	maxWhy  = 500
)

// goBack plans to begin further back, because what was trusted did not prove right. What was built is given up. Each time only older snapshots are left, so it ends with the first record.
func (r *replayRun) goBack(ctx context.Context, why error) error {
	p, j := r.p, &r.job
	asked, planning := j.ReplayRequest, Planning{Version: r.version, Partitions: p.options.Partitions, Store: p.store, KV: p.kv, Snapshots: p.snapshotsOf(r.version)}
	asked.RequireEqual = true // not in place
	if j.Plan.Strategy != projections.StrategyRefold {
		planning.Before = j.Plan.First - 1 // the one that was planned
		if used := r.next.base.used.Sequence; used != 0 {
			planning.Before = min(planning.Before, used)
		}
		if planning.Before <= 1 {
			planning.Snapshots = nil
		}
	}
	plan, err := Plan(ctx, planning, asked)
	if err != nil {
		return err
	}
	if err := r.room(ctx, &plan); err != nil {
		return err
	}
	var given projections.Retiree
	if j.Plan.Strategy != projections.StrategyRefold {
		given = projections.Retiree{Generation: j.Generation, Partitions: j.Partitions}
	}
	if err := r.move(ctx, func(now *projections.Pointer) error { retire(now, given); return nil }); err != nil {
		return err
	}
	said := fmt.Sprintf("%s: beginning anew at %d", clipTo(why.Error(), maxWhy), plan.First)
	p.options.Logger.WarnContext(ctx, "a replay goes further back", "replay", j.ID, "reason", said)
	if j.Back = append(j.Back, said); len(j.Back) > maxBack {
		j.Back = j.Back[len(j.Back)-maxBack:]
	}
	j.Plan, j.Generation, j.Proof, j.Difference, r.next, r.different = &plan, 0, nil, nil, nil, nil
	if err := r.save(ctx); err != nil || given.Generation == 0 {
		return err
	}
	if err := p.drop(ctx, given); err != nil {
		p.wakeSweeper() // tries again
	}
	return nil
}

// clipTo bounds a text.
func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// suspect has the new generation, which is folded from the first record, tell what is right at the marks of the snapshots that there are.
func (r *replayRun) suspect(ctx context.Context) error {
	all := r.p.snapshotsOf(r.version)
	if all == nil || r.job.Plan.Strategy != projections.StrategyWhole || r.job.Kind != projections.ReplayModel {
		return nil
	}
	list, err := listSnapshots(ctx, all, r.p.def.Name)
	if err != nil {
		return err
	}
	r.next.proofs = make(map[uint64]*projections.PartitionMark, len(list))
	for i := range list {
		if list[i].Definition == r.next.finger {
			r.next.proofs[list[i].Sequence] = nil
		}
	}
	return nil
}

// review drops the snapshots that are not what the log makes: they were taken while the read model was wrong.
func (r *replayRun) review(ctx context.Context, proofs map[uint64]*projections.PartitionMark) {
	if len(proofs) == 0 {
		return
	}
	all, log := r.p.snapshotsOf(r.version), r.p.options.Logger
	list, err := listSnapshots(ctx, all, r.p.def.Name)
	for i := range list {
		s := &list[i]
		right := proofs[s.Sequence]
		if s.Definition != r.next.finger || right == nil || right.Digest.String() == s.Digest && right.Documents == s.Documents {
			continue
		}
		log.WarnContext(ctx, "a snapshot is not what the log makes, and is dropped", "snapshot", s.ID, "sequence", s.Sequence, "documents", s.Documents, "right", right.Documents)
		if deleted := all.Delete(ctx, r.p.def.Name, s.ID); deleted != nil {
			err = deleted
		}
	}
	if err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "not all snapshots could be compared with what the log makes", "reason", err.Error())
	}
}
