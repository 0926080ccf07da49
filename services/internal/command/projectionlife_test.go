package command_test

import (
	"bytes"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/services/internal/command"
)

// countsFile is a projection that counts departures, each version by its number.
func countsFile(version string) string {
	return "# Comments stay.\nprojection: counts\nversion: " + version + "\nfields: {n: int}\non: [{event: FlightDeparted, entity: airport, do: [{add: {n: " + version + "}}]}]\n"
}

// outcome is what the commands that change a projection print as JSON.
type outcome struct {
	Projection, Result, State, Kind, Fingerprint, Position, Definition string
	Version                                                            int
	Before                                                             int  `json:"version_before"`
	DryRun                                                             bool `json:"dry_run"`
	Changes                                                            []string
	Here                                                               *struct {
		State, Projector    string
		Version, Generation int
		Documents           int
	}
}

// listed is what projection list prints as JSON.
type listed struct {
	Region, Position string
	Projections      []struct {
		Name, Kind, State, Fingerprint, Definition string
		Version                                    int
		Here                                       *struct {
			State, Projector string
			Version          int
			Lag              *struct{ Events int }
		}
	}
}

func TestTheLifeOfAProjectionOnTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	machine := func(args ...string) outcome {
		t.Helper()
		return decode[outcome](t, do(0, append(args, "-o", "json")...).out)
	}
	departed := func() string {
		t.Helper()
		return strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight).out)
	}
	n := func(at string) any {
		t.Helper()
		return decode[answer](t, do(0, "get", "counts", "ORD", "--at-least", at, "--wait", "30s", "-o", "json").out).Document["n"]
	}
	departed()
	one, two := projectionFile(t, "one.yaml", countsFile("1")), projectionFile(t, "two.yaml", strings.Replace(countsFile("2"), "n: int", "n: int, m: int", 1))

	t.Log("apply: what would change, what changed, and that it is there")
	if dry := machine("projection", "apply", one, "--dry-run"); dry.Result != "new" || !dry.DryRun || dry.Position != "" {
		t.Errorf("the dry run is %+v", dry)
	}
	if r := do(2, "projection", "show", "counts", "-o", "json"); r.problem(t).Error.Code != "unknown-projection" {
		t.Errorf("after a dry run it is %+v", r)
	}
	r := do(0, "projection", "apply", one, "--wait")
	if !regexp.MustCompile(`(?s)^counts: new, version 1\n  fingerprint [0-9a-f]{16}, definition at us\.\S+\ncounts: version 1 is live, generation 1, 1 document at us\.\S+\n$`).MatchString(r.out) {
		t.Errorf("apply printed %s", r.out)
	}
	again := machine("projection", "apply", one, "--wait")
	if again.Result != "unchanged" || again.Version != 1 || again.Here == nil || again.Here.State != "live" {
		t.Errorf("applying again answered %+v", again)
	}
	if got := n(departed()); got != 2.0 {
		t.Errorf("the document counts %v", got)
	}

	t.Log("list and show")
	l := decode[listed](t, do(0, "projection", "list", "-o", "json").out)
	if l.Region != "us" || len(l.Projections) != 3 || l.Projections[0].Kind != "go" || l.Projections[1].Name != "counts" || l.Projections[1].Definition != again.Definition ||
		l.Projections[1].Here.Version != 1 || l.Projections[1].Here.Projector != "following" {
		t.Errorf("the list is %+v", l)
	}
	eventually(t, "the list has all of them, and none lags", func() (bool, string) { // partitions that an event does not touch follow after a moment
		out := do(0, "projection", "list").out
		return regexp.MustCompile(`(?m)^PROJECTION +VERSION +KIND +STATE +LIVE +PROJECTOR +LAG +FINGERPRINT +DEFINITION$`).MatchString(out) &&
			regexp.MustCompile(`(?m)^airports +1 +go +active +1 +following +0 +[0-9a-f]{16} +compiled in$`).MatchString(out) &&
			regexp.MustCompile(`(?m)^counts +1 +file +active +1 +following +0 +[0-9a-f]{16} +us\.\S+$`).MatchString(out), out
	})
	if out := do(0, "projection", "show", "counts", "--yaml").out; out != countsFile("1") {
		t.Errorf("the file is %q", out)
	}
	if out := do(0, "projection", "show", "counts").out; !strings.HasSuffix(out, "\n\n"+countsFile("1")) || !regexp.MustCompile(`(?m)^documents +n int$`).MatchString(out) {
		t.Errorf("show printed %s", out)
	}
	if out := do(0, "projection", "show", "airports").out; !strings.Contains(out, "version 1, go, active") || !strings.Contains(out, "departures int, arrivals int") {
		t.Errorf("show printed %s", out)
	}
	do(2, "projection", "show", "airports", "--yaml")

	t.Log("a change without a version, a new version, the old version")
	for _, c := range []struct{ text, code string }{
		{strings.Replace(countsFile("1"), "add: {n: 1}", "add: {n: 7}", 1), "definition-changed"},
		{strings.Replace(countsFile("9"), "projection: counts", "projection: airports", 1), "name-taken"},
		{strings.Replace(countsFile("1"), "version: 1", "version: 0", 1), "invalid-projection"},
	} {
		if p := do(2, "projection", "apply", projectionFile(t, "bad.yaml", c.text), "-o", "json").problem(t); p.Error.Code != c.code || p.Error.Next == "" {
			t.Errorf("%s: %+v", c.code, p)
		}
	}
	if out := do(2, "projection", "apply", projectionFile(t, "bad.yaml", "projection: counts\n")).out; strings.Count(out, "bad.yaml:1:1: projection-missing-key") != 3 {
		t.Errorf("the findings are %s", out)
	}
	if out := do(0, "projection", "apply", two, "--dry-run").out; !regexp.MustCompile(`^dry run: counts: version 2, after version 1; .*\n  new field m \(int\)\n$`).MatchString(out) {
		t.Errorf("the dry run printed %s", out)
	}
	second := machine("projection", "apply", two, "--wait")
	if second.Result != "new-version" || second.Before != 1 || second.Here.Version != 2 || second.Here.Generation != 2 || len(second.Changes) != 1 {
		t.Errorf("version 2 answered %+v", second)
	}
	if got := n(departed()); got != 6.0 {
		t.Errorf("version 2 counts %v", got)
	}
	if p := do(2, "projection", "apply", one, "-o", "json").problem(t); p.Error.Code != "version-lowered" {
		t.Errorf("version 1 after 2: %+v", p)
	}

	pauseAndRemove(t, dir, two, do, machine, departed, n)
}

