package embedded

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
)

// pollEvery is how often a condition of another process is looked at.
const pollEvery = 10 * time.Millisecond

// endOrphan ends a redis-server that an earlier process left behind on this directory: two servers must not write one
// append-only file. Whoever answers on the directory's socket is one, since this process holds the directory's lock.
// The Linux kernel ends the server together with its parent, so this is for other systems, and for servers that somebody
// started by hand.
func endOrphan(ctx context.Context, cfg RedisConfig, dir string) error {
	socket := leftSocket(dir)
	if socket == "" {
		return nil
	}
	conn, err := net.DialTimeout("unix", socket, cfg.StopTimeout)
	if nobodyListens(err) {
		return removeStale(dir) // of one that was killed
	}
	if err != nil {
		return redisFailed("look at the redis-server left on %s: %w", socket, err)
	}
	pid := peerPID(conn)
	if err := conn.Close(); err != nil {
		return redisFailed("look at the redis-server left on %s: %w", socket, err)
	}
	cfg.Logger.Warn("ending a redis-server that an earlier run left behind", "socket", socket, "pid", pid)
	askToEnd(ctx, socket, pid, cfg.StopTimeout)
	if socketGone(ctx, socket, cfg.StopTimeout) {
		return removeStale(dir)
	}
	if err := ctx.Err(); err != nil {
		return redisFailed("end the redis-server left on %s: %w", socket, err)
	}
	if pid > 0 {
		if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil && socketGone(ctx, socket, cfg.StopTimeout) {
			return removeStale(dir)
		}
	}
	return events.Errorf(ErrDirInUse, "a redis-server (process %d) of an earlier run still has %s and does not end; nothing was started", pid, socket).
		Hint("End that process, then start again.")
}

func removeStale(dir string) error {
	if err := removeSocket(dir); err != nil {
		return redisFailed("remove the socket of an earlier run: %w", err)
	}
	return nil
}

// askToEnd asks the server to flush its append-only file and to end, and waits for the answer, which is a closed
// connection. NOSAVE leaves the snapshot out, never the append-only file. One that answers anything else, since somebody
// has set a password on it or has used up its connections, gets a signal that means the same. Whether it worked is seen
// at its process or its socket.
func askToEnd(ctx context.Context, socket string, pid int, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	o := socketOptions(socket)
	o.PoolSize, o.MaxRetries, o.DialerRetries = 1, -1, 1
	o.ReadTimeout = within
	client := redis.NewClient(o)
	if err := client.ShutdownNoSave(ctx).Err(); isReply(err) && pid > 0 {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Signal(syscall.SIGTERM)
		}
	}
	_ = client.Close()
}

// socketGone waits until the server that had the socket is through with its files. One that ends in order removes its
// socket as the last step; of one that was killed the file stays and nobody listens.
func socketGone(ctx context.Context, socket string, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	const settle = 10 // looks at a socket where nobody listens before its owner counts as killed, not as about to remove it
	for refused := 0; refused < settle; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		conn, err := net.DialTimeout("unix", socket, within)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return true
		case nobodyListens(err):
			refused++
		case err == nil:
			_ = conn.Close()
			refused = 0
		}
	}
	return true
}

// nobodyListens tells a socket without a server from one whose server is too busy to accept.
func nobodyListens(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}
