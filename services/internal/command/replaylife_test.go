package command_test

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/services/internal/command"
)

// watching is a command that runs until it ends or is interrupted.
type watching struct {
	interrupt context.CancelFunc
	out, err  *watched
	done      chan int
}

func watch(t *testing.T, args ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{interrupt: cancel, out: &watched{}, err: &watched{}, done: make(chan int, 1)}
	go func() { w.done <- command.Run(ctx, args, strings.NewReader(""), w.out, w.err) }()
	return w
}

func (w *watching) end() result { return result{<-w.done, w.out.text(), w.err.text()} }

func TestAReplayIsWatchedGivenUpAndResumed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	running := func() (id string) {
		t.Helper()
		eventually(t, "a replay is building", func() (bool, string) {
			l := decode[listOf](t, do(0, "replay", "list", "airports", "-o", "json").out)
			for _, r := range l.Replays {
				if r.State == "building" && r.Head > 0 {
					id = r.ID
				}
			}
			return id != "", l.Region
		})
		return id
	}

	t.Log("Ctrl-C ends the watching, and says how to go on")
	first := watch(t, "--dir", dir, "replay", "airports", "--from-start", "--rate", "20")
	id := running()
	first.interrupt()
	if r := want(t, first.end(), 3); !strings.Contains(r.err, "interrupted: the replay "+id+" of airports goes on") || !strings.Contains(r.err, "replay airports --resume "+id) || !strings.Contains(r.err, "--cancel "+id) {
		t.Errorf("interrupted it says %s", r.err)
	}
	if p := do(1, "replay", "airports", "--from-start", "-o", "json").problem(t); p.Error.Code != "replay-running" || !strings.Contains(p.Error.Next, id) {
		t.Errorf("another is refused with %+v", p)
	}
	if out := do(0, "status").out; !regexp.MustCompile(`(?m)^airports: replay ` + id + ` of generation 2 is building, [0-9,]+ of [0-9,]+ records \([0-9]+ %\)`).MatchString(out) {
		t.Errorf("the status is %s", out)
	}
	if out := do(0, "replay", "list").out; !regexp.MustCompile(`(?m)^` + id + ` +airports +replay +whole +building [0-9]+ % +start +[0-9,]+ +not ended +none `).MatchString(out) {
		t.Errorf("the list is %s", out)
	}

	t.Log("watched again, and given up by somebody else")
	again := watch(t, "--dir", dir, "replay", "airports", "--resume", id)
	eventually(t, "it is watched", func() (bool, string) {
		return strings.Contains(again.err.text(), "replay airports: building"), again.err.text()
	})
	if out := do(0, "replay", "airports", "--cancel", id).out; !strings.Contains(out, "the replay was given up; what was live goes on") {
		t.Errorf("giving it up printed %s", out)
	}
	if r := want(t, again.end(), 1); !strings.Contains(r.err, "replay-cancelled") {
		t.Errorf("who watched it was told %s", r.err)
	}
	if r := decode[replayOf](t, do(0, "replay", "airports", "--cancel", id, "-o", "json").out); r.State != "cancelled" {
		t.Errorf("giving it up again answered %+v", r)
	}
	if out := do(0, "status").out; !strings.Contains(out, "airports: the last replay was given up 20") {
		t.Errorf("the status is %s", out)
	}

	t.Log("asked for again")
	resumed := watch(t, "--dir", dir, "replay", "airports", "--resume", id)
	next := running()
	if next == id {
		t.Fatal("it has the same id")
	}
	do(0, "replay", "airports", "--cancel", next)
	if r := want(t, resumed.end(), 1); !strings.Contains(r.err, "the replay "+id+" had been given up; the same was asked for again, as "+next) {
		t.Errorf("asked for again it says %s", r.err)
	}
	if out := do(0, "replay", "show", next).out; !strings.Contains(out, "tidemark replay --resume "+id) || !strings.Contains(out, "at most 20 records in each second") {
		t.Errorf("show printed %s", out)
	}
}

