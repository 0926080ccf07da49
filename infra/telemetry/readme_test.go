package telemetry_test

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

// documented is a row of the table in README.md.
type documented struct {
	kind   string
	labels []string
}

func readme(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]documented{}
	row := regexp.MustCompile("(?m)^\\| `(tidemark_[a-z_]+)` \\| ([a-z]+) \\| ([a-z0-9]+) \\|([a-z, ]*)\\| .+ \\|.*\\|$")
	for _, found := range row.FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for l := range strings.SplitSeq(found[4], ",") {
			if l = strings.TrimSpace(l); l != "" {
				labels = append(labels, l)
			}
		}
		slices.Sort(labels)
		if _, twice := out[found[1]]; twice {
			t.Errorf("%s is there twice", found[1])
		}
		out[found[1]] = documented{found[2], labels}
	}
	if n := strings.Count(string(text), "\n| `tidemark_"); n != len(out) {
		t.Errorf("the table has %d rows, and %d could be read", n, len(out))
	}
	return out
}

// TestTheTableOfMetricsIsWhatIsExposed makes every metric have a sample and compares names, kinds and labels with the table.
func TestTheTableOfMetricsIsWhatIsExposed(t *testing.T) {
	tel, w := newTelemetry(t, nil), newWorld()
	defer w.log.Close()
	ctx := context.Background()
	if _, err := tel.Log(w.log).Append(ctx, events.One(deposited(1, 1), events.ExpectAny())); err != nil {
		t.Fatal(err)
	}
	head := events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 9})
	c := &copyAt{}
	c.now.Store(&events.Replication{Origin: "us", Leader: "us", State: events.CopyFollows, Head: head, LeaderHead: head, Lag: &events.ReplicationLag{}})
	tel.ObserveCopy(c)
	tel.ObserveFloors("us", &floorsOf{list: []events.Floor{{Region: "us", Sequence: 9, Connected: true}}})
	audit, log := audited(t)
	tel.ObserveAudit(audit)
	eventually(t, "everything is audited", func() bool { return !audit.State().Full.IsZero() })
	log.Recreate()
	eventually(t, "it is found", func() bool { return audit.State().Finding != "" })
	tel.Requests().Begin(ctx, "GET")("/v1/status", 200, "")
	tel.Requests().Waited(ctx, time.Second, "")
	tel.Queries().Asked(ctx, "get")("")
	tel.Requests().Watching(ctx)("")
	o := tel.Projector()
	o.Changed(projections.Status{Projection: "accounts", State: projections.ProjectorFollowing})
	for _, role := range []projector.Role{projector.Replaying, projector.Following} {
		o.Committed(&projector.Committed{
			Standing: projector.Standing{Projection: "accounts", Origin: "us", Generation: 1, Role: role, Sequence: 9, Head: 9, Asked: time.Now(), Mark: 1, Marked: time.Now()},
			Records:  []*events.Record{{Sequence: 9, Time: time.Now()}}, Written: 1, Removed: 1, Marks: 1, Began: time.Now(), Ended: time.Now(),
		})
	}
	o.Parked(projector.Parked{Projection: "accounts"})
	o.Skipped(projector.Skipped{Projection: "accounts", Added: 1, Released: 1})
	o.Skipped(projector.Skipped{Projection: "accounts", Ignored: "why"})
	o.Refolded("accounts", 1, time.Second)
	o.Resynced("accounts")
	o.Fenced("accounts")
	o.Replayed(projections.Replay{ID: "1", Projection: "accounts", State: projections.ReplayDone})
	o.Snapshotted("accounts", projections.Snapshot{Taken: time.Now(), Bytes: 9}, nil)
	o.Replayed(projections.Replay{ID: "2", Projection: "accounts", State: projections.ReplayBuilding, Head: 9, PerSecond: 2, Remaining: 4.5})

	seen := tel.Reconciled()
	seen.Examined(&reconcile.Report{Projection: "accounts", Ended: time.Now(), Documents: 9, Findings: []reconcile.Finding{{Kind: reconcile.KindStale}}})
	seen.Mended("accounts", reconcile.Outcome{Repaired: 1}, nil)
	seen.Mended("accounts", reconcile.Outcome{}, events.Errorf(reconcile.ErrRebuild, "too much"))
	tel.Verdicts().Compared(&reconcile.Verdict{Projection: "accounts", Result: reconcile.Different, Number: 1})

	s, table := scraped(t, tel), readme(t)
	labels := map[string]map[string]bool{}
	for _, x := range s.samples {
		name := x.name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); s.types[base] == "histogram" {
				name = base
			}
		}
		if !strings.HasPrefix(name, "tidemark_") {
			if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
				t.Errorf("%s is exposed, and has no prefix of ours", name)
			}
			continue
		}
		if x.labels["service"] != "up" || x.labels["region"] != "us" {
			t.Errorf("%s has the labels %v", name, x.labels)
		}
		if labels[name] == nil {
			labels[name] = map[string]bool{}
		}
		for l := range x.labels {
			if l != "service" && l != "region" && l != "le" {
				labels[name][l] = true
			}
		}
	}
	for name, found := range labels {
		got := documented{s.types[name], slices.Sorted(maps.Keys(found))}
		if want, ok := table[name]; !ok || got.kind != want.kind || !slices.Equal(got.labels, want.labels) {
			t.Errorf("%s is a %s with the labels %v; the table says %q %v", name, got.kind, got.labels, want.kind, want.labels)
		}
	}
	for name := range table {
		if labels[name] == nil {
			t.Errorf("%s is in the table and not exposed", name)
		}
	}
}
