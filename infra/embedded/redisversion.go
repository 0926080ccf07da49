package embedded

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"tidemark.dev/events"
)

const (
	redisBinary = "redis-server"
	// minRedis is the oldest Redis that is supported. 6.0 still ships with distributions in use.
	minRedis       = "6.2"
	versionTimeout = 10 * time.Second
)

// findRedisServer returns the path of the installed redis-server. It returns ErrRedisMissing, or ErrUnsafeRedis when it
// is too old.
func findRedisServer(ctx context.Context) (string, error) {
	path, err := exec.LookPath(redisBinary)
	if err != nil {
		return "", events.Errorf(ErrRedisMissing, "%s is not in PATH; nothing was started", redisBinary).
			Hint("Install it (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), or choose %s.", ModeMini)
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", redisFailed("%s --version: %w", path, err)
	}
	if v := printedVersion(string(out)); olderThan(v, minRedis) {
		return "", events.Errorf(ErrUnsafeRedis, "%s is version %s, older than %s; nothing was started", path, v, minRedis).
			Hint("Install a newer one, or choose %s.", ModeMini)
	}
	return path, nil
}

// printedVersion returns the version in "Redis server v=7.0.15 sha=…", or "". A fork that prints something else is
// started, and judged by what it can do.
func printedVersion(out string) string {
	for _, word := range strings.Fields(out) {
		if v, ok := strings.CutPrefix(word, "v="); ok {
			return v
		}
	}
	return ""
}

// olderThan compares the first two numbers of dotted versions. What cannot be read is not older.
func olderThan(version, than string) bool {
	v, ok := majorMinor(version)
	t, known := majorMinor(than)
	return ok && known && (v[0] < t[0] || v[0] == t[0] && v[1] < t[1])
}

func majorMinor(version string) (n [2]int, ok bool) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return n, false
	}
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(parts[i]); err != nil {
			return n, false
		}
	}
	return n, true
}
