//go:build unix

package clustertest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds every wait for a server, also on a machine that runs much else.
	patience = 90 * time.Second
	// stopPatience is how long a server gets to end in order before it is killed.
	stopPatience = 20 * time.Second
	pollEvery    = 20 * time.Millisecond
	// tailBytes of a server's log are shown when it does not do what it should.
	tailBytes = 2_000
)

// process is one server, which can be ended and started again with the same command line. Its methods are for the test's goroutine.
type process struct {
	t    testing.TB
	name string
	dir  string // its working directory, with its log
	argv []string

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; nil before the first start
}

// start starts the process, or fails the test.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	p.must(err)
	p.cmd = exec.Command(p.argv[0], p.argv[1:]...) //nolint:gosec // a server that this package names
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = p.dir, log, log, childAttr()
	cmd, done, started := p.cmd, make(chan struct{}), make(chan error, 1)
	go func() {
		// The kernel ends the child with the thread that started it, so this goroutine keeps its thread while the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(done)
	}()
	err = <-started
	_ = log.Close() // the child has its own
	p.must(err)
	p.done = done
}

// alive reports whether the process runs.
func (p *process) alive() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL, and waits.
func (p *process) kill() {
	if p.alive() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// stop asks the process to end, and kills it when it does not.
func (p *process) stop() {
	p.t.Helper()
	if !p.alive() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(stopPatience)
	defer late.Stop()
	select {
	case <-p.done:
	case <-late.C:
		p.kill()
		p.t.Errorf("clustertest: %s did not end within %s and was killed; the end of its log:\n%s", p.name, stopPatience, p.tail())
	}
}

// answers waits until the process answers. One that ends instead fails the test.
func (p *process) answers(what string, ok func() bool) {
	p.t.Helper()
	eventually(p.t, what, func() bool {
		p.t.Helper()
		if !p.alive() {
			p.t.Fatalf("clustertest: %s ended by itself; the end of its log:\n%s", p.name, p.tail())
		}
		return ok()
	})
}

func (p *process) logFile() string { return filepath.Join(p.dir, p.name+".log") }

// tail returns the end of the log.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.logFile())
	return string(bytes.TrimSpace(text[max(0, len(text)-tailBytes):]))
}

func (p *process) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("clustertest: %s: %v", p.name, err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("clustertest: after %s it is still not so: %s", patience, what)
		}
	}
}

// folder returns a directory for a server, with a short path, which is removed when the test is over.
func folder(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tm-"+name+"-")
	if err != nil {
		t.Fatalf("clustertest: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clustertest: %v", err)
		}
	})
	return dir
}
