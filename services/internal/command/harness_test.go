package command_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/projections/flights"
	"tidemark.dev/services/internal/command"
)

// patience bounds every wait of these tests.
const patience = 2 * time.Minute

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// cli runs a command line in this process.
func cli(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	code := command.Run(ctx, args, strings.NewReader(stdin), &out, &errs)
	return result{code, out.String(), errs.String()}
}

// problem is an error as -o json writes it.
type problem struct {
	Error struct {
		Code, Message, Next, Position string
		Expected, Actual              *uint64
	}
}

func (r result) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.err), &p); err != nil {
		t.Fatalf("stderr is not an error as JSON: %q", r.err)
	}
	return p
}

func want(t *testing.T, r result, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("the exit code is %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.err)
	}
	return r
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// done runs a command line on a directory. One that only reads, and is to succeed, is repeated while a region does not answer in time, which says that it may be.
func done(t *testing.T, code int, dir, stdin string, args ...string) (r result) {
	t.Helper()
	args = append([]string{"--dir", dir}, args...)
	if code != 0 || !slices.Contains([]string{"get", "list", "count", "history", "status", "verify"}, args[2]) {
		return want(t, cli(t, stdin, args...), code)
	}
	eventually(t, strings.Join(args, " ")+" succeeds", func() (bool, string) {
		const unreachable = 3
		r = cli(t, stdin, args...)
		return r.code != unreachable, fmt.Sprint(r)
	})
	return want(t, r, code)
}

// announcement is what up writes as JSON.
type announcement struct {
	Region, Leader, HTTP, NATS, Dir string
	PID                             int
}

// announcements is what up writes as JSON.
type announcements struct{ Regions []announcement }

// running are the regions that up runs in this process; the first one leads.
type running struct {
	announcement
	all  []announcement
	stop func() result
}

// start runs one region on a directory until the test ends, or stop is called.
func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	return startAll(t, dir, append([]string{"--regions", "us"}, args...)...)
}

// startAll runs up on a directory until the test ends, or stop is called.
func startAll(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := newWatched()
	var errs watched
	done := make(chan int, 1)
	go func() {
		args := append([]string{"up", "--dir", dir, "--http", "127.0.0.1:0", "-o", "json"}, args...)
		done <- command.Run(ctx, args, strings.NewReader(""), out, &errs)
	}()
	r := &running{stop: sync.OnceValue(func() result {
		cancel()
		select {
		case code := <-done:
			return result{code, out.text(), errs.text()}
		case <-time.After(patience):
			return result{-1, out.text(), "up did not end: " + errs.text()}
		}
	})}
	t.Cleanup(func() {
		if last := r.stop(); last.code != 0 {
			t.Errorf("up ended with %+v", last)
		}
	})
	select {
	case <-out.line:
		r.all = decode[announcements](t, out.text()).Regions
		r.announcement = r.all[0]
	case code := <-done:
		done <- code
		t.Fatalf("up ended with %d: %s", code, errs.text())
	case <-time.After(patience):
		t.Fatalf("up did not start: %s", errs.text())
	}
	return r
}

// watched is a writer that tells when it has a whole line.
type watched struct {
	mu   sync.Mutex
	data bytes.Buffer
	line chan struct{}
	once sync.Once
}

func newWatched() *watched { return &watched{line: make(chan struct{})} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.data.Write(p)
	if w.line != nil && bytes.IndexByte(p, '\n') >= 0 {
		w.once.Do(func() { close(w.line) })
	}
	return n, err
}

func (w *watched) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.data.String()
}

// someFlights is how many flights the tests import: enough for several batches, and few where every batch waits for a busy disk.
const someFlights = 1_500

// flightLines returns the first flights of the example.
func flightLines(t *testing.T) string {
	t.Helper()
	r, err := flights.Lines()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	lines := bufio.NewScanner(r)
	for i := 0; i < someFlights && lines.Scan(); i++ {
		b.Write(append(lines.Bytes(), '\n'))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// importFlights returns the command that imports them.
func importFlights(t *testing.T, dir string) []string {
	t.Helper()
	files := t.TempDir()
	lines, mapping := filepath.Join(files, "flights.ndjson"), filepath.Join(files, "map.yaml")
	for name, text := range map[string]string{lines: flightLines(t), mapping: string(flights.Map())} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--dir", dir, "-o", "json", "import", lines, "--map", mapping}
}
