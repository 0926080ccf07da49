package embedded

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"tidemark.dev/events"
)

const (
	credentialsFile = "credentials.json"
	passwordBytes   = 32 // 256 random bits: guessing is hopeless, and the text stays below bcrypt's 72 bytes
)

// newPassword returns a random password that needs no escaping in a URL, a shell or a configuration file.
func newPassword() string {
	b := make([]byte, passwordBytes)
	_, _ = rand.Read(b) // never fails: the runtime ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// loadCredentials returns the password of each user, kept in a file that only this user can read. Passwords that are
// missing are made and stored before they are returned, so that a second start has the same ones.
func loadCredentials(dir string, users ...string) (map[string]string, error) {
	path := filepath.Join(dir, credentialsFile)
	passwords := make(map[string]string)
	switch b, err := os.ReadFile(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, events.Errorf(ErrBadCredentials, "read the passwords: %w", err)
	default:
		if err := json.Unmarshal(b, &passwords); err != nil {
			// The cause is left out: it may repeat a part of the file.
			return nil, events.Errorf(ErrBadCredentials, "%s is damaged; nothing was started", path).
				Hint("Delete it: new passwords are made at the next start. The data does not depend on them.")
		}
		// Somebody may have copied the file about and opened it on the way.
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, events.Errorf(ErrBadCredentials, "protect the passwords: %w", err)
		}
	}
	made := false
	for _, u := range users {
		if passwords[u] == "" {
			passwords[u], made = newPassword(), true
		}
	}
	if !made {
		return passwords, nil
	}
	if err := storeCredentials(path, passwords); err != nil {
		return nil, events.Errorf(ErrBadCredentials, "store the passwords: %w", err)
	}
	return passwords, nil
}

// storeCredentials replaces the file in one step: a crash leaves the old one or the new one.
func storeCredentials(path string, passwords map[string]string) (err error) {
	b, err := json.MarshalIndent(passwords, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), credentialsFile+".*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(append(b, '\n')); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
