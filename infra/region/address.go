package region

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"tidemark.dev/events"
)

// Address is what another process needs to use a running region. It holds secrets: it is written with mode 0600 and never printed whole.
type Address struct {
	Region      string `json:"region"`
	NATS        string `json:"nats"` // URL without credentials
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
