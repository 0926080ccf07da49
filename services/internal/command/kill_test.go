package command_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventually waits a bounded time until look finds what it looks for, and fails with what it saw last.
func eventually(t *testing.T, what string, look func() (ok bool, seen string)) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		ok, seen := look()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s it is still not so that %s; seen last: %s", patience, what, seen)
		}
	}
}

// completes waits until the shell is offered what begins so: a completion that takes long offers nothing.
func completes(t *testing.T, dir, line, offered string) {
	t.Helper()
	eventually(t, line+" is completed", func() (bool, string) {
		args := append([]string{"__complete", "--dir", dir}, strings.Fields(line)...)
		r := want(t, cli(t, "", append(args, "")...), 0)
		return strings.HasPrefix(r.out, offered) || strings.Contains(r.out, "\n"+offered), fmt.Sprint(r)
	})
}

// build compiles the real program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tidemark")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "tidemark.dev/services/tidemark").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// spawn starts up as a process of its own and returns when it announced itself.
func spawn(t *testing.T, program, dir string) (*exec.Cmd, announcement) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "up", "--dir", dir, "--http", "127.0.0.1:0", "-o", "json")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		t.Fatalf("up announced nothing: %v", err)
	}
	return cmd, decode[announcements](t, line).Regions[0]
}

func TestAKilledRegionLosesNothingAndGoesOn(t *testing.T) {
	program, dir := build(t), filepath.Join(t.TempDir(), "region")
	var position string
	published := 0
	for round := range 3 {
		up, _ := spawn(t, program, dir)
		for range 10 {
			r := cli(t, "", "--dir", dir, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--id", fmt.Sprint("e", published))
			position = strings.TrimSpace(want(t, r, 0).out)
			published++
		}
		if err := up.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = up.Wait()
		if p := want(t, cli(t, "", "status", "--dir", dir, "-o", "json"), 3).problem(t); p.Error.Code != "not-running" {
			t.Errorf("round %d: status answered %+v", round, p)
		}
	}
	up, _ := spawn(t, program, dir)
	a := decode[answer](t, want(t, cli(t, "", "--dir", dir, "get", "airports", "ORD", "--at-least", position, "--wait", "30s", "-o", "json"), 0).out)
	if a.Document["departures"] != float64(published) || !covers(t, a.Position, position) {
		t.Errorf("after three kills ORD is %+v, want %d departures at %s", a, published, position)
	}
	importIsKilled(t, program, dir)
	if err := up.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("up ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "us", "region.json")); !os.IsNotExist(err) {
		t.Errorf("the address is still there: %v", err)
	}
}

// importIsKilled kills an import in the middle and runs it again.
func importIsKilled(t *testing.T, program, dir string) {
	t.Helper()
	file := importFlights(t, dir)
	stdin := slices.Clone(file)
	stdin[slices.Index(stdin, "import")+1] = "-"
	cmd := exec.CommandContext(t.Context(), program, stdin...)
	cmd.Stderr = os.Stderr // why it ended, should it not wait for the rest
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(input, flightLines(t)[:len(flightLines(t))/2]) }()
	eventually(t, "a part is imported", func() (bool, string) {
		r := cli(t, "", "--dir", dir, "history", "airport/ORD")
		return strings.Contains(r.out, "flights-20k-"), fmt.Sprint(r)
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, added := range []bool{true, false} {
		r := decode[struct {
			Resumed int `json:"resumed_after_line"`
			Added   int `json:"added_events"`
			Events  int
		}](t, want(t, cli(t, "", file...), 0).out)
		if r.Resumed == 0 || r.Events != 2*someFlights || (r.Added > 0) != added {
			t.Errorf("the import after the kill did %+v", r)
		}
	}
}
