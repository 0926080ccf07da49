package reconcile

import (
	"context"
	"maps"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// A scrub takes its time, and what it has met is not to wait for its end: a partition is walked through in one burst, judged, and then rested for. From where something looks wrong until that is judged it
// is in a hurry, which nobody rests for. The lists at the end, strays and foldings, add to that what only they can see.

// burstOf returns the share of a core within a burst, by that on average.
func burstOf(share float64) float64 { return min(10*share, suspectBudget) }

// walkEarly walks through one partition after the other, and has each judged at once.
func (x *examination) walkEarly(ctx context.Context, all []*scrubbed) (err error) {
	x.budget.burst = burstOf(x.budget.share)
	defer func() { x.budget.burst = 0 }()
	for i := range all {
		if all[i], err = x.scrub(ctx, i); err != nil {
			return err
		}
		if err := x.judgeEarly(ctx, all, i); err != nil {
			return err
		}
		if err := x.budget.pay(ctx); err != nil {
			return err
		}
	}
	return nil
}

// looksWrong reports whether there is something for the log to judge.
func (s *scrubbed) looksWrong() bool { return s.sums || len(s.suspects)+len(s.misplaced) > 0 }

// hurryFor takes more of a core from now on if something looks wrong.
func (x *examination) hurryFor(s *scrubbed) {
	if s.looksWrong() {
		x.budget.hurry(x.options.Hurry)
	}
}

// judgeEarly has the log judge what looks wrong with the partition that was walked through last, and tells of it.
func (x *examination) judgeEarly(ctx context.Context, all []*scrubbed, partition int) error {
	s := all[partition]
	if !s.looksWrong() {
		return nil
	}
	defer x.budget.calm()
	if err := x.judge(ctx, all[partition:partition+1]); err != nil {
		return err
	}
	rest := context.Cause
	if !x.options.Deep && x.unexplained(s) {
		rest = x.budget.step()
		next := make([]int, 0, len(all)-partition)
		for i := partition; i < len(all); i++ {
			next = append(next, i)
		}
		if err := x.compareLast(ctx, s, next); err != nil {
			return err
		}
		if err := x.judge(ctx, all[partition:partition+1]); err != nil {
			return err
		}
	}
	if s.settled && x.explained(s) {
		x.past[partition] = priors{known: true}
	}
	if r := x.soFar(s); len(r.Findings) > 0 {
		if err := x.options.Found(ctx, r); err != nil {
			return err
		}
	}
	x.budget.calm()
	return rest(ctx)
}

// soFar returns what is known to be wrong with the documents of a partition.
func (x *examination) soFar(s *scrubbed) *Report {
	r := x.report
	r.Ended, r.Documents, r.Findings = x.now(), s.stored(), nil
	for _, id := range slices.Sorted(maps.Keys(x.verdicts)) {
		if v := x.verdicts[id]; v.partition == s.partition {
			r.Findings = append(r.Findings, x.findings(v)...)
		}
	}
	if n := len(r.Findings); n > MaxFindings {
		r.Findings, r.More = r.Findings[:MaxFindings], n-MaxFindings
	}
	return &r
}

// early is what a reconciler does about findings while the rest of the read model is examined.
type early struct {
	r         *Reconciler
	told      map[finding]bool // those that were logged, and one more than maxLogged
	documents int              // that were to be repaired
	out       Outcome
	counted   int  // of those that were repaired, in the record
	failed    bool // repairing, which is left to the end then
}

// finding is what makes two findings the same.
type finding struct {
	partition          int
	key                string
	kind               Kind
	index, entry, name string
}

// maxLogged bounds the findings of one examination that are logged.
const maxLogged = 20

// log logs findings, each once.
func (e *early) log(ctx context.Context, report *Report) {
	for i := range report.Findings {
		f := &report.Findings[i]
		id := finding{f.Partition, f.Key, f.Kind, f.Index, f.Entry, f.Member}
		if e.told[id] || len(e.told) > maxLogged {
			continue
		}
		if e.told[id] = true; len(e.told) > maxLogged {
			return
		}
		e.r.options.Logger.WarnContext(ctx, "stored otherwise than the log says", "projection", f.Projection, "generation", f.Generation, "partition", f.Partition, "key", f.Key,
			"kind", string(f.Kind), "position", f.Position, "first_bad", f.FirstBad, "outside_the_log", f.Outside, "last_good_mark", f.LastGood)
	}
}

// found records what is wrong with a partition, and has it repaired. What cannot be done now is done, or said, in the end.
func (e *early) found(ctx context.Context, report *Report) error {
	pointer, _, err := projections.ReadPointer(ctx, e.r.kv, report.Projection)
	if err == nil && pointer.Generation != report.Generation {
		return events.Errorf(events.ErrConflict, "generation %d of %s was replaced while it was examined", report.Generation, report.Projection)
	}
	e.log(ctx, report)
	if err == nil {
		err = e.record(ctx, report)
	}
	if e.fail(ctx, report.Projection, err); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	plan := report.Plan(1)
	e.documents += plan.Documents
	if e.failed || e.r.options.KeepWrong || e.documents > fewDocuments && !within(plan.Documents, report.Documents, e.r.options.Share) {
		return nil // where each partition is within the share, all together are
	}
	done, err := e.r.execute(ctx, &plan)
	e.out.add(done)
	if done.Repaired > 0 && err == nil {
		err = update(ctx, e.r.kv, report.Projection, func(record *Record) { record.TotalRepaired += uint64(done.Repaired) }) //nolint:gosec // not negative
		if err == nil {
			e.counted += done.Repaired
		}
	}
	if e.fail(ctx, report.Projection, err); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// fail leaves the rest to the end of the examination, and says why, once.
func (e *early) fail(ctx context.Context, projection string, err error) {
	if err == nil || e.failed || ctx.Err() != nil {
		return
	}
	e.failed = true
	e.r.options.Logger.WarnContext(ctx, "what was found is not repaired at once, but when all was examined", "projection", projection, "reason", err.Error())
}

// record writes into the record what was found, and announces it.
func (e *early) record(ctx context.Context, report *Report) error {
	var now Record
	err := update(ctx, e.r.kv, report.Projection, func(record *Record) {
		record.begun(report)
		now = *record
	})
	if err == nil {
		e.r.announce(now)
	}
	return err
}
