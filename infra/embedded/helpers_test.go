//go:build unix

package embedded

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
)

// helperRole makes this test binary play a part of its own: a process that can be killed.
const helperRole = "TIDEMARK_EMBEDDED_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperRole); role != "" {
		if err := play(role, os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play starts something on the directory, says so on standard output, and stays until it is killed.
func play(role, path string) error {
	ctx := context.Background()
	dir, err := OpenDir(path)
	if err != nil {
		return err
	}
	switch role {
	case "lock":
		fmt.Println("locked")
	case "redis":
		r, err := StartRedis(ctx, RedisConfig{Mode: ModeServer, Dir: dir})
		if err != nil {
			return err
		}
		fmt.Println(r.PID())
	case "nats":
		return publishForEver(ctx, dir)
	}
	select {}
}

// process is a helper process.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	rest  []string // what it had printed and nobody had read when it was killed
}

func startHelper(t *testing.T, role, dir string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, dir)
	cmd.Env = append(os.Environ(), helperRole+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, lines: bufio.NewScanner(out)}
	t.Cleanup(func() { p.kill(t) })
	return p
}

// line returns the next line of output; a helper that ends instead fails the test.
func (p *process) line(t *testing.T) string {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("the helper ended early: %v", p.lines.Err())
	}
	return p.lines.Text()
}

// kill kills -9, reads what is left of the output, and waits.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Errorf("kill the helper: %v", err)
	}
	for p.lines.Scan() {
		p.rest = append(p.rest, p.lines.Text())
	}
	_ = p.cmd.Wait() // it was killed
}

// eventually waits for a condition, for a bounded time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// alive reports whether a process runs. A zombie does not: in a container there may be nobody to collect it.
func alive(t *testing.T, pid int) bool {
	t.Helper()
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// shortTemp returns a directory whose path is short enough for a socket, whatever the name of the test.
func shortTemp(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("", "emb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

// openDir opens a data directory for the rest of the test.
func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// logs collects what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// wantCode fails unless the error carries the code, a finding and each of the texts.
func wantCode(t *testing.T, err error, code events.Code, texts ...string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("got %v, want a %s", err, code)
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
}

// wantMode fails unless the file has the permissions.
func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %04o, want %04o", filepath.Base(path), got, want)
	}
}

// newClient returns a client for the rest of the test.
func newClient(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	c := redis.NewClient(o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Error(err)
		}
	})
	return c
}