// pauseAndRemove is the second half of the life.
func pauseAndRemove(t *testing.T, dir, two string, do func(int, ...string) result, machine func(...string) outcome, departed func() string, n func(string) any) {
	t.Helper()
	t.Log("pause and resume")
	if paused := machine("projection", "pause", "counts"); paused.Result != "paused" || paused.State != "paused" || paused.Position == "" {
		t.Errorf("pause answered %+v", paused)
	}
	if out := do(0, "projection", "pause", "counts").out; out != "counts, version 2, is paused already; nothing to do\n" {
		t.Errorf("pausing again printed %s", out)
	}
	eventually(t, "the status says paused", func() (bool, string) {
		out := do(0, "status").out
		return regexp.MustCompile(`(?m)^counts +live +paused `).MatchString(out), out
	})
	at := departed()
	a := decode[answer](t, do(0, "get", "counts", "ORD", "-o", "json").out)
	if a.Document["n"] != 6.0 || a.Lag == nil || *a.Lag.Events == 0 {
		t.Errorf("a paused one answers %+v", a)
	}
	for _, args := range [][]string{{"replay", "counts", "--from-start"}, {"projection", "apply", two, "--wait"}} {
		if p := do(1, append(args, "-o", "json")...).problem(t); p.Error.Code != "projection-paused" {
			t.Errorf("%v of a paused one: %+v", args, p)
		}
	}
	if resumed := machine("projection", "resume", "counts"); resumed.Result != "resumed" || resumed.State != "active" {
		t.Errorf("resume answered %+v", resumed)
	}
	if got := n(at); got != 8.0 {
		t.Errorf("resumed it counts %v", got)
	}
	do(0, "projection", "resume", "counts")

	t.Log("remove, with a word about what is lost; and again, which is nothing")
	r := do(2, "projection", "remove", "counts", "-o", "json")
	if p := r.problem(t); p.Error.Code != "usage" || !strings.Contains(p.Error.Message, "drops its read model in every region, 1 document here") || !strings.Contains(p.Error.Next, "--yes") {
		t.Errorf("without --yes: %s", r.err)
	}
	if got := n(at); got != 8.0 {
		t.Errorf("after that it counts %v", got)
	}
	if removed := machine("projection", "remove", "counts", "--yes"); removed.Result != "removed" || removed.State != "removed" {
		t.Errorf("remove answered %+v", removed)
	}
	for _, args := range [][]string{{"projection", "remove", "counts", "--yes"}, {"projection", "remove", "counts"}} {
		if again := machine(args...); again.Result != "unchanged" {
			t.Errorf("%v answered %+v", args, again)
		}
	}
	for _, args := range [][]string{{"projection", "pause", "counts"}, {"projection", "resume", "counts"}, {"projection", "show", "counts"}, {"projection", "remove", "nothing", "--yes"}, {"projection", "remove", "nothing"}} {
		if p := do(2, append(args, "-o", "json")...).problem(t); p.Error.Code != "unknown-projection" {
			t.Errorf("%v: %+v", args, p)
		}
	}
	eventually(t, "it is unknown", func() (bool, string) {
		r := cli(t, "", "--dir", dir, "get", "counts", "ORD", "-o", "json")
		return r.code == 2 && strings.Contains(r.err, "unknown-projection"), r.err
	})
	eventually(t, "the status has it no more", func() (bool, string) {
		out := do(0, "status").out
		return !strings.Contains(out, "counts"), out
	})
	if back := machine("projection", "apply", two, "--wait"); back.Result != "restored" || back.Here.Generation != 3 {
		t.Errorf("applied again it answered %+v", back)
	}
	if got := n(at); got != 8.0 {
		t.Errorf("built anew it counts %v", got)
	}
	completes(t, dir, "projection pause", "airports\ncounts\nroutes\n")
}

