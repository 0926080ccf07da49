//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func startTestRedis(t *testing.T, cfg RedisConfig) *Redis {
	t.Helper()
	r, err := StartRedis(t.Context(), cfg)
	if errors.Is(err, ErrRedisMissing) {
		t.Fatalf("%v\n./scripts/test installs it", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // the test looks at the error where it matters
	return r
}

// mustDo runs one command.
func mustDo(t *testing.T, r *Redis, args ...any) any {
	t.Helper()
	c := redis.NewClient(r.Options())
	defer func() { _ = c.Close() }()
	v, err := c.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return v
}

// fakeRedis puts a script named redis-server in front of PATH.
func fakeRedis(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, redisBinary), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestRedisServerIsPrivateAndKeepsWhatItAnswers(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	r := startTestRedis(t, RedisConfig{Dir: dir})
	if r.IsMini() || r.Note() != "" || r.PID() == 0 || r.Err() != nil {
		t.Errorf("auto did not take the installed redis-server: %v, %q", r, r.Note())
	}
	if want := "redis-cli -s " + filepath.Join(dir.Path(), redisSocket); r.Describe() != want {
		t.Errorf("Describe() = %s, want %s", r.Describe(), want)
	}
	wantMode(t, filepath.Join(dir.Path(), redisSocket), 0o700)
	wantMode(t, filepath.Join(dir.Path(), "redis"), 0o700)
	wantMode(t, filepath.Join(dir.Path(), "redis", redisConfFile), 0o600)
	wantMode(t, filepath.Join(dir.Path(), "redis", redisLogFile), 0o600)

	c := newClient(t, r.Options())
	for name, want := range map[string]string{
		"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction",
		"daemonize": "no", "dir": filepath.Join(dir.Path(), "redis"),
	} {
		got, err := c.ConfigGet(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if err := Check(t.Context(), c); err != nil {
		t.Errorf("our own server is refused: %v", err)
	}
}

func TestRedisServerContinuesWhereItEnded(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	first := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	mustDo(t, first, "SET", "k", "v")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	if first.Err() != nil {
		t.Errorf("an orderly end is a failure: %v", first.Err())
	}
	if err := first.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if s := leftSocket(dir.Path()); s != "" {
		t.Errorf("the socket is left: %s", s)
	}
	second := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	if got := mustDo(t, second, "GET", "k"); got != "v" {
		t.Errorf("k is %v", got)
	}
}

func TestRedisServerInItsOwnProcessGroup(t *testing.T) {
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: openDir(t, shortTemp(t))})
	group, err := syscall.Getpgid(r.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group != r.PID() || group == syscall.Getpgrp() {
		t.Errorf("process %d is in group %d: a Ctrl-C would reach it", r.PID(), group)
	}
}

// orphan starts a redis-server on the files of a data directory, as a crash would leave one on a system where the
// kernel does not end it. It returns when the server answers.
func orphan(t *testing.T, dir *Dir) *exec.Cmd {
	t.Helper()
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	mustDo(t, r, "SET", "before", "1")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	socket, err := makeSocketPath(dir.Path())
	if err != nil {
		t.Fatal(err)
	}
	conf, err := writeRedisConf(filepath.Join(dir.Path(), "redis"), socket)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(redisBinary, conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	c := newClient(t, socketOptions(socket))
	eventually(t, "the orphan answers", func() bool { return ping(t.Context(), c, socket) == nil })
	if err := c.Set(t.Context(), "orphan", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// ended waits for the end of an orphan, for a bounded time.
func ended(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() {
		t.Error("the orphan is still there")
		_ = cmd.Process.Kill()
	})
	defer timer.Stop()
	return cmd.Wait()
}

func TestRedisServerEndsAnOrphanFirst(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	cmd := orphan(t, dir)
	var out logs
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir, Logger: out.logger()})
	if err := ended(t, cmd); err != nil {
		t.Errorf("the orphan did not end in order: %v", err)
	}
	if got := mustDo(t, r, "MGET", "before", "orphan"); fmt.Sprint(got) != "[1 1]" {
		t.Errorf("after an orphan: %v", got)
	}
	if !strings.Contains(out.String(), "pid="+strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("the log does not name it:\n%s", out.String())
	}
}

func TestRedisServerKillsAnOrphanThatHangs(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	cmd := orphan(t, dir)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir, StopTimeout: 300 * time.Millisecond})
	if err := ended(t, cmd); err == nil {
		t.Error("the orphan ended in order, and was stopped before")
	}
	if got := mustDo(t, r, "MGET", "before", "orphan"); fmt.Sprint(got) != "[1 1]" {
		t.Errorf("after an orphan: %v", got)
	}
}

func TestRedisServerWithALongPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("länger \"ö\"", 5))
	dir := openDir(t, path)
	first := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	socket := first.Options().Addr
	if len(socket) > maxSocketPath {
		t.Fatalf("the socket's path has %d bytes", len(socket))
	}
	wantMode(t, filepath.Dir(socket), 0o700)
	if !strings.HasPrefix(socket, os.TempDir()) {
		t.Errorf("the socket is in %s", socket)
	}
	mustDo(t, first, "SET", "k", "v")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(socket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the short directory is left: %v", err)
	}

	cmd := orphan(t, dir) // found through the link
	short := filepath.Dir(leftSocket(path))
	second := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	if err := ended(t, cmd); err != nil {
		t.Errorf("the orphan did not end in order: %v", err)
	}
	if _, err := os.Stat(short); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the orphan's short directory is left: %v", err)
	}
	if got := mustDo(t, second, "GET", "k"); got != "v" {
		t.Errorf("k is %v", got)
	}
}

func TestRedisServerThatEndsByItselfIsReported(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	select {
	case <-r.Done():
		t.Fatal("done while it runs")
	default:
	}
	mustDo(t, r, "SET", "k", "v")
	if err := syscall.Kill(r.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	wantCode(t, r.Err(), ErrRedisFailed, "killed", "ready to accept connections", "Start again")
	if err := r.Close(); err != nil {
		t.Errorf("close after that: %v", err)
	}
	again := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	if got := mustDo(t, again, "GET", "k"); got != "v" {
		t.Errorf("k is %v", got)
	}
}

func TestRedisServerWithAPasswordOfSomebodyElseStillEndsInOrder(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir, StopTimeout: time.Hour})
	mustDo(t, r, "SET", "k", "v")
	mustDo(t, r, "CONFIG", "SET", "requirepass", "sesame")
	must(t, r.Close())
	again := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	if got := mustDo(t, again, "GET", "k"); got != "v" {
		t.Errorf("k is %v", got)
	}
}

func TestRedisServerThatHangsIsKilled(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir, StopTimeout: 300 * time.Millisecond})
	mustDo(t, r, "SET", "k", "v")
	if err := syscall.Kill(r.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Close(), ErrRedisFailed, strconv.Itoa(r.PID()), "300ms")
	if alive(t, r.PID()) {
		t.Error("it still runs")
	}
	again := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	if got := mustDo(t, again, "GET", "k"); got != "v" {
		t.Errorf("k is %v", got)
	}
}

func TestRedisServerIsWaitedForWhileItReadsItsFile(t *testing.T) {
	const keys = 400
	dir := openDir(t, shortTemp(t))
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	mustDo(t, r, "EVAL", fmt.Sprintf("for i = 1, %d do redis.call('SET', 'k' .. i, string.rep('x', 5000)) end return 1", keys), 0)
	mustDo(t, r, "BGREWRITEAOF")
	eventually(t, "the file is rewritten", func() bool {
		return strings.Contains(fmt.Sprint(mustDo(t, r, "INFO", "persistence")), "aof_rewrite_in_progress:0")
	})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	installed, err := exec.LookPath(redisBinary)
	if err != nil {
		t.Fatal(err)
	}
	// 1 ms for each key, and an ear for clients meanwhile: they hear LOADING.
	fakeRedis(t, fmt.Sprintf("exec %s \"$@\" --key-load-delay 1000 --loading-process-events-interval-bytes 4096\n", installed))
	slow := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	if got := mustDo(t, slow, "DBSIZE"); got != int64(keys) {
		t.Errorf("%v keys when it is ready, want %d", got, keys)
	}
}

