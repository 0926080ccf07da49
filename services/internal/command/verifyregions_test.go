package command_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
)

// comparison is what verify -o json writes.
type comparison struct {
	Mark, Position, Result string
	Healthy                bool
	Regions                []string
	Verdicts               []struct {
		Projection, Result string
		Sequence           uint64
		Partitions         []struct{ Partition int }
		Regions            []struct {
			Region  string
			Here    *struct{ Documents uint64 }
			Unknown *struct{ Code string }
		}
	}
}

// misremember lets a region have recorded another number of documents of one partition at its newest mark.
func misremember(t *testing.T, dir, name, projection string, partition int) {
	t.Helper()
	a, err := region.LoadAddress(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r, err := region.Connect(ctx, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	pointer, _, err := projections.ReadPointer(ctx, r.KV(), projection)
	if err != nil {
		t.Fatal(err)
	}
	gen, def := pointer.Live(projection), projections.Definition{Name: projection, Fields: pointer.Fields, Indexes: pointer.Indexes}
	headers, recorded, err := r.Store().Marks(ctx, gen)
	if err != nil || len(recorded[partition]) == 0 {
		t.Fatalf("the partition has recorded %v, %v", recorded, err)
	}
	newest := recorded[partition][len(recorded[partition])-1]
	other := newest
	other.Documents++
	for _, err := range r.Store().Apply(ctx, gen, &def, []projections.Commit{{
		Partition: partition, Expect: headers[partition].Checkpoint, Next: headers[partition], Marks: []projections.PartitionMark{other}, Unmark: []projections.PartitionMark{newest},
	}}) {
		if err != nil && !errors.Is(err, projections.ErrMoved) { // then it is tried again
			t.Fatal(err)
		}
	}
}

// TestAPersonComparesThreeRegions: exit code 0 is said only when every region was compared and is equal.
func TestAPersonComparesThreeRegions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	startAll(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, flight, args...)
	}
	position := strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight).out)

	t.Log("a mark is written, every region passes it, and all are equal")
	now := decode[comparison](t, do(0, "verify", "--mark", "now", "-o", "json").out)
	if now.Result != "equal" || !now.Healthy || fmt.Sprint(now.Regions) != "[ap eu us]" || sequence(t, now.Position) <= sequence(t, position) || len(now.Verdicts) != 2 {
		t.Errorf("verify answered %+v", now)
	}
	for _, v := range now.Verdicts {
		if v.Result != "equal" || v.Sequence < sequence(t, now.Position) || len(v.Regions) != 3 || v.Projection == "airports" && (v.Regions[0].Here == nil || v.Regions[0].Here.Documents != 1) {
			t.Errorf("the verdict is %+v", v)
		}
	}
	if out := do(0, "verify", "airports", "--region", "ap").out; strings.Count(out, "equal") != 3 {
		t.Errorf("verify printed %s", out)
	}

	t.Log("one that recorded something else is different, and its partition is named")
	const partition = 7
	different := func(args ...string) (r result) { // a mark may be written before it is asked for, and at that one all are equal
		eventually(t, "eu is different", func() (bool, string) {
			misremember(t, dir, "eu", "airports", partition)
			r = cli(t, "", append([]string{"--dir", dir, "verify"}, args...)...)
			return r.code == 1, fmt.Sprint(r)
		})
		return r
	}
	v := decode[comparison](t, different("-o", "json").out)
	if v.Result != "different" || v.Verdicts[0].Result != "different" || v.Verdicts[1].Result != "equal" || len(v.Verdicts[0].Partitions) != 1 || v.Verdicts[0].Partitions[0].Partition != partition {
		t.Errorf("verify answered %+v", v)
	}
	if r := different("airports"); !strings.Contains(r.out, "airports: partition 7: ap, us had") || !strings.Contains(r.err, "regions-differ") {
		t.Errorf("verify said %+v", r)
	}
	do(0, "verify", "routes")

	t.Log("one that does not answer is unknown")
	gone := region.Address{Region: "sa", Leader: "us", Origin: "us", NATS: "nats://127.0.0.1:1", Redis: "redis://127.0.0.1:1"}
	if err := os.Mkdir(filepath.Join(dir, "sa"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := gone.Save(filepath.Join(dir, "sa")); err != nil {
		t.Fatal(err)
	}
	v = decode[comparison](t, do(3, "verify", "routes", "-o", "json").out)
	if v.Result != "unknown" || len(v.Regions) != 4 || v.Verdicts[0].Regions[2].Region != "sa" || v.Verdicts[0].Regions[2].Unknown == nil || v.Verdicts[0].Regions[2].Unknown.Code != "unreachable" {
		t.Errorf("verify answered %+v", v)
	}
	if err := os.RemoveAll(filepath.Join(dir, "sa")); err != nil {
		t.Fatal(err)
	}

	t.Log("one that does not run now, and follows the leader, is looked for")
	hidden := filepath.Join(dir, "ap", "region.json")
	if err := os.Rename(hidden, hidden+".hidden"); err != nil {
		t.Fatal(err)
	}
	if v := decode[comparison](t, do(0, "verify", "routes", "-o", "json").out); len(v.Regions) != 3 { // over the links
		t.Errorf("verify answered %+v", v)
	}
	if err := os.Rename(hidden+".hidden", hidden); err != nil {
		t.Fatal(err)
	}

	t.Log("what cannot be meant is refused")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"verify", "ships"}, 2, "unknown-projection"},
		{[]string{"verify", "a b"}, 2, "unknown-projection"},
		{[]string{"verify", "--mark", "old"}, 2, "usage"},
		{[]string{"verify", "a", "b"}, 2, "usage"},
		{[]string{"verify", "--region", "xx"}, 3, "not-running"},
		{[]string{"verify", "--nats", "nats://127.0.0.1:1", "--redis", "redis://127.0.0.1:1", "--region", "us"}, 2, "usage"},
		{[]string{"verify", "--dir", t.TempDir()}, 3, "not-running"},
		{[]string{"verify", "--config", filepath.Join(dir, "nothing.yaml")}, 2, "config-missing"},
	} {
		if p := do(c.code, append(c.args, "-o", "json")...).problem(t); p.Error.Code != c.says {
			t.Errorf("%v answered %+v", c.args, p)
		}
	}
	completes(t, dir, "verify", "airports\nroutes\n")
}

func TestARegionAloneIsComparedWithNobody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	r := want(t, cli(t, "", "--dir", dir, "verify", "--mark", "now"), 3)
	if !strings.Contains(r.out, "there is no other region to compare with") || !strings.Contains(r.err, "not-verified") {
		t.Errorf("verify said %+v", r)
	}
}
