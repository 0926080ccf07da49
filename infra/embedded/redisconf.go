package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"
)

const (
	redisConfFile = "redis.conf"
	redisLogFile  = "redis.log"
	// maxRedisLog is the size in bytes from which the log is put aside at a start. One older log is kept.
	maxRedisLog = 4 << 20
	// The end of the log that an error repeats.
	logTailBytes = 4 << 10
	logTailLines = 12
)

// redisConf returns the configuration of a private server. Everything that a guarantee rests on is in it: nothing is
// evicted, every write is in the append-only file, and nobody but this user can connect.
func redisConf(dir, socket string) string {
	return strings.Join([]string{
		"# Written by tidemark at every start: changes are lost.",
		"port 0",
		"unixsocket " + confWord(socket),
		"unixsocketperm 700",
		"daemonize no",
		"dir " + confWord(dir),
		"logfile " + confWord(filepath.Join(dir, redisLogFile)),
		"appendonly yes",
		"appendfsync everysec",
		`save ""`,
		"maxmemory-policy noeviction",
		"",
	}, "\n")
}

// confWord quotes a word for redis.conf, whose escapes are those of C.
func confWord(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// writeRedisConf writes the configuration and returns its path.
func writeRedisConf(dir, socket string) (string, error) {
	path := filepath.Join(dir, redisConfFile)
	if err := os.WriteFile(path, []byte(redisConf(dir, socket)), 0o600); err != nil {
		return "", redisFailed("configure the private redis-server: %w", err)
	}
	return path, nil
}

// openRedisLog opens the log, which the server also opens by itself once it has read its configuration. What it says
// before that, such as an error in the configuration, comes through this file.
func openRedisLog(dir string) (*os.File, error) {
	path := filepath.Join(dir, redisLogFile)
	if info, err := os.Stat(path); err == nil && info.Size() > maxRedisLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, redisFailed("put the log of the private redis-server aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, redisFailed("open the log of the private redis-server: %w", err)
	}
	return f, nil
}

// logTail returns the last lines of the log, joined for one line of text.
func logTail(dir string) string {
	f, err := os.Open(filepath.Join(dir, redisLogFile))
	if err != nil {
		return "(no log)"
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "(no log)"
	}
	b := make([]byte, min(info.Size(), logTailBytes))
	n, _ := f.ReadAt(b, info.Size()-int64(len(b))) // a short read is still the end of the log
	lines := strings.Split(strings.TrimSpace(string(b[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-logTailLines):], " | ")
}

// socketOptions returns the options of a client of the private server.
func socketOptions(socket string) *redis.Options { return ownOptions("unix", socket) }
