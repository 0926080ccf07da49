package query_test

import (
	"context"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// TestAWatcherIsToldOfWhatWasRepaired: it has been told of everything up to the checkpoint at which a document is put right, which does not move with that.
func TestAWatcherIsToldOfWhatWasRepaired(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(20)
		pointer, _, err := projections.ReadPointer(context.Background(), s.kv, "things")
		if err != nil {
			t.Fatal(err)
		}
		g := pointer.Live("things")
		damaged := projections.Ref{Partition: projections.PartitionOf("k003", g.Partitions), Key: "k003"}
		if !s.store.EditDocument(g, damaged, func(fields map[string]string) { fields["name"] = "edited by hand" }) {
			t.Fatal("there is nothing to edit")
		}
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		if f.held["k003"].Name != "edited by hand" {
			t.Fatalf("the list has %+v", f.held["k003"])
		}
		f.watch(query.WatchOptions{Heartbeat: time.Second})
		if u, err := f.take(); err != nil || len(u.Changes) != 0 {
			t.Fatalf("%+v, %v", u, err)
		}
		job := projections.Repair{Projection: "things", Generation: g.Number, Documents: []projections.RepairDocument{{Partition: damaged.Partition, Key: "k003"}}}
		if _, err := projections.RequestRepair(context.Background(), s.kv, job, time.Now()); err != nil {
			t.Fatal(err)
		}
		s.until(func() bool {
			job, _, err = projections.ReadJSON[projections.Repair](context.Background(), s.kv, projections.RepairKey("things"))
			return err == nil && !job.Running()
		})
		if job.State != projections.RepairDone || job.Repaired != 1 {
			t.Fatalf("the repair is %+v", job)
		}
		s.emit("Unheard", "k010", []byte("{}")) // whatever comes next, as a mark does
		for range 100 { // heartbeats
			if _, err := f.take(); err != nil {
				t.Fatal(err)
			}
			if f.told > 0 {
				break
			}
		}
		f.same("told of the repair")
	})
}
