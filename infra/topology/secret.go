package topology

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"tidemark.dev/events"
)

// MaxSecretBytes bounds a file with a secret.
const MaxSecretBytes = 64 << 10

// redacted stands where a secret would.
const redacted = "[redacted]"

// Secret says where a secret is: in a variable of the environment, or in a file. It never holds the secret.
type Secret struct {
	Env  string `json:"env,omitempty"`
	File string `json:"file,omitempty"`
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// String returns the reference: "$NAME", "file PATH", or "none".
func (s Secret) String() string {
	switch {
	case s.Env != "":
		return "$" + s.Env
	case s.File != "":
		return "file " + s.File
	}
	return "none"
}

// Resolve reads the secret. A file is read anew at each call, without the line end that ends it, so a password can be changed while a service
// runs. Errors name the reference, never what it refers to: ErrSecret, ErrSecretExposed. The secret of a zero Secret is empty.
func (s Secret) Resolve(env Environment) (Revealed, error) {
	switch {
	case s.IsZero():
		return Revealed{}, nil
	case s.Env != "" && s.File != "":
		return Revealed{}, secretError("the secret is said to be in $%s and in the file %s; it was read from neither", s.Env, s.File).
			Hint("Keep one of them.")
	case s.Env != "":
		value, set := env.Lookup(s.Env)
		switch {
		case !set:
			return Revealed{}, secretError("the secret cannot be read: $%s is not set", s.Env).Hint("Set it in the environment of this process.")
		case value == "":
			return Revealed{}, secretError("the secret cannot be read: $%s is empty", s.Env).Hint("Set it in the environment of this process.")
		}
		return Revealed{value}, nil
	}
	return readSecret(s.File)
}

func readSecret(name string) (Revealed, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return Revealed{}, secretError("the secret cannot be read: file %s: %w", name, bare(err)).Hint("Put it there, readable by this process's user.")
	case !info.Mode().IsRegular():
		return Revealed{}, secretError("the secret cannot be read: %s is no regular file", name)
	case exposed(name, info.Mode()):
		return Revealed{}, exposedError("the secret", name, info.Mode())
	}
	f, err := os.Open(name) //nolint:gosec // the operator's own file
	if err != nil {
		return Revealed{}, secretError("the secret cannot be read: file %s: %w", name, bare(err)).Hint("Make it readable by this process's user.")
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, MaxSecretBytes+1))
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case err != nil:
		return Revealed{}, secretError("the secret cannot be read: file %s: %w", name, bare(err))
	case len(text) > MaxSecretBytes:
		return Revealed{}, secretError("the secret cannot be read: the file %s has more than %d bytes", name, MaxSecretBytes)
	case value == "":
		return Revealed{}, secretError("the secret cannot be read: the file %s is empty", name)
	}
	return Revealed{value}, nil
}

func exposedError(what, name string, mode fs.FileMode) error {
	return events.Errorf(ErrSecretExposed, "%s was not read: the file %s is open to every user of this machine (mode %04o)", what, name, mode.Perm()).
		Hint("Run chmod o-rwx on it; if it was so for long, change the secret.")
}

// exposed reports whether every user of the machine can read or write a file. Where Docker and Kubernetes mount secrets the mode is theirs
// (0444, 0644) and the container is the wall, so only being writable counts there.
func exposed(name string, mode fs.FileMode) bool {
	const othersRead, othersWrite = 0o004, 0o002
	clean := path.Clean(filepath.ToSlash(name))
	for _, mount := range [...]string{"/run/secrets/", "/var/run/secrets/"} {
		if strings.HasPrefix(clean, mount) {
			return mode.Perm()&othersWrite != 0
		}
	}
	return mode.Perm()&(othersRead|othersWrite) != 0
}

// bare returns the cause of an error about a file, whose text repeats the file's name.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Revealed is a secret that was read. No way to print, log or marshal it shows it; Reveal does.
type Revealed struct{ text string }

// Reveal returns the secret.
func (r Revealed) Reveal() string { return r.text }

// IsZero reports whether there is no secret.
func (r Revealed) IsZero() bool { return r.text == "" }

// Format writes "[redacted]", whatever the verb.
func (r Revealed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns "[redacted]".
func (r Revealed) String() string { return redacted }

// MarshalText returns "[redacted]", for JSON and the like.
func (r Revealed) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (r Revealed) LogValue() slog.Value { return slog.StringValue(redacted) }
