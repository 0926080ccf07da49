//go:build unix

package redistest_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/redistest"
)

// recorder is a test that fails, and is looked at.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	fatal    string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Fatalf(format string, _ ...any) {
	r.mu.Lock()
	r.fatal = format
	r.mu.Unlock()
	runtime.Goexit()
}

// run runs f as a test and returns how it failed.
func (r *recorder) run(f func(testing.TB)) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(r.cleanups) - 1; i >= 0; i-- {
				r.cleanups[i]()
			}
		}()
		f(r)
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fatal
}

func set(t *testing.T, c *redis.Client, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, c *redis.Client, key, value string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key).Result(); err != nil || got != value {
		t.Errorf("%s is %q, %v; want %q", key, got, err, value)
	}
}

func TestServerKeepsItsDataThroughStopAndKill(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	set(t, c, "a", "1")
	s.Stop()
	if err := c.Get(t.Context(), "a").Err(); err == nil || errors.Is(err, redis.Nil) {
		t.Errorf("a stopped server answers: %v", err)
	}
	s.Restart()
	want(t, c, "a", "1")
	set(t, c, "a", "2")
	s.Kill()
	s.Restart()
	want(t, c, "a", "2")
	s.Restart() // also while it runs
	want(t, c, "a", "2")
	s.FlushAll()
	if n, err := c.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys after FlushAll, %v", n, err)
	}
}

func TestServerWithALongTemporaryDirectory(t *testing.T) {
	tmp := t.TempDir() + "/" + strings.Repeat("x", 100)
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	s := redistest.Start(t)
	set(t, s.Client(), "a", "1")
	s.Restart() // the socket moves, and the client follows
	want(t, s.Client(), "a", "1")
}

func TestServersAreSeparate(t *testing.T) {
	a, b := redistest.Start(t), redistest.Start(t)
	set(t, a.Client(), "k", "a")
	if n, err := b.Client().DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys in the other server, %v", n, err)
	}
}

func TestServerIsGoneAfterItsTest(t *testing.T) {
	var pid int
	var tmp string
	t.Run("test", func(t *testing.T) {
		tmp = t.TempDir()
		t.Setenv("TMPDIR", tmp)
		s := redistest.Start(t)
		info, err := s.Client().InfoMap(t.Context(), "server").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range info["Server"]["process_id"] {
			pid = pid*10 + int(c-'0')
		}
	})
	if pid == 0 {
		t.Fatal("no process id")
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("process %d still runs", pid)
	}
	if _, err := os.Stat(tmp); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", tmp, err)
	}
}

func TestStoppedServerFailsTheTestThatUsesIt(t *testing.T) {
	got := new(recorder).run(func(tb testing.TB) {
		s := redistest.Start(tb)
		s.Stop()
		s.Stop()
	})
	if !strings.Contains(got, "call Restart first") {
		t.Errorf("failed with %q", got)
	}
}

func TestMissingServerFailsTheTest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	got := new(recorder).run(func(tb testing.TB) { redistest.Start(tb) })
	if !strings.Contains(got, "./scripts/test installs it") {
		t.Errorf("failed with %q", got)
	}
}

func TestEachRunsAgainstBoth(t *testing.T) {
	var names []string
	t.Run("each", func(t *testing.T) {
		redistest.Each(t, func(t *testing.T, c *redis.Client) {
			names = append(names, t.Name())
			set(t, c, "k", "v")
			want(t, c, "k", "v")
			if err := embedded.Check(context.Background(), c); err != nil {
				t.Error(err)
			}
		})
	})
	if got := strings.Join(names, " "); got != "TestEachRunsAgainstBoth/each/redis TestEachRunsAgainstBoth/each/miniredis" {
		t.Errorf("ran %s", got)
	}
}

func TestAnOlderCopyOfTheFilesCanBePutBackAndAnEmptyServerStarted(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	set(t, c, "a", "1")
	older := s.Backup()
	set(t, c, "a", "2")
	s.Kill()
	s.Restore(older)
	s.Restart()
	want(t, c, "a", "1")
	s.Stop()
	s.Discard()
	s.Restart()
	if n, err := c.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v", n, err)
	}
}

func TestFilesOfARunningServerAreNotReplaced(t *testing.T) {
	for name, replace := range map[string]func(*redistest.Server){
		"discard": (*redistest.Server).Discard,
		"restore": func(s *redistest.Server) { s.Restore(t.TempDir()) },
	} {
		r := &recorder{TB: t}
		if fatal := r.run(func(tb testing.TB) { replace(redistest.Start(tb)) }); !strings.Contains(fatal, "the server runs") {
			t.Errorf("%s: failed with %q", name, fatal)
		}
	}
}