func TestReplaysAndSnapshotsOfTwoRegions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	startAll(t, dir, "--regions", "us,eu", "--snapshot-interval", "0")
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	publish := func() string {
		t.Helper()
		return strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--confirm", "2", "--confirm-wait", "60s").out)
	}
	at := publish()
	do(0, "get", "airports", "ORD", "--at-least", at, "--wait", "30s", "--region", "eu")

	t.Log("in all regions: what would be done, a copy in each, and each anew")
	if dry := decode[plannedOf](t, do(0, "replay", "airports", "--from-start", "--all-regions", "--dry-run", "-o", "json").out); len(dry.Replays) != 2 || dry.Replays[0].Region != "eu" || dry.Replays[1].Plan.Strategy != "whole" {
		t.Errorf("the plans are %+v", dry)
	}
	if p := do(2, "replay", "airports", "--from-seq", "999999999", "--all-regions", "-o", "json").problem(t); p.Error.Code != "invalid-offset" {
		t.Errorf("beyond the head it is refused with %+v", p)
	}
	if p := do(2, "replay", "nothing", "--from-start", "--all-regions", "-o", "json").problem(t); p.Error.Code != "unknown-projection" {
		t.Errorf("of nothing it is refused with %+v", p)
	}
	all := decode[struct {
		Regions []struct {
			Region string
			Replay replayOf
		}
	}](t, do(0, "replay", "airports", "--to", at, "--as", "noon", "--all-regions", "-o", "json").out)
	if len(all.Regions) != 2 || all.Regions[0].Replay.Digest == "" || all.Regions[0].Replay.Digest != all.Regions[1].Replay.Digest || all.Regions[1].Replay.State != "done" {
		t.Errorf("the copies are %+v", all)
	}
	if out := do(0, "replay", "airports", "--from-start", "--all-regions").out; !regexp.MustCompile(`(?m)^eu +done +whole +2 `).MatchString(out) && !regexp.MustCompile(`(?m)^eu +done +whole +3 `).MatchString(out) {
		t.Errorf("the table is %s", out)
	}

	t.Log("the generation before takes over again")
	kept := func(region string) listOf {
		t.Helper()
		return decode[listOf](t, do(0, "replay", "list", "airports", "--region", region, "-o", "json").out)
	}
	before := kept("us")
	if len(before.Kept) != 1 || before.Kept[0].Generation != 1 || before.Kept[0].Documents == 0 || before.Kept[0].Until == "" {
		t.Fatalf("what is kept is %+v", before.Kept)
	}
	if p := do(2, "replay", "rollback", "airports", "-o", "json").problem(t); p.Error.Code != "usage" || !strings.Contains(p.Error.Message, "generation 1 of airports in us, of version 1, would be live instead of generation 3, of version 1") {
		t.Errorf("without --yes it says %+v", p.Error)
	}
	if out := do(0, "replay", "rollback", "airports", "--yes").out; !strings.Contains(out, "generation 1 is live again") {
		t.Errorf("the rollback printed %s", out)
	}
	if now := kept("us"); len(now.Kept) != 1 || now.Kept[0].Generation != 3 {
		t.Errorf("then kept is %+v", now.Kept)
	}
	if out := do(0, "replay", "drop", "airports", "--previous").out; !strings.Contains(out, "the generation before is dropped") || len(kept("us").Kept) != 0 {
		t.Errorf("drop printed %s", out)
	}

	t.Log("snapshots")
	for _, c := range []struct {
		args []string
		exit int
		code string
	}{
		{[]string{"take", "nothing"}, 2, "unknown-projection"},
		{[]string{"list", "nothing"}, 2, "unknown-projection"},
		{[]string{"delete", "airports", "x", "--yes"}, 2, "unknown-snapshot"},
		{[]string{"copy", "airports"}, 2, "usage"},
		{[]string{"copy", "airports", "", "--from", "us"}, 2, "usage"},
		{[]string{"copy", "airports", "--from", "us"}, 2, "usage"},
		{[]string{"copy", "routes", "--from", "us", "--region", "eu"}, 2, "unknown-snapshot"},
		{[]string{"copy", "airports", "x", "--from", "us", "--region", "eu"}, 2, "unknown-snapshot"},
		{[]string{"copy", "airports", "--from", "mars", "--region", "eu"}, 3, "not-running"},
	} {
		if p := do(c.exit, append([]string{"snapshot", "-o", "json"}, c.args...)...).problem(t); p.Error.Code != c.code {
			t.Errorf("snapshot %q is refused with %+v, want %s", c.args, p.Error, c.code)
		}
	}
	type snapshot struct {
		ID, Projection, Digest, Region, From, To string
		Sequence, Documents, Bytes               uint64
		Already, Checked                         bool
		OfLive                                   bool `json:"of_live_version"`
	}
	took := decode[snapshot](t, do(0, "snapshot", "take", "airports", "-o", "json").out)
	if took.ID == "" || took.Sequence <= sequence(t, at) || took.Documents == 0 || took.Bytes == 0 || took.Region != "us" {
		t.Errorf("the snapshot is %+v", took)
	}
	if l := decode[struct{ Snapshots []snapshot }](t, do(0, "snapshot", "list", "airports", "-o", "json").out); len(l.Snapshots) == 0 || l.Snapshots[0].ID != took.ID || !l.Snapshots[0].OfLive {
		t.Errorf("the list is %+v", l)
	}
	if out := do(0, "snapshot", "list").out; !regexp.MustCompile(`(?m)^ID +PROJECTION +VERSION +MARK +SEQUENCE +DOCUMENTS +SIZE +TAKEN IN +TAKEN\n(.*\n)*` + took.ID + ` +airports +1 +[0-9]+ +[0-9,]+ +[0-9,]+ +[0-9.]+ [KM]?i?B +us +20`).MatchString(out) {
		t.Errorf("the list is %s", out)
	}
	if x := decode[snapshot](t, do(0, "snapshot", "copy", "airports", took.ID, "--from", "us", "--region", "eu", "-o", "json").out); x.ID != took.ID || !x.Checked || x.Already || x.From != "us" || x.To != "eu" {
		t.Errorf("the copy is %+v", x)
	}
	if out := do(0, "snapshot", "copy", "airports", took.ID, "--from", "us", "--region", "eu").out; !strings.Contains(out, "is in eu already; nothing to do") {
		t.Errorf("copying again printed %s", out)
	}
	for _, c := range []struct{ args, line string }{{"snapshot delete airports", took.ID + "\tof sequence "}, {"snapshot take", "airports\n"}, {"snapshot copy airports --from", "us\n"}} {
		completes(t, dir, c.args, c.line)
	}

	t.Log("a replay in the other region begins with it")
	at = publish()
	from := []string{"replay", "airports", "--from-seq", strings.TrimPrefix(at[strings.LastIndexByte(at, ':'):], ":"), "--region", "eu", "--require-equal", "-o", "json"} // not in place
	if dry := decode[plannedOf](t, do(0, append(from, "--dry-run")...).out); dry.Replays[0].Plan.Strategy != "snapshot" || dry.Replays[0].Plan.Snapshot != took.ID {
		t.Errorf("the plan is %+v", dry)
	}
	if r := decode[replayOf](t, do(0, from...).out); r.State != "done" || r.Plan.Strategy != "snapshot" || r.Proof == nil || r.Proof.Result != "equal" {
		t.Errorf("the replay is %+v", r)
	}
	if p := do(2, "snapshot", "delete", "airports", took.ID, "-o", "json").problem(t); p.Error.Code != "usage" {
		t.Errorf("without --yes it is %+v", p)
	}
	if out := do(0, "snapshot", "delete", "airports", took.ID, "--yes").out; !strings.Contains(out, "is deleted") {
		t.Errorf("delete printed %s", out)
	}
}
