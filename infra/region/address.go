package region

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tidemark.dev/events"
)

// Address is what another process needs to use a running region. It holds secrets: it is written with mode 0600 and never printed whole.
type Address struct {
	Region      string `json:"region"`
	Origin      string `json:"origin,omitempty"` // default: the leader's name
	Leader      string `json:"leader,omitempty"` // default: the region itself
	NATS        string `json:"nats"`             // URL without credentials
	User        string `json:"user,omitempty"`
	Password    string `json:"password,omitempty"`
	Redis       string `json:"redis"` // redis:// or unix:// URL
	RedisPrefix string `json:"redis_prefix,omitempty"`
	GroupCommit bool   `json:"group_commit,omitempty"` // see Config
	HTTP        string `json:"http,omitempty"`         // base URL of the HTTP API
	PID         int    `json:"pid,omitempty"`
}

const (
	// ErrNotRunning says that no running region was found where it was looked for.
	ErrNotRunning = events.Code("not-running")

	addressFile = "region.json"
)

// Codes lists every code of this package.
func Codes() []events.Code { return []events.Code{ErrNotRunning} }

// Config returns how a client uses the region.
func (a Address) Config() Config {
	return Config{
		Name: a.Region, Origin: a.Origin, Leader: a.Leader, Role: Client, NATS: a.NATS, User: a.User, Password: a.Password, Redis: a.Redis,
		RedisPrefix: a.RedisPrefix, GroupCommit: a.GroupCommit,
	}
}

// Leads reports whether the region's copy of the log accepts the writes.
func (a Address) Leads() bool { return a.Leader == "" || a.Leader == a.Region }

// Save writes the address into a data directory, readable by its owner only, in one step.
func (a Address) Save(dir string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, addressFile+".new")
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, addressFile))
}

// RemoveAddress says that the region of a data directory no longer runs.
func RemoveAddress(dir string) error {
	err := os.Remove(filepath.Join(dir, addressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Find reads the address of a region that runs on this machine, below a data directory: the one of that name or, without a name, the one that
// leads the log. One whose process has ended is found only where there is no other. The directory of a single region does too. It returns ErrNotRunning.
func Find(dir, name string) (Address, error) {
	names := Running(dir)
	if len(names) == 0 {
		return LoadAddress(dir) // or why there is none
	}
	if name != "" && !slices.Contains(names, name) {
		return Address{}, events.Errorf(ErrNotRunning, "no region %s runs in %s; there is %s", name, dir, strings.Join(names, ", ")).
			Hint("Name one of them with --region.")
	}
	var dead *Address
	for _, n := range names {
		if name != "" && n != name {
			continue
		}
		a, err := LoadAddress(filepath.Join(dir, n))
		switch {
		case err != nil && name != "":
			return a, err
		case err != nil || name == "" && !a.Leads():
		case a.PID == 0 || Alive(a.PID):
			return a, nil
		case dead == nil:
			dead = &a
		}
	}
	if dead != nil {
		return *dead, nil // whoever connects finds out, and says so
	}
	return Address{}, events.Errorf(ErrNotRunning, "none of the regions %s that run in %s leads the log", strings.Join(names, ", "), dir).
		Hint("Name one of them with --region.")
}

// Alive reports whether a process runs, as far as can be told.
func Alive(pid int) bool {
	process, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = process.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}

// Running returns the names of the regions that run below a data directory, sorted.
func Running(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "*", addressFile))
	for i, f := range found {
		found[i] = filepath.Base(filepath.Dir(f))
	}
	return found
}

// LoadAddress reads the address of the region that runs on a data directory, or returns ErrNotRunning.
func LoadAddress(dir string) (Address, error) {
	var a Address
	text, err := os.ReadFile(filepath.Join(dir, addressFile)) //nolint:gosec // the caller's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return a, events.Errorf(ErrNotRunning, "no running region was found in %s", dir).
			Hint("Start one with tidemark up, or say where it is with --dir, or --nats and --redis.")
	}
	if err != nil {
		return a, events.Errorf(ErrNotRunning, "the address of the running region cannot be read: %w", err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, events.Errorf(ErrNotRunning, "the address file in %s cannot be read: %w", dir, err)
	}
	return a, nil
}
