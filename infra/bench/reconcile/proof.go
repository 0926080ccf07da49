package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

// proof is one run.
type proof struct {
	*world

	table   *table
	healthy time.Duration         // that an examination takes which finds nothing
	kept    projections.Snapshots // those that examinations may use; nil: none
	// Of the last examination: how often it read the whole log, and the history of an entity.
	passes, histories int64
	profiles          int // taken so far
}

func (p *proof) run(ctx context.Context) error {
	log := "JetStream"
	if p.c.memory {
		log = "memory"
	}
	p.table.head(fmt.Sprintf("%d documents of %d events in %s, %d live events a second", p.c.documents, p.c.events, log, p.c.live))
	began := time.Now()
	if err := p.open(ctx); err != nil {
		return err
	}
	p.table.line("log written", "%s", seconds(time.Since(began)))
	began = time.Now()
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.reach(ctx); err != nil {
		return err
	}
	p.table.line("read model built", "%s", seconds(time.Since(began)))
	if err := p.marked(ctx); err != nil {
		return err
	}
	p.write(ctx)
	if err := p.audited(ctx, "read model"); err != nil {
		return err
	}
	if p.c.replay {
		return p.replays(ctx)
	}
	p.table.head("Healthy")
	for _, step := range []func(context.Context) error{p.marksEqual, p.beside, p.scrubs, p.damages, p.restarts} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return p.ended
}

// audited compares everything with the ledger.
func (p *proof) audited(ctx context.Context, what string) error {
	resume, err := p.settled(ctx)
	if err != nil {
		return err
	}
	defer resume()
	gen, err := p.generation(ctx)
	if err != nil {
		return err
	}
	n, err := p.ledger.audit(ctx, p.redis, p.proj.Definition(), gen)
	if err != nil {
		p.table.prove(false, what+" against the ledger", "%s", indent(err))
		return nil // it is in the table, and the run fails
	}
	p.table.prove(true, what+" against the ledger", "%d documents, lists of keys, indexes, headers: all as written", n)
	return nil
}

// mended examines what was damaged, and has it repaired. Exactly what is wanted has to be found.
func (p *proof) mended(ctx context.Context, way string, want map[finding]bool) (after time.Duration, err error) {
	stop, err := p.profiled("damage")
	if err != nil {
		return 0, err
	}
	r, took, after, err := p.examine(ctx, false)
	stop()
	if err != nil {
		return 0, err
	}
	got := findings(r)
	p.table.prove(maps.Equal(got, want), way, "found %d of %d, and %d others, in %s", len(want)-missing(want, got), len(want), missing(got, want), seconds(took))
	for _, f := range slices.SortedFunc(maps.Keys(got), finding.compare) {
		if !want[f] {
			p.table.line("", "not wanted: %+v", f)
		}
	}
	for _, f := range slices.SortedFunc(maps.Keys(want), finding.compare) {
		if !got[f] {
			p.table.line("", "not found: %+v", f)
		}
	}
	p.table.line("    judged", "%s after the last document was read, %d histories and %d passes over the log", seconds(after), p.histories, p.passes)
	began := time.Now()
	plan := r.Plan(0)
	out, err := reconcile.Execute(ctx, p.kv, &plan, nil)
	if err != nil {
		return 0, err
	}
	repaired := time.Since(began)
	p.table.prove(out.Repaired == plan.Documents, "  repaired", "%d of %d documents, %d right by then, %d partitions recounted, in %s", out.Repaired, plan.Documents, out.Right, out.Recounted, seconds(repaired))
	if err := p.audited(ctx, "  afterwards"); err != nil {
		return 0, err
	}
	again, err := reconcile.Execute(ctx, p.kv, &plan, nil)
	if err != nil {
		return 0, err
	}
	p.table.prove(again.Repaired+again.Recounted == 0, "  repaired once more", "%d documents written, %d partitions recounted", again.Repaired, again.Recounted)
	return after + repaired, p.clean(ctx)
}

// clean requires that nothing is found.
func (p *proof) clean(ctx context.Context) error {
	r, took, _, err := p.examine(ctx, p.c.deep)
	if err != nil {
		return err
	}
	what := "  examined again"
	if p.c.deep {
		what = "  examined again, deep"
	}
	p.table.prove(len(r.Findings)+len(r.Recount) == 0, what, "%s, %d of %d partitions' sums compared, in %s", summary(r), r.Compared, r.Partitions, seconds(took))
	return nil
}

// finding is what a finding has to say.
type finding struct {
	partition    int
	key          string
	kind         reconcile.Kind
	index, entry string
}

func (f finding) compare(g finding) int { return strings.Compare(fmt.Sprint(f), fmt.Sprint(g)) }

func findings(r *reconcile.Report) map[finding]bool {
	all := make(map[finding]bool, len(r.Findings))
	for i := range r.Findings {
		f := &r.Findings[i]
		all[finding{f.Partition, f.Key, f.Kind, f.Index, f.Entry}] = true
	}
	return all
}

// missing returns how many of some findings are not among others.
func missing(of, among map[finding]bool) (n int) {
	for f := range of {
		if !among[f] {
			n++
		}
	}
	return n
}

// summary says how many findings there are, by kind.
func summary(r *reconcile.Report) string {
	kinds := map[reconcile.Kind]int{}
	for i := range r.Findings {
		kinds[r.Findings[i].Kind]++
	}
	if len(kinds)+len(r.Recount) == 0 {
		return "nothing found"
	}
	return fmt.Sprintf("%v, sums of partitions %v", kinds, r.Recount)
}

// refOf returns where an entity's document is.
func (p *proof) refOf(entity int, gen projections.Generation) projections.Ref {
	key := p.c.key(entity)
	return projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}
}
