package up_test

import (
	"path/filepath"
	"testing"
	"time"

	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
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

// TestAReplayInARegionThatBeginsLaterBeginsWithASnapshot that was copied there, through the ports, as tidemark snapshot copy does.
func TestAReplayInARegionThatBeginsLaterBeginsWithASnapshot(t *testing.T) {
	base := up.Config{Config: parts.Config{Region: region.Config{DataDir: filepath.Join(t.TempDir(), "regions"), Redis: "server", LazySync: true}}}
	f := startRegions(t, base, []string{"us"}, nil)
	f.documents("us", "airports", f.fly(0, 2_000))
	kv := f.app("us").Region().KV()
	asked, err := projections.RequestSnapshot(t.Context(), kv, "airports", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := marks.New(f.app("us").Region().Log(), marks.Options{}).Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	var taken projections.Snapshot
	f.until("a snapshot is taken", func() bool {
		job, _, err := projections.ReadJSON[projections.SnapshotJob](t.Context(), kv, projections.SnapshotKey("airports"))
		if err != nil || job.ID != asked.ID || job.State != projections.SnapshotDone {
			return false
		}
		taken = *job.Snapshot
		return true
	})
	f.stop()
	ids := f.ids

	f = startRegions(t, base, []string{"us", "eu"}, map[string]uint64{"eu": taken.Sequence})
	f.ids = ids
	at := f.fly(2_000, 500)
	want := f.documents("us", "airports", at)
	f.same("through the leader", f.documents("eu", "airports", at), want)
	body, err := f.app("us").Region().Snapshots().Open(t.Context(), "airports", taken.ID)
	if err == nil {
		_, err = f.app("eu").Region().Snapshots().Put(t.Context(), taken, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	kv = f.app("eu").Region().KV()
	if _, err := projections.RequestReplay(t.Context(), kv, "airports", "a test", time.Now()); err != nil {
		t.Fatal(err)
	}
	var done projections.Replay
	f.until("it is replayed", func() bool {
		done, _, err = projections.ReadJSON[projections.Replay](t.Context(), kv, projections.ReplayKey("airports"))
		return err == nil && !done.Running()
	})
	if done.State != projections.ReplayDone || done.Plan == nil || done.Plan.Strategy != projections.StrategySnapshot || done.Plan.Snapshot != taken.ID || !done.Equal {
		t.Errorf("%+v, %+v", done, done.Plan)
	}
	f.same("from the snapshot", f.documents("eu", "airports", at), want)
	mark, err := marks.New(f.app("eu").Region().Log(), marks.Options{}).Now(t.Context()) // forwarded; the one before may be below the copy
	if err != nil {
		t.Fatal(err)
	}
	var said [2]reconcile.Mark
	for i, in := range []string{"us", "eu"} {
		m, err := f.app(in).Reader().Marks(t.Context(), "airports", query.MarksOptions{Options: query.Options{AtLeast: mark, Wait: patience}})
		newest, ok := m.Newest()
		if err != nil || !ok || newest.Sequence != projections.SequenceOf(mark) {
			t.Fatalf("%s at %s: %+v, %v", in, mark, m, err)
		}
		said[i] = newest
	}
	if said[0] != said[1] {
		t.Errorf("at the same mark us has %+v and eu %+v", said[0], said[1])
	}
}