// TestAProjectionOfAStreamThatIsNotTheLogIsApplied reads the stream of the region's own key-value bucket, which is there without any client of NATS: a subject for each key,
// values that are JSON and values that are not, and changes all the time.
func TestAProjectionOfAStreamThatIsNotTheLogIsApplied(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	const text = `projection: pointers
version: 1
stream:
  name: KV_tidemark-us
  type: subject[2]
  entity: {type: {text: projection}, id: "subject[3]"}
fields: {generation: int, version: int}
on: [{event: live, do: [{set: {generation: data.generation, version: data.version}}]}]
`
	taken := projectionFile(t, "taken.yaml", strings.Replace(text, "stream:\n", "stream:\n  origin: us\n", 1))
	if r := do(2, "projection", "apply", taken, "-o", "json"); r.problem(t).Error.Code != "invalid-projection" || !strings.Contains(r.err, "as the log of this installation is") {
		t.Errorf("with the name of the log it answered %s", r.err)
	}
	if r := do(0, "projection", "apply", projectionFile(t, "pointers.yaml", text), "--wait"); !strings.Contains(r.out, "pointers: version 1 is live, generation 1,") {
		t.Errorf("apply printed %s", r.out)
	}
	eventually(t, "the pointer of the flights' airports is there", func() (bool, string) {
		r := cli(t, "", "--dir", dir, "get", "pointers", "airports", "-o", "json")
		return r.code == 0 && strings.Contains(r.out, `"generation":1`) && strings.Contains(r.out, `"position":"kv-tidemark-us.`), r.out + r.err
	})
	if r := do(0, "status"); !regexp.MustCompile(`(?m)^pointers: the stream KV_tidemark-us is at kv-tidemark-us\.[0-9a-f]{8}@1:\d+ and retains what is from 1 on$`).MatchString(r.out) {
		t.Errorf("the status is %s", r.out)
	}
	other := projectionFile(t, "log.yaml", "projection: pointers\nversion: 2\nfields: {generation: int, version: int}\non: [{event: FlightDeparted, do: [{set: {version: 2}}]}]\n")
	if r := do(0, "projection", "apply", other, "--wait"); !strings.Contains(r.out, "events are of the log, and were of the stream KV_tidemark-us") || !strings.Contains(r.out, "version 2 is live") {
		t.Errorf("of the log it answered %s", r.out)
	}
	if r := do(0, "status"); strings.Contains(r.out, "the stream KV_tidemark-us") {
		t.Errorf("the status is %s", r.out)
	}
}

