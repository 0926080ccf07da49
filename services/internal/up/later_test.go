package up_test

import (
	"path/filepath"
	"testing"

	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/up"
)

// TestARegionJoinsThatCopiesOnlyTheEndOfTheLog: without snapshots its read models are folded through the leader, and a file that was applied before it joined is known. A third one copies all.
func TestARegionJoinsThatCopiesOnlyTheEndOfTheLog(t *testing.T) {
	base := up.Config{Config: parts.Config{Region: region.Config{DataDir: filepath.Join(t.TempDir(), "regions"), Redis: "server", LazySync: true}}}
	f := startRegions(t, base, []string{"us", "ap"}, nil)
	file := flightsFile(t, "airports", "ports")
	p := f.apply("us", file)
	at := f.fly(0, 2_000)
	point, _ := at.Point("us")
	f.documents("ap", "ports", at)
	f.stop()
	ids := f.ids

	later := map[string]uint64{"eu": point.Sequence - 500}
	f = startRegions(t, base, []string{"us", "ap", "eu"}, later)
	f.ids = ids
	at = f.fly(2_000, 1_000)
	want := f.documents("us", "ports", at)
	for _, in := range []string{"ap", "eu"} {
		f.same("ports of "+in, f.documents(in, "ports", at), want)
		f.same("airports of "+in, f.documents(in, "airports", at), f.documents("us", "airports", at))
		f.same("a fold in "+in, f.fold(in, p), want)
	}
	o, err := f.app("eu").Reader().Overview(t.Context())
	if err != nil || o.Replication == nil || o.Replication.Begins != later["eu"] {
		t.Errorf("%+v, %v", o.Replication, err)
	}
	f.stop()
	ids = f.ids

	// What is configured later changes nothing, and is said.
	f = startRegions(t, base, []string{"us", "ap", "eu"}, nil)
	if notes := f.app("eu").Region().Notes(); len(notes) != 1 {
		t.Errorf("the notes are %q", notes)
	}
	f.ids = ids
	at = f.fly(3_000, 500)
	f.same("ports of eu", f.documents("eu", "ports", at), f.documents("us", "ports", at))
}
