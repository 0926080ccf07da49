package command_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// replayOf is what replay prints as JSON.
type replayOf struct {
	ID, Projection, State, Kind, To, As, Position, Digest, Code string
	Generation, Documents, From, Head                           int
	Plan                                                        *struct{ Strategy, Why, Snapshot string }
	Proof                                                       *struct{ Result, With string }
}

// plannedOf is what replay --dry-run prints as JSON.
type plannedOf struct {
	DryRun  bool `json:"dry_run"`
	Replays []struct {
		Region, Projection string
		Request            struct {
			From int
			To   string
		}
		Plan struct {
			Strategy, Why, Snapshot         string
			First, Last, Records, Documents int
			Bytes, Memory                   int
		}
		MemoryUsed int `json:"memory_used_bytes"`
	}
}

// listOf is what replay list prints as JSON.
type listOf struct {
	Region       string
	Replays      []replayOf
	Kept, Copies []struct {
		Projection, Name, Position, Digest, Until string
		Documents, Generation                     int
	}
}

func TestReplaysOnTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir, "--snapshot-interval", "0")
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	var at string
	for _, date := range []string{"09", "10", "11"} {
		at = strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", strings.Replace(flight, "00:47", date+":47", 1)).out)
	}
	do(0, "get", "airports", "ORD", "--at-least", at, "--wait", "30s")
	replays := func() int {
		t.Helper()
		return len(decode[listOf](t, do(0, "replay", "list", "-o", "json").out).Replays)
	}

	t.Log("what cannot be done is refused, and nothing is started")
	head := sequence(t, at)
	foreign := regexp.MustCompile(`^us`).ReplaceAllString(at, "eu")
	lost := regexp.MustCompile(`\.[0-9a-f]+@`).ReplaceAllString(at, ".ffffffff@")
	for _, c := range []struct {
		args []string
		exit int
		code string
	}{
		{[]string{"airports"}, 2, "usage"},
		{[]string{"airports", "--from-start=false"}, 2, "usage"},
		{[]string{"airports", "--as", "x"}, 2, "usage"},
		{[]string{"airports", "--from-start", "--from-seq", "7"}, 2, "usage"},
		{[]string{"airports", "--from-start", "--cancel", "x"}, 2, "usage"},
		{[]string{"airports", "--resume", "x", "--rate", "7"}, 2, "usage"},
		{[]string{"airports", "--resume", ""}, 2, "usage"},
		{[]string{"airports", "--from-start", "--rate", "0"}, 2, "usage"},
		{[]string{"airports", "--from-start", "--rate", "-5"}, 2, "usage"},
		{[]string{"airports", "--from-start", "--as", "x"}, 2, "usage"},
		{[]string{"airports", "--from-start", "--all-regions", "--region", "us"}, 2, "usage"},
		{[]string{"airports", "--from-seq", "-5"}, 2, "usage"},
		{[]string{"airports", "--from-seq", "ten"}, 2, "usage"},
		{[]string{"airports", "--from-time", "yesterday"}, 2, "usage"},
		{[]string{"airports", "--to", at}, 2, "usage"},
		{[]string{"airports", "--to", at, "--as", "x", "--expires", "-1h"}, 2, "usage"},
		{[]string{"airports", "--to", at, "--as", "x", "--expires", "soon"}, 2, "usage"},
		{[]string{"airports", "--to", at, "--as", "x", "--require-equal"}, 2, "usage"},
		{[]string{"airports", "--from-seq", "0"}, 2, "invalid-offset"},
		{[]string{"airports", "--from-seq", "999999999"}, 2, "invalid-offset"},
		{[]string{"airports", "--from-time", "2999-01-01T00:00:00Z"}, 2, "invalid-offset"},
		{[]string{"airports", "--to", "0", "--as", "x"}, 2, "invalid-offset"},
		{[]string{"airports", "--to", "999999999", "--as", "x"}, 2, "invalid-offset"},
		{[]string{"airports", "--to", "1999-01-01T00:00:00Z", "--as", "x"}, 2, "invalid-offset"},
		{[]string{"airports", "--to", "", "--as", "x"}, 2, "invalid-position"},
		{[]string{"airports", "--to", "us@1", "--as", "x"}, 2, "invalid-position"},
		{[]string{"airports", "--to", lost, "--as", "x"}, 2, "lost-position"},
		{[]string{"airports", "--to", foreign, "--as", "x"}, 2, "lost-position"},
		{[]string{"airports", "--to", at, "--as", "No Name"}, 2, "invalid-query"},
		{[]string{"nothing", "--from-start"}, 2, "unknown-projection"},
		{[]string{"nothing", "--cancel", "x"}, 2, "unknown-projection"},
		{[]string{"No Name", "--from-start"}, 2, "unknown-projection"},
		{[]string{"airports", "--resume", "x"}, 2, "unknown-replay"},
		{[]string{"airports", "--cancel", "x"}, 2, "unknown-replay"},
		{[]string{"show", "x"}, 2, "unknown-replay"},
		{[]string{"show", "airports", "x"}, 2, "unknown-replay"},
		{[]string{"show", "nothing", "x"}, 2, "unknown-projection"},
		{[]string{"list", "nothing"}, 2, "unknown-projection"},
		{[]string{"rollback", "nothing", "--yes"}, 2, "unknown-projection"},
		{[]string{"rollback", "airports", "--yes"}, 1, "nothing-kept"},
		{[]string{"drop", "airports"}, 2, "usage"},
		{[]string{"drop", "airports", "--copy", "x", "--previous"}, 2, "usage"},
		{[]string{"drop", "airports", "--copy", "x"}, 2, "unknown-copy"},
		{[]string{"drop", "airports", "--previous"}, 1, "nothing-kept"},
	} {
		if p := do(c.exit, append([]string{"replay", "-o", "json"}, c.args...)...).problem(t); p.Error.Code != c.code {
			t.Errorf("replay %q is refused with %+v, want %s", c.args, p.Error, c.code)
		} else if c.exit == 2 && p.Error.Next == "" {
			t.Errorf("replay %q is refused without saying what to do: %+v", c.args, p.Error)
		}
	}
	if n := replays(); n != 0 {
		t.Errorf("%d replays were started", n)
	}

	t.Log("a dry run says what would be done")
	dry := decode[plannedOf](t, do(0, "replay", "airports", "--from-start", "--dry-run", "-o", "json").out)
	if x := dry.Replays[0]; !dry.DryRun || x.Region != "us" || x.Plan.Strategy != "whole" || x.Plan.First != 1 || x.Plan.Records < int(head) || x.Plan.Documents == 0 || x.Plan.Bytes == 0 || x.Plan.Memory == 0 {
		t.Errorf("the plan is %+v", dry)
	}
	for _, row := range []string{`airports  +built anew from the first record`, `strategy +whole: nothing is trusted`, `records +[0-9,]+, 1 to [0-9,]+, some [0-9.]+ [KM]iB`, `documents +some [0-9]+`, `time +some `, `memory +some `} {
		if out := do(0, "replay", "airports", "--from-start", "--dry-run").out; !regexp.MustCompile(`(?m)^`+row).MatchString(out) || !strings.HasSuffix(out, "\nnothing was changed\n") {
			t.Errorf("the dry run printed %s, want %s", out, row)
		}
	}
	if n := replays(); n != 0 {
		t.Errorf("%d replays were started", n)
	}

	t.Log("from an offset: documents are folded again in place, and nothing else is touched")
	offset := decode[replayOf](t, do(0, "replay", "airports", "--from-seq", fmt.Sprint(head), "-o", "json").out)
	if offset.State != "done" || offset.Plan.Strategy != "refold" || offset.From != int(head) || offset.Generation != 1 {
		t.Errorf("the replay is %+v", offset)
	}
	if out := do(0, "replay", "airports", "--from-time", "2020-01-01T00:00:00Z", "--dry-run").out; !strings.Contains(out, "whole: nothing is trusted") {
		t.Errorf("from long ago it would be %s", out)
	}

	t.Log("a copy, and its end")
	copied := decode[replayOf](t, do(0, "replay", "airports", "--to", fmt.Sprint(head-1), "--as", "before", "-o", "json").out)
	if copied.State != "done" || copied.Kind != "copy" || !strings.HasSuffix(copied.Position, ":"+fmt.Sprint(head-1)) || copied.Digest == "" {
		t.Errorf("the copy is %+v", copied)
	}
	if p := do(2, "replay", "airports", "--to", at, "--as", "before", "-o", "json").problem(t); p.Error.Code != "copy-exists" {
		t.Errorf("a second one is refused with %+v", p)
	}
	if out := do(0, "replay", "airports", "--to", at, "--as", "forever", "--expires", "never").out; !strings.Contains(out, "the copy forever is there, kept until it is dropped; read it with --at forever") {
		t.Errorf("the copy printed %s", out)
	}
	l := decode[listOf](t, do(0, "replay", "list", "airports", "-o", "json").out)
	if len(l.Copies) != 2 || l.Copies[0].Name != "before" || l.Copies[0].Until == "" || l.Copies[1].Until != "" || l.Copies[0].Position != copied.Position || len(l.Replays) != 3 {
		t.Errorf("the list is %+v", l)
	}
	out := do(0, "replay", "list").out
	for _, row := range []string{`ID +PROJECTION +KIND +STRATEGY +STATE +FROM +RECORDS +TOOK +PROOF +REQUESTED`, `\S+ +airports +copy before +whole +done +start `, `\S+ +airports +replay +refold +done +[0-9,]+ `,
		`airports +copy before +[0-9]+ +1 +[0-9]+ +20\S+ \S+Z +us\.\S+`, `airports +copy forever +[0-9]+ +1 +[0-9]+ +it is dropped `} {
		if !regexp.MustCompile(`(?m)^` + row).MatchString(out) {
			t.Errorf("the list is\n%s, want %s", out, row)
		}
	}
	if out := do(0, "replay", "drop", "airports", "--copy", "before").out; !strings.Contains(out, "the copy before is dropped") {
		t.Errorf("drop printed %s", out)
	}
	for _, c := range []struct{ args, line string }{{"replay drop airports --copy", "forever\tus."}, {"replay airports --resume", copied.ID + "\tcopy before airports, done"}, {"replay show", "airports"}} {
		completes(t, dir, c.args, c.line)
	}

	t.Log("one from a file; paused, and removed")
	do(0, "projection", "apply", projectionFile(t, "counts.yaml", countsFile("1")), "--wait")
	if r := decode[replayOf](t, do(0, "replay", "counts", "--from-start", "-o", "json").out); r.State != "done" || r.Documents == 0 {
		t.Errorf("the replay is %+v", r)
	}
	do(0, "projection", "pause", "counts")
	if p := do(1, "replay", "counts", "--from-start", "-o", "json").problem(t); p.Error.Code != "projection-paused" || p.Error.Next == "" {
		t.Errorf("paused it is refused with %+v", p)
	}
	do(0, "projection", "remove", "counts", "--yes")
	if p := do(2, "replay", "counts", "--from-start", "-o", "json").problem(t); p.Error.Code != "unknown-projection" {
		t.Errorf("removed it is refused with %+v", p)
	}

	t.Log("show, and resume what is done")
	for _, args := range [][]string{{"show", copied.ID}, {"show", "airports", copied.ID}} {
		out := do(0, append([]string{"replay"}, args...)...).out
		if !strings.Contains(out, "a copy, before, as it was at "+copied.Position) || !strings.Contains(out, "whole: ") || !strings.Contains(out, "the copy before is there") {
			t.Errorf("show printed %s", out)
		}
	}
	if again := decode[replayOf](t, do(0, "replay", "airports", "--resume", copied.ID, "-o", "json").out); again.ID != copied.ID || again.State != "done" {
		t.Errorf("resumed it is %+v", again)
	}
	if p := do(1, "replay", "airports", "--cancel", copied.ID).err; !strings.Contains(p, "replay-ended") || !strings.Contains(p, "had ended before (done); nothing was given up") {
		t.Errorf("giving up what is done says %s", p)
	}
}
