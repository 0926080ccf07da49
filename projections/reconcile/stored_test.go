package reconcile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/reconcile"
)

// TestAPlanIsKeptUntilALaterOneOfItsProjection: by its id, whole or as much of it as fits, and it says what does not.
func TestAPlanIsKeptUntilALaterOneOfItsProjection(t *testing.T) {
	kv, now := memstore.NewKV(), time.Now()
	report := func(projection string, documents, size int) *reconcile.Report {
		r := &reconcile.Report{Region: "us", Projection: projection, Documents: uint64(documents), Recount: []int{3}} //nolint:gosec // small
		for i := range documents {
			r.Findings = append(r.Findings, reconcile.Finding{Key: fmt.Sprintf("%s%d", strings.Repeat("k", size), i), Kind: reconcile.KindAltered, Detected: time.Now()})
		}
		return r
	}
	store := func(r *reconcile.Report) reconcile.Stored {
		t.Helper()
		s, err := r.Store(t.Context(), kv, r.Plan(1), 1, now)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	read := func(id string) (reconcile.Stored, error) { return reconcile.ReadStored(t.Context(), kv, id) }
	a, b := store(report("a", 3, 1)), store(report("b", 3, 1))
	for _, s := range []reconcile.Stored{a, b} {
		if got, err := read(s.ID); err != nil || got.Plan.Projection != s.Plan.Projection || got.Digest != s.Digest || got.Left != 0 || len(got.Plan.Repairs) != 1 || len(got.Plan.Repairs[0].Documents) != 3 || len(got.Plan.Repairs[0].Recount) != 1 {
			t.Errorf("the plan %s is %+v, %v", s.ID, got, err)
		}
	}
	later := store(report("a", 3, 1))
	if later.Digest != a.Digest || later.ID == a.ID || later.Digest == store(report("c", 2, 1)).Digest {
		t.Errorf("of the same findings there are the plans %+v and %+v", a, later)
	}
	for _, id := range []string{a.ID, "", "x"} {
		if _, err := read(id); !errors.Is(err, reconcile.ErrUnknownPlan) {
			t.Errorf("the plan %q is %v", id, err)
		}
	}
	large := report("b", 900, 2_000)
	whole := large.Plan(1)
	kept, err := read(store(large).ID)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for i := range kept.Plan.Repairs {
		named += len(kept.Plan.Repairs[i].Documents)
	}
	if entry, err := kv.Get(t.Context(), projections.PlanKey("b")); err != nil || len(entry.Value) > 1<<20 || named == 0 || kept.Left != 900-named || len(whole.Repairs) <= len(kept.Plan.Repairs) {
		t.Errorf("of a large plan %d documents are kept, %d are left, in %d bytes, %v", named, kept.Left, len(entry.Value), err)
	}
	if _, err := kv.Put(t.Context(), projections.PlanKey("d"), []byte("{"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := read("x"); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("a plan that cannot be read is %v", err)
	}
}