func TestLifeCommandsHaveHelpWithExamples(t *testing.T) {
	for _, name := range []string{"apply", "list", "show", "pause", "resume", "remove"} {
		if out := want(t, cli(t, "", "projection", name, "--help"), 0).out; !strings.Contains(out, "Examples:\n  tidemark projection "+name) {
			t.Errorf("the help of %s has no example:\n%s", name, out)
		}
	}
}

func TestLifeCommandsRefuseWhatTheyCannotUse(t *testing.T) {
	none, file := filepath.Join(t.TempDir(), "none.yaml"), projectionFile(t, "one.yaml", countsFile("1"))
	large := projectionFile(t, "large.yaml", countsFile("1")+"#"+strings.Repeat("x", 256<<10))
	for _, c := range []struct {
		args []string
		exit int
		code string
	}{
		{[]string{"apply"}, 2, "usage"}, {[]string{"apply", none}, 2, "usage"}, {[]string{"apply", t.TempDir()}, 2, "usage"}, {[]string{"apply", file, "--dry-run", "--wait"}, 2, "usage"},
		{[]string{"apply", large}, 2, "invalid-projection"}, {[]string{"apply", file}, 3, "not-running"}, {[]string{"pause"}, 2, "usage"}, {[]string{"resume", "a", "b"}, 2, "usage"},
		{[]string{"remove", "counts"}, 3, "not-running"}, {[]string{"list"}, 3, "not-running"}, {[]string{"show", "x"}, 3, "not-running"}, {[]string{"list", "x"}, 2, "usage"},
	} {
		r := want(t, cli(t, "", append([]string{"--dir", t.TempDir(), "-o", "json", "projection"}, c.args...)...), c.exit)
		if p := r.problem(t); p.Error.Code != c.code {
			t.Errorf("%v: %s", c.args, r.err)
		}
	}
}

// The text of a file that somebody applied cannot make a terminal do something, and comes back byte for byte where none reads it.
func TestAnAppliedFileDoesNothingToATerminal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	text := "# turned \u202e around\n" + countsFile("1")
	if r := cli(t, text, "--dir", dir, "projection", "apply", "-"); r.code != 0 {
		t.Fatalf("apply answered %+v", r)
	}
	r := want(t, cli(t, "", "--dir", dir, "projection", "show", "counts"), 0)
	if strings.Contains(r.out, "\u202e") {
		t.Errorf("show printed %q", r.out)
	}
	var out bytes.Buffer
	if code := command.Run(t.Context(), []string{"--dir", dir, "projection", "show", "counts", "--yaml"}, strings.NewReader(""), &out, io.Discard); code != 0 || out.String() != text {
		t.Errorf("the file is %q", out.String())
	}
}
