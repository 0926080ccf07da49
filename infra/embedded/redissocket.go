package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

const (
	redisSocket = "redis.sock"
	// maxSocketPath is below what every system allows in a socket's address (104 bytes on macOS, 108 on Linux).
	maxSocketPath = 100
	shortPrefix   = "tidemark-"
)

// makeSocketPath returns the path of the server's socket: redis.sock in the data directory. Where that is too long for a
// socket, the socket is in a fresh private directory with a short path, and redis.sock is a symbolic link to it, so that
// the next start finds what a crash left behind.
func makeSocketPath(dir string) (string, error) {
	link := filepath.Join(dir, redisSocket)
	if len(link) <= maxSocketPath {
		return link, nil
	}
	short, err := shortDir()
	if err != nil {
		return "", redisFailed("make a directory for the socket of the private redis-server: %w", err)
	}
	socket := filepath.Join(short, redisSocket)
	if err := os.Symlink(socket, link); err != nil {
		return "", errors.Join(redisFailed("link the socket of the private redis-server: %w", err), os.Remove(short))
	}
	return socket, nil
}

// shortDir makes a directory with mode 0700 and a short path.
func shortDir() (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		const random = "0123456789" // os.MkdirTemp puts up to ten digits
		if len(filepath.Join(parent, shortPrefix+random, redisSocket)) <= maxSocketPath {
			return os.MkdirTemp(parent, shortPrefix)
		}
	}
	return "", errors.New("the path of the temporary directory is too long; set TMPDIR to a shorter one")
}

// leftSocket returns the path of the socket that an earlier start has left, or "".
func leftSocket(dir string) string {
	link := filepath.Join(dir, redisSocket)
	if target, err := os.Readlink(link); err == nil {
		return target
	}
	if _, err := os.Lstat(link); err == nil {
		return link
	}
	return ""
}

// removeSocket removes the socket, and the link and the short directory if there are any. That directory is removed only
// when it is empty and ours by name.
func removeSocket(dir string) error {
	link := filepath.Join(dir, redisSocket)
	var err error
	if target, lerr := os.Readlink(link); lerr == nil {
		err = remove(target)
		if short := filepath.Dir(target); err == nil && strings.HasPrefix(filepath.Base(short), shortPrefix) {
			err = remove(short)
		}
	}
	return errors.Join(err, remove(link))
}

// remove is os.Remove for something that may be gone.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
