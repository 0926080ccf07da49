package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/up"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// airports is the example's projection with an index.
func airports(t *testing.T) projections.Projection {
	t.Helper()
	p, err := flights.Airports()
	if err != nil {
		t.Fatal(err)
	}
	indexed, err := p.(*projections.Typed[flights.Airport]).Indexed(projections.Index{Name: "by_departures", Fields: []string{"departures"}})
	if err != nil {
		t.Fatal(err)
	}
	return indexed
}

// run runs two regions until the test ends.
func run(t *testing.T) (us, eu *up.App) {
	t.Helper()
	configs, err := up.Regions([]string{"us", "eu"}, up.Config{
		Config: parts.Config{Region: region.Config{DataDir: filepath.Join(t.TempDir(), "data"), Redis: "mini", LazySync: true}, Projections: []projections.Projection{airports(t)}},
		HTTP:   "127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	fleet, cleanup, err := up.Open(t.Context(), configs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- fleet.Run(ctx, func() error { close(ready); return nil }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		cleanup()
	})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the regions were not ready in time")
	}
	return fleet.Apps()[0], fleet.Apps()[1]
}

// line is one that the example prints.
type line struct {
	Step       string
	OK         bool
	Region     string
	Count      int
	Items      [][2]any
	Departures map[string]int
}

// TestThePythonExample runs flights.py between two regions, and breaks what it watches over once it has heard something.
func TestThePythonExample(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is missing: scripts/test installs it on Debian; elsewhere install Python 3.7 or newer and put it in PATH")
	}
	us, eu := run(t)
	front, err := netfault.New(strings.TrimPrefix(eu.Address().HTTP, "http://"), netfault.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(front.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "error", "flights.py", "--write", us.Address().HTTP, "--read", "http://"+front.Addr(), "--index", "by_departures") //nolint:gosec // our own
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]line{}
	broken := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Errorf("it prints %s", lines.Bytes())
		}
		if steps[l.Step] = l; l.Step == "changed" && broken < 2 {
			front.Break()
			broken++
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("it ended with %v: %s", err, errs.String())
	}
	if !steps["done"].OK || errs.Len() > 0 || broken != 2 {
		t.Errorf("after %d breaks: %+v %s", broken, steps["done"], errs.String())
	}
	if got := steps["read my own write"]; got.Region != "eu" {
		t.Errorf("it reads in %+v", got)
	}
	if got := steps["listed"]; got.Count != 5 || len(got.Items) != 5 || got.Items[0][1] != 5.0 || got.Items[4][1] != 1.0 {
		t.Errorf("it lists %+v", got)
	}
	if got := steps["followed"]; len(got.Departures) != 5 {
		t.Errorf("it followed %+v", got)
	}
}

// TestThePythonExampleSaysWhatIsWrong has nobody to talk to, and then a projection that is none.
func TestThePythonExampleSaysWhatIsWrong(t *testing.T) {
	us, eu := run(t)
	for _, args := range [][]string{
		{"--write", us.Address().HTTP, "--read", eu.Address().HTTP, "--projection", "ships"},
		{"--write", us.Address().HTTP, "--read", "http://127.0.0.1:1"},
	} {
		out, err := exec.CommandContext(t.Context(), "python3", append([]string{"flights.py"}, args...)...).CombinedOutput() //nolint:gosec // our own
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "flights.py: ") || strings.Contains(string(out), "Traceback") {
			t.Errorf("%v: %v, %s", args, err, out)
		}
	}
}