func TestRedisServerThatCannotStartSaysWhy(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	fakeRedis(t, "[ \"$1\" = --version ] && exit 0\necho 'Bad directive on line 7' >&2\nexit 3\n")
	_, err := StartRedis(t.Context(), RedisConfig{Dir: dir}) // auto must not hide it behind miniredis
	wantCode(t, err, ErrRedisFailed, "Bad directive on line 7", "exit status 3")
	if s := leftSocket(dir.Path()); s != "" {
		t.Errorf("the socket is left: %s", s)
	}
}

func TestRedisServerStartIsCancelled(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	pidFile := filepath.Join(dir.Path(), "pid")
	fakeRedis(t, fmt.Sprintf("[ \"$1\" = --version ] && exit 0\necho $$ > %s.new; mv %s.new %s\nexec sleep 600\n", pidFile, pidFile, pidFile))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := StartRedis(ctx, RedisConfig{Mode: ModeServer, Dir: dir})
		failed <- err
	}()
	var pid int
	eventually(t, "the server that never answers runs", func() bool {
		b, err := os.ReadFile(pidFile)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled start: %v", err)
	}
	if alive(t, pid) {
		t.Error("it still runs")
	}
}

func TestRedisServerNeedsItsPlaceInADirectory(t *testing.T) {
	_, err := StartRedis(t.Context(), RedisConfig{Mode: ModeServer})
	wantCode(t, err, ErrRedisFailed, "data directory")
	dir := openDir(t, shortTemp(t))
	startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: dir})
	_, err = StartRedis(t.Context(), RedisConfig{Mode: ModeServer, Dir: dir})
	wantCode(t, err, ErrDirInUse, "redis")
}

func TestRedisIsMiniredisWhereNoneIsInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := startTestRedis(t, RedisConfig{Mode: ModeAuto, Dir: openDir(t, shortTemp(t))})
	const note = "redis-server is not installed: using the embedded miniredis; " +
		"the read model lives in memory and is rebuilt from the log at every start"
	if !r.IsMini() || r.Note() != note || r.PID() != 0 {
		t.Errorf("got %v, %q", r, r.Note())
	}
	_, err := StartRedis(t.Context(), RedisConfig{Mode: ModeServer, Dir: openDir(t, shortTemp(t))})
	wantCode(t, err, ErrRedisMissing, "PATH", "apt-get install redis-server")
}

func TestRedisIsMiniredisWhereAnOldOneIsInstalled(t *testing.T) {
	fakeRedis(t, "echo 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=a3fdef44459b3ad6'\n")
	r := startTestRedis(t, RedisConfig{Dir: openDir(t, shortTemp(t))})
	if !r.IsMini() || !strings.HasPrefix(r.Note(), "the installed redis-server is older than 6.2: using the embedded miniredis") {
		t.Errorf("got %v, %q", r, r.Note())
	}
	_, err := StartRedis(t.Context(), RedisConfig{Mode: ModeServer, Dir: openDir(t, shortTemp(t))})
	wantCode(t, err, ErrUnsafeRedis, "6.0.16", "6.2")
}

func TestMiniredisIsPrivate(t *testing.T) {
	r := startTestRedis(t, RedisConfig{Mode: ModeMini})
	o := r.Options()
	if host, _, err := net.SplitHostPort(o.Addr); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %s", o.Addr)
	}
	if len(o.Password) < passwordBytes {
		t.Errorf("its password has %d characters", len(o.Password))
	}
	if s := fmt.Sprintf("%v %+v %s %s", r, r, r.Describe(), r.Note()); strings.Contains(s, o.Password) {
		t.Errorf("the password is told: %s", s)
	}
	mustDo(t, r, "SET", "k", "v")
	stranger := newClient(t, &redis.Options{Addr: o.Addr})
	if err := stranger.Get(t.Context(), "k").Err(); !redis.IsAuthError(err) {
		t.Errorf("a stranger is answered: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	if err := r.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}
