package embedded

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRedisServerDiesWithItsParent(t *testing.T) {
	path := shortTemp(t)
	p := startHelper(t, "redis", path)
	pid, err := strconv.Atoi(p.line(t))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(t, pid) {
		t.Fatal("the server does not run")
	}
	p.kill(t)
	eventually(t, "the redis-server dies with its parent", func() bool { return !alive(t, pid) })

	// What the crash left is no obstacle.
	startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: openDir(t, path)})
}

// onDyingThread runs f on a thread that ends afterwards, and returns when it has ended.
func onDyingThread(t *testing.T, f func()) {
	t.Helper()
	var thread int
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		thread = unix.Gettid()
		if thread != os.Getpid() {
			f()
			return
		}
		// The process's first thread never ends; while this goroutine holds it, another one gets another thread.
		onDyingThread(t, f)
		runtime.UnlockOSThread()
	}()
	<-done
	if thread == os.Getpid() {
		return
	}
	eventually(t, "the thread ends", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
		return errors.Is(err, os.ErrNotExist)
	})
}

// The kernel ends the child when the thread that started it ends, and Go ends threads.
func TestRedisServerSurvivesTheThreadThatAskedForIt(t *testing.T) {
	dir := openDir(t, shortTemp(t))
	var r *Redis
	var err error
	onDyingThread(t, func() { r, err = StartRedis(t.Context(), RedisConfig{Mode: ModeServer, Dir: dir}) })
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	mustDo(t, r, "SET", "k", "v")
}
