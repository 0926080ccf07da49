package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

// TestWhatIsNoDocumentIsFoundAndLeftToAPerson: something else under the name of a document, listed or not, or in a partition that is not its own, hides no other finding, and stops no repair.
func TestWhatIsNoDocumentIsFoundAndLeftToAPerson(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			inPlace(t, kind, 5, nil, func(p *place) {
				p.add(120)
				p.mark()
				p.settle()
				some := p.pick(3)
				listed, edited, elsewhere := some[0], some[1], some[2]
				elsewhere.Partition = (elsewhere.Partition + 1) % p.gen().Partitions
				nobody := projections.Ref{Partition: projections.PartitionOf("nobody", p.gen().Partitions), Key: "nobody"}
				for _, ref := range []projections.Ref{listed, nobody, elsewhere} {
					p.store.SpoilKey(p.gen(), ref, true)
				}
				p.edit(edited, func(f map[string]string) { f["sum"] += "1" })
				for _, deep := range []bool{true, false} {
					r := p.examine(reconcile.Options{Deep: deep})
					if len(r.Findings) != 4 || len(r.Recount) != 0 {
						t.Fatalf("found is %+v", r)
					}
					for i := range r.Findings {
						f := &r.Findings[i]
						want := map[string]reconcile.Kind{listed.Key: reconcile.KindMissing, nobody.Key: reconcile.KindExtra, elsewhere.Key: reconcile.KindExtra, edited.Key: reconcile.KindAltered}[f.Key]
						if f.Kind != want || f.Foreign != (f.Key != edited.Key) || f.Misplaced != (f.Key == elsewhere.Key) || !f.Outside {
							t.Errorf("the finding is %+v, want %s", f, want)
						}
					}
					plan := r.Plan(0)
					if len(plan.Blocked) != 3 || plan.Documents != 1 || !slices.Contains(plan.Blocked, fmt.Sprintf("partition %d, documents: %q", listed.Partition, listed.Key)) {
						t.Fatalf("the plan is %+v", plan)
					}
				}
				if out := p.repair(p.examine(reconcile.Options{})); out.Repaired != 1 {
					t.Errorf("the repair came to %+v", out)
				}

				// A plan that names one all the same is refused, and so is the sum of its partition; the projector goes on.
				for _, job := range []projections.Repair{
					{Documents: []projections.RepairDocument{{Partition: listed.Partition, Key: listed.Key}}}, {Recount: []int{listed.Partition}},
				} {
					job.Projection, job.Generation = kind, p.gen().Number
					plan := reconcile.Plan{Projection: kind, Repairs: []projections.Repair{job}}
					if _, err := reconcile.Execute(context.Background(), p.kv, &plan, nil); !errors.Is(err, projections.ErrWrongType) && !errors.Is(err, projections.ErrDocumentDamaged) {
						t.Errorf("the repair of what is no document ended with %v", err)
					}
				}
				for _, ref := range []projections.Ref{listed, nobody, elsewhere} {
					p.store.SpoilKey(p.gen(), ref, false)
				}
				p.add(30)
				p.mark()
				p.settle()
				if r := p.examine(reconcile.Options{Deep: true}); len(r.Findings) != 0 {
					t.Errorf("later there is %+v", r.Findings)
				}
			})
		})
	}
}
