package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// answerTimeout is how long a new server may say nothing at all.
	answerTimeout = 30 * time.Second
	// loadTimeout is how long a new server may read its append-only file: millions of documents take seconds.
	loadTimeout = 10 * time.Minute
	pingTimeout = 2 * time.Second
)

// redisServer is a redis-server that belongs to this process: reachable through a unix socket only, in its own process
// group so that a Ctrl-C on the terminal does not reach it before our ordered end, and ended by the kernel when this
// process dies without ending it (Linux; elsewhere the next start does it).
type redisServer struct {
	dir     string // of its files
	root    string // the data directory, with the socket
	socket  string
	pid     int
	log     *slog.Logger
	timeout time.Duration
	release func()

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended

	mu       sync.Mutex
	stopping bool
	err      error // why it ended unasked

	once    sync.Once
	stopErr error
}

func startRedisServer(ctx context.Context, cfg RedisConfig, binary string) (*redisServer, error) {
	if cfg.Dir == nil {
		return nil, redisFailed("a private redis-server needs a data directory, and none was given; nothing was started")
	}
	dir, release, err := cfg.Dir.claim("redis")
	if err != nil {
		return nil, err
	}
	s := &redisServer{
		dir: dir, root: cfg.Dir.Path(), log: cfg.Logger, timeout: cfg.StopTimeout, release: release, done: make(chan struct{}),
	}
	if err := s.start(ctx, cfg, binary); err != nil {
		release()
		return nil, err
	}
	s.log.Info("redis-server started", "pid", s.pid, "socket", s.socket)
	return s, nil
}

func (s *redisServer) start(ctx context.Context, cfg RedisConfig, binary string) error {
	if err := endOrphan(ctx, cfg, s.root); err != nil {
		return err
	}
	var err error
	if s.socket, err = makeSocketPath(s.root); err != nil {
		return err
	}
	if err := s.spawn(binary); err != nil {
		return errors.Join(err, removeSocket(s.root))
	}
	if err := s.ready(ctx); err != nil {
		s.expectEnd()
		select {
		case <-s.done: // its number may be another process's by now
		default:
			_ = killGroup(s.pid)
			<-s.done
		}
		return errors.Join(err, removeSocket(s.root))
	}
	return nil
}

// spawn starts the process and a goroutine that waits for its end.
func (s *redisServer) spawn(binary string) error {
	conf, err := writeRedisConf(s.dir, s.socket)
	if err != nil {
		return err
	}
	log, err := openRedisLog(s.dir)
	if err != nil {
		return err
	}
	s.cmd = exec.Command(binary, conf)
	s.cmd.Dir = s.dir
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"} // nothing of ours, which may hold secrets
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = childAttr()

	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the *thread* that started it ends, not the process. So this goroutine keeps
		// its thread for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.ended(s.cmd.Wait())
		}
	}()
	err = <-started
	_ = log.Close() // the child has its own; nothing was written through this one
	if err != nil {
		return redisFailed("start %s: %w", binary, err)
	}
	s.pid = s.cmd.Process.Pid
	return nil
}

// ended notes how the process ended.
func (s *redisServer) ended(err error) {
	s.mu.Lock()
	if !s.stopping {
		how := "exit status 0"
		if err != nil {
			how = err.Error()
		}
		s.err = redisFailed("the private redis-server ended by itself (%s); the end of its log: %s", how, logTail(s.dir)).
			Hint("Start again: what it had written is still there.")
	}
	s.mu.Unlock()
	close(s.done)
}

// expectEnd says that the end of the process is wanted from now on.
func (s *redisServer) expectEnd() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
}

func (s *redisServer) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// ready waits until the server answers and has read its append-only file.
func (s *redisServer) ready(ctx context.Context) error {
	answer, load := time.NewTimer(answerTimeout), time.NewTimer(loadTimeout)
	defer answer.Stop()
	defer load.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	o := socketOptions(s.socket)
	o.PoolSize, o.MaxRetries, o.DialerRetries = 1, -1, 1
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }() // nothing is lost with it
	for {
		err := ping(ctx, client, s.socket)
		if err == nil {
			return nil
		}
		if redis.IsLoadingError(err) {
			answer.Reset(answerTimeout)
		}
		select {
		case <-s.done:
			return s.failure()
		case <-ctx.Done():
			return fmt.Errorf("start the private redis-server: %w", context.Cause(ctx))
		case <-answer.C:
			return redisFailed("the private redis-server does not answer: %w; the end of its log: %s", err, logTail(s.dir))
		case <-load.C:
			return redisFailed("the private redis-server still reads its file after %s; it was ended again, and its file is untouched", loadTimeout)
		case <-tick.C:
		}
	}
}

// ping asks once. It looks for a listener first, because the client writes a line of its own to standard error for
// every attempt to reach none.
func ping(ctx context.Context, client *redis.Client, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	return client.Ping(ctx).Err()
}

// options returns a client's options.
func (s *redisServer) options() *redis.Options { return socketOptions(s.socket) }

// stop ends the server:
//  1. ask it to flush its append-only file and end, and wait for a bounded time;
//  2. kill it, with the child that may be rewriting the file, if it does not;
//  3. remove the socket, and give its place in the data directory up.
func (s *redisServer) stop() error {
	s.once.Do(func() {
		s.expectEnd()
		s.stopErr = errors.Join(s.end(), removeSocket(s.root))
		s.release()
		s.log.Info("redis-server stopped", "pid", s.pid)
	})
	return s.stopErr
}

func (s *redisServer) end() error {
	select {
	case <-s.done:
		return nil // it ended by itself; Err says why
	default:
	}
	late := time.NewTimer(s.timeout)
	defer late.Stop()
	askToEnd(context.Background(), s.socket, s.pid, s.timeout)
	select {
	case <-s.done:
		return nil
	case <-late.C:
	}
	err := killGroup(s.pid)
	<-s.done // a killed process ends; only a kernel that hangs could keep us here
	return errors.Join(redisFailed("the private redis-server (process %d) did not end within %s and was killed", s.pid, s.timeout).
		Hint("What it had acknowledged is in its file, unless this machine fails within the next seconds."), err)
}
