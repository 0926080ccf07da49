//go:build unix

package embedded

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

func TestOpenDirMakesAPrivateDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "us")
	d := openDir(t, path)
	if d.Path() != path {
		t.Errorf("path is %s, want %s", d.Path(), path)
	}
	wantMode(t, path, 0o700)
	wantMode(t, filepath.Join(path, lockFile), 0o600)
}

func TestDirHeldByAnotherProcessIsRefusedByName(t *testing.T) {
	path := t.TempDir()
	p := startHelper(t, "lock", path)
	p.line(t)
	_, err := OpenDir(path)
	wantCode(t, err, ErrDirInUse, path, "process "+strconv.Itoa(p.cmd.Process.Pid), filepath.Base(p.cmd.Path), "Stop that process")

	p.kill(t)
	openDir(t, path) // the kernel dropped the lock
}

func TestDirHeldTwiceInOneProcessIsRefused(t *testing.T) {
	path := t.TempDir()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenDir(path)
	wantCode(t, err, ErrDirInUse, "process "+strconv.Itoa(os.Getpid()))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	openDir(t, path)
	_, _, err = d.claim("nats")
	wantCode(t, err, events.ErrClosed)
}

func TestDirThatOthersCanChangeIsRefused(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "something"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o770); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(path)
	wantCode(t, err, ErrUnsafeDir, path, "0770", "chmod go-w")
}

func TestEmptyDirThatOthersCanChangeIsMadePrivate(t *testing.T) {
	path := t.TempDir()
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	openDir(t, path)
	wantMode(t, path, 0o700)
}

func TestDirThatIsAFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenDir(path)
	wantCode(t, err, ErrUnsafeDir, path)
}

func TestServerHasItsPlaceInTheDirOnce(t *testing.T) {
	d := openDir(t, natstest.StoreDir(t))
	sub, release, err := d.claim("nats")
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, sub, 0o700)
	_, _, err = d.claim("nats")
	wantCode(t, err, ErrDirInUse, "nats")
	wantCode(t, d.Close(), ErrDirInUse, "nats")
	release()
	_, release, err = d.claim("nats")
	if err != nil {
		t.Fatal(err)
	}
	release()
}

func TestNoteInTheLockHoldsNoArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "unknown"},
		{[]string{"/usr/bin/tidemark"}, "tidemark"},
		{[]string{"tidemark", "up", "--redis", "redis://:secret@host"}, "tidemark up"},
		{[]string{"tidemark", "up", "redis://:secret@host", "more"}, "tidemark up"},
		{[]string{"tidemark", "Secret1"}, "tidemark"},
		{[]string{"a", "b", "c", "d", "e", "f"}, "a b c d"},
	} {
		if got := command(c.args); got != c.want {
			t.Errorf("command(%q) = %q, want %q", c.args, got, c.want)
		}
	}
}

func TestCodesAreCompleteAndDistinct(t *testing.T) {
	seen := make(map[events.Code]bool)
	for _, c := range append(Codes(), events.Codes()...) {
		if seen[c] {
			t.Errorf("code %s is there twice", c)
		}
		seen[c] = true
	}
	if len(Codes()) != 9 {
		t.Errorf("%d codes; a new one belongs into Codes and into this number", len(Codes()))
	}
}
