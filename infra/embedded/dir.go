package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tidemark.dev/events"
)

const (
	lockFile     = "lock"
	maxLockBytes = 4 << 10 // a note about the holder is far below; anything larger was not written by us
	maxCommand   = 4       // words of the command line that the note repeats
)

// Dir is a data directory that this process holds. It is held until Close, or until the process ends in whatever way.
//
//	lock                 the lock, with a note about its holder
//	nats/                JetStream's store, and the passwords
//	redis/, redis.sock   the append-only file and log of a private redis-server, and its socket
type Dir struct {
	path string
	lock *os.File

	mu      sync.Mutex
	claimed map[string]bool // servers of the directory that run in this process
}

// holder is the note in the lock file: for the person who meets the lock, never for deciding anything.
type holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// OpenDir creates the directory with mode 0700 if it does not exist, and takes its lock. It returns ErrDirInUse, naming
// the holder, when another process (or another Dir in this one) has it, and ErrUnsafeDir when the directory cannot be
// made, is no directory, or lets other users change what is in it.
func OpenDir(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, events.Errorf(ErrUnsafeDir, "data directory %s: %w", path, err)
	}
	if err := privateRoot(abs); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(abs, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, events.Errorf(ErrUnsafeDir, "data directory %s: open its lock: %w", abs, err).
			Hint("Choose a directory that this user can write to.")
	}
	switch err := tryLock(f); {
	case errors.Is(err, errLocked):
		e := events.Errorf(ErrDirInUse, "data directory %s is in use by %s; nothing was started", abs, whoHolds(f)).
			Hint("Stop that process first, or choose another directory.")
		return nil, errors.Join(e, f.Close())
	case err != nil:
		e := events.Errorf(ErrUnsafeDir, "data directory %s: lock it: %w", abs, err).Hint("Choose a directory on a local file system.")
		return nil, errors.Join(e, f.Close())
	}
	d := &Dir{path: abs, lock: f, claimed: make(map[string]bool)}
	if err := d.note(holder{PID: os.Getpid(), Command: command(os.Args), Since: time.Now().UTC().Truncate(time.Second)}); err != nil {
		return nil, errors.Join(events.Errorf(ErrUnsafeDir, "data directory %s: write its lock: %w", abs, err), f.Close())
	}
	return d, nil
}

// Path returns the absolute path.
func (d *Dir) Path() string { return d.path }

// Close gives the directory up. End its servers first. The lock file stays, since removing it would let two processes
// hold two different files of that name.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range d.claimed {
		return events.Errorf(ErrDirInUse, "data directory %s: its %s server still runs; the directory is still held", d.path, name)
	}
	if d.lock == nil {
		return nil
	}
	err := errors.Join(d.lock.Truncate(0), d.lock.Close())
	d.lock = nil
	return err
}

// claim takes the place of one server of the directory and makes its subdirectory, which no other user may enter.
func (d *Dir) claim(name string) (sub string, release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.lock == nil:
		return "", nil, events.Errorf(events.ErrClosed, "data directory %s was closed; nothing was started", d.path)
	case d.claimed[name]:
		return "", nil, events.Errorf(ErrDirInUse, "data directory %s: its %s server runs already; no second one was started", d.path, name)
	}
	sub = filepath.Join(d.path, name)
	if err := privateSub(sub); err != nil {
		return "", nil, err
	}
	d.claimed[name] = true
	return sub, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.claimed, name)
	}, nil
}

// note writes who holds the lock.
func (d *Dir) note(h holder) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	_, err = d.lock.WriteAt(append(b, '\n'), 0)
	return err
}

// whoHolds reads the note. It may be missing for an instant, between another's lock and its note.
func whoHolds(f *os.File) string {
	var h holder
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxLockBytes))
	if err != nil || json.Unmarshal(b, &h) != nil || h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d (%s, since %s)", h.PID, h.Command, h.Since.Format(time.RFC3339))
}

// command shortens a command line to the program's name and its leading plain words, such as "tidemark up": what
// follows may hold a password, and the note is for people.
func command(args []string) string {
	if len(args) == 0 {
		return "unknown"
	}
	words := []string{filepath.Base(args[0])}
	for _, a := range args[1:] {
		if len(words) == maxCommand || a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz") != "" {
			break
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// privateRoot makes the data directory. One that exists is the user's: it is made private only while it is empty, and
// refused when others could exchange what is in it.
func privateRoot(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return events.Errorf(ErrUnsafeDir, "data directory %s: %w", path, err).Hint("Choose a directory that this user can create.")
	}
	info, err := os.Stat(path)
	if err != nil {
		return events.Errorf(ErrUnsafeDir, "data directory %s: %w", path, err)
	}
	const othersWrite = 0o022
	if info.Mode().Perm()&othersWrite == 0 {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return events.Errorf(ErrUnsafeDir, "data directory %s: %w", path, err)
	}
	if len(entries) == 0 && os.Chmod(path, 0o700) == nil {
		return nil
	}
	return events.Errorf(ErrUnsafeDir, "data directory %s has mode %04o: other users could exchange the files in it; nothing was started",
		path, info.Mode().Perm()).Hint("Run: chmod go-w %s, or choose another directory.", path)
}

// privateSub makes a directory of ours inside the data directory, with mode 0700 whatever it had before.
func privateSub(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err == nil {
		err = os.Chmod(path, 0o700)
	}
	if err != nil {
		return events.Errorf(ErrUnsafeDir, "data directory: %w", err).Hint("Choose a directory that this user can write to.")
	}
	return nil
}
