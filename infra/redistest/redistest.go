// Package redistest gives a test a Redis of its own: a real redis-server, which can be stopped, killed and started
// again on the same files, or miniredis. A machine without redis-server fails the test; nothing is skipped.
package redistest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/embedded"
)

// startTimeout bounds a start, also on a machine that runs many tests at once.
const startTimeout = time.Minute

// Server is a redis-server of one test. Its methods fail the test instead of returning errors; call them from the
// test's goroutine.
type Server struct {
	t   testing.TB
	dir *embedded.Dir

	mu    sync.Mutex
	redis *embedded.Redis // nil while it is stopped

	client *redis.Client
}

// Start starts a redis-server in a temporary directory, with an append-only file, reachable through a unix socket only.
// It is ended, and the directory removed, when the test is over.
func Start(t testing.TB) *Server {
	t.Helper()
	// Not t.TempDir: it repeats the test's name, and the path of a socket must be short.
	path, err := os.MkdirTemp("", "redistest")
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Errorf("redistest: %v", err)
		}
	})
	dir, err := embedded.OpenDir(path)
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	s := &Server{t: t, dir: dir}
	t.Cleanup(s.cleanup)
	s.Restart()
	o := s.Options()
	// The socket may have another path after a restart, and clients should not have to care.
	o.Dialer = s.dial
	s.client = redis.NewClient(o)
	return s
}

// Each runs a test against a real redis-server and against miniredis, as subtests. Each starts empty.
func Each(t *testing.T, test func(t *testing.T, client *redis.Client)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) { test(t, Start(t).Client()) })
	t.Run("miniredis", func(t *testing.T) { test(t, Mini(t)) })
}

// Mini returns a client of a miniredis of this test's own.
func Mini(t testing.TB) *redis.Client {
	t.Helper()
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Mode: embedded.ModeMini})
	if err != nil {
		t.Fatalf("redistest: %v", err)
	}
	client := redis.NewClient(r.Options())
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), r.Close()); err != nil {
			t.Errorf("redistest: %v", err)
		}
	})
	return client
}

// Client returns a client, always the same one. It finds the server again after a Restart, and must not be closed.
func (s *Server) Client() *redis.Client { return s.client }

// Options returns the options for further clients. They are of no use after a Restart.
func (s *Server) Options() *redis.Options {
	s.t.Helper()
	return s.running().Options()
}

// FlushAll empties the server, as an operator would who takes it for a cache.
func (s *Server) FlushAll() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.client.FlushAll(ctx).Err(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Stop ends the server in order: its append-only file is complete.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.take().Close(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Kill ends the server with SIGKILL. Whatever it had answered is in the append-only file, since the kernel survives.
func (s *Server) Kill() {
	s.t.Helper()
	r := s.take()
	p, err := os.FindProcess(r.PID())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		s.t.Fatalf("redistest: kill redis-server: %v", err)
	}
	<-r.Done()
	if err := r.Close(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Restart starts the server again on the same append-only file; a server that runs is stopped in order first.
func (s *Server) Restart() {
	s.t.Helper()
	s.mu.Lock()
	runs := s.redis != nil
	s.mu.Unlock()
	if runs {
		s.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := embedded.StartRedis(ctx, embedded.RedisConfig{Mode: embedded.ModeServer, Dir: s.dir})
	if errors.Is(err, embedded.ErrRedisMissing) {
		s.t.Fatalf("redistest: this test needs redis-server, and it is not in PATH: ./scripts/test installs it")
	}
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redis = r
}

// Backup copies the files of the server as they are now, and returns where the copy is.
func (s *Server) Backup() string {
	s.t.Helper()
	copied := filepath.Join(s.t.TempDir(), "backup")
	if err := os.CopyFS(copied, os.DirFS(s.files())); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	return copied
}

// Restore puts a copy that Backup made in the place of the files. The server must be stopped.
func (s *Server) Restore(backup string) {
	s.t.Helper()
	s.Discard()
	if err := os.CopyFS(s.files(), os.DirFS(backup)); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// Discard removes the files, so that the next Restart is that of another, empty server at the same address. The server must be stopped.
func (s *Server) Discard() {
	s.t.Helper()
	s.mu.Lock()
	runs := s.redis != nil
	s.mu.Unlock()
	if runs {
		s.t.Fatalf("redistest: the server runs; call Stop or Kill first")
	}
	if err := os.RemoveAll(s.files()); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// files returns the directory of the append-only file.
func (s *Server) files() string { return filepath.Join(s.dir.Path(), "redis") }

// running returns the server, which must run.
func (s *Server) running() *embedded.Redis {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.redis == nil {
		s.t.Fatalf("redistest: the server is stopped; call Restart first")
	}
	return s.redis
}

// take returns the server, which must run, and notes that it does not any more.
func (s *Server) take() *embedded.Redis {
	s.t.Helper()
	r := s.running()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redis = nil
	return r
}

func (s *Server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	s.mu.Lock()
	r := s.redis
	s.mu.Unlock()
	if r == nil {
		return nil, errors.New("redistest: the server is stopped")
	}
	o := r.Options()
	var d net.Dialer
	return d.DialContext(ctx, o.Network, o.Addr)
}

// cleanup ends what runs, in order: client, server, directory.
func (s *Server) cleanup() {
	s.mu.Lock()
	r := s.redis
	s.redis = nil
	s.mu.Unlock()
	var err error
	if s.client != nil {
		err = s.client.Close()
	}
	if r != nil {
		err = errors.Join(err, r.Close())
	}
	if err = errors.Join(err, s.dir.Close()); err != nil {
		s.t.Errorf("redistest: %v", err)
	}
}

// Console is what a person with redis-cli has: a client of a Redis that somebody else runs.
type Console struct{ *redis.Client }

// Dial opens a console of the Redis at a URL, until the test ends.
func Dial(t testing.TB, url string) *Console {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatalf("the address of Redis is %q: %v", url, err)
	}
	c := &Console{redis.NewClient(o)}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
