package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The process is killed right after a projection was applied, and right after a new version was: whatever was built of it by then, the next process goes on, and in
// the end every document is that of the same projection in Go.
func TestAKilledRegionGoesOnBuildingWhatWasApplied(t *testing.T) {
	program, dir := build(t), filepath.Join(t.TempDir(), "region")
	up, _ := spawn(t, program, dir)
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	last := strings.TrimSpace(want(t, cli(t, "", "--dir", dir, "publish", "airport/ORD", "FlightDeparted", "--data", flight), 0).out)
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "projections", "flights", "airports.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1", "2"} {
		renamed := strings.NewReplacer("projection: airports", "projection: airports-y", "version: 1", "version: "+version).Replace(string(text))
		file := projectionFile(t, "airports.yaml", renamed)
		want(t, cli(t, "", "--dir", dir, "projection", "apply", file), 0)
		if err := up.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = up.Wait()
		up, _ = spawn(t, program, dir)
		want(t, cli(t, "", "--dir", dir, "projection", "apply", file, "--wait"), 0)
		for _, region := range []string{"us", "ap"} {
			read := []string{"--dir", dir, "--region", region, "-o", "json", "--at-least", last, "--wait", "1m", "list", "--limit", "1000"}
			eventually(t, "it is live in "+region, func() (bool, string) {
				r := cli(t, "", append(read, "airports-y")...)
				return r.code == 0, r.err
			})
			compiledIn, applied := want(t, cli(t, "", append(read, "airports")...), 0).out, want(t, cli(t, "", append(read, "airports-y")...), 0).out
			if a, b := items(compiledIn), items(applied); a != b || len(a) < 1_000 {
				t.Errorf("version %s in %s: the documents are\n%s\nand those in Go are\n%s", version, region, b, a)
			}
		}
	}
}

// items returns the documents of a page.
func items(page string) string {
	_, rest, _ := strings.Cut(page, `"items":`)
	list, _, _ := strings.Cut(rest, `],"`)
	return list
}
