package topology_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/topology"
)

const hidden = "hunter2"

func TestASecretIsReadFromWhereItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := topology.Environment{"A=first", "A=" + hidden, "B="}
	read := func(s topology.Secret) string {
		t.Helper()
		r, err := s.Resolve(env)
		if err != nil {
			t.Fatal(err)
		}
		return r.Reveal()
	}
	if got := read(topology.Secret{Env: "A"}); got != hidden {
		t.Errorf("the secret is %q", got)
	}
	if got := read(topology.Secret{}); got != "" {
		t.Errorf("no secret is %q", got)
	}
	for _, c := range [][2]string{{hidden, hidden}, {hidden + "\n", hidden}, {hidden + "\r\n", hidden}, {" a b \n\n", " a b \n"}} {
		write(c[0])
		if got := read(topology.Secret{File: file}); got != c[1] {
			t.Errorf("the file %q gives %q, want %q", c[0], got, c[1])
		}
	}
}

func TestASecretThatCannotBeReadIsNamedByItsReference(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		secret topology.Secret
		code   events.Code
		says   string
	}{
		"not set":       {topology.Secret{Env: "NOT_THERE"}, topology.ErrSecret, "$NOT_THERE is not set"},
		"empty":         {topology.Secret{Env: "EMPTY"}, topology.ErrSecret, "$EMPTY is empty"},
		"no file":       {topology.Secret{File: folder + "/none"}, topology.ErrSecret, folder + "/none: no such file"},
		"a folder":      {topology.Secret{File: folder}, topology.ErrSecret, "no regular file"},
		"a pipe":        {topology.Secret{File: pipe}, topology.ErrSecret, "no regular file"},
		"an empty file": {topology.Secret{File: write("empty", "\n", 0o600)}, topology.ErrSecret, "is empty"},
		"a large file":  {topology.Secret{File: write("large", strings.Repeat("x", topology.MaxSecretBytes+1), 0o600)}, topology.ErrSecret, "more than"},
		"world read":    {topology.Secret{File: write("read", hidden, 0o604)}, topology.ErrSecretExposed, "mode 0604"},
		"world write":   {topology.Secret{File: write("write", hidden, 0o602)}, topology.ErrSecretExposed, "mode 0602"},
		"both":          {topology.Secret{Env: "A", File: "b"}, topology.ErrSecret, "neither"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := c.secret.Resolve(topology.Environment{"EMPTY="})
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), hidden) || !r.IsZero() {
				t.Errorf("the error is %v, want %s saying %q", err, c.code, c.says)
			}
		})
	}
	if _, err := (topology.Secret{File: write("group", hidden, 0o640)}).Resolve(nil); err != nil {
		t.Errorf("a file that a group can read is refused: %v", err)
	}
}

// TestNoWayOfPrintingShowsASecret: in a message, in a structure, in JSON, in a log.
func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	r, err := topology.Secret{Env: "A"}.Resolve(topology.Environment{"A=" + hidden})
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Password topology.Revealed
		pointer  *topology.Revealed
	}
	h := holder{r, &r}
	var printed []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, r), fmt.Sprintf(verb, &r), fmt.Sprintf(verb, h.Password), fmt.Sprintf(verb, []topology.Revealed{r}))
	}
	printed = append(printed, fmt.Sprintf("%+v", h), fmt.Sprintf("%#v", h), r.String(), fmt.Sprint(h.pointer), fmt.Sprintln(map[string]any{"p": r}))
	text, err := json.Marshal(map[string]any{"p": r, "q": &r, "h": h})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(map[topology.Revealed]int{r: 1})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("x", "p", r, "q", &r, "h", h, "any", []any{r})
	}
	for _, s := range append(printed, string(text), string(keys), log.String()) {
		if strings.Contains(s, hidden) || strings.Contains(s, "68756e74657232") || strings.Contains(strings.ToLower(s), "0x68") {
			t.Errorf("the secret is in %q", s)
		}
		if strings.TrimSpace(s) == "" {
			t.Error("nothing is printed in its place")
		}
	}
	if r.Reveal() != hidden || r.IsZero() {
		t.Error("Reveal does not show it")
	}
	// The reference may be shown.
	if s := (topology.Secret{Env: "A"}).String(); s != "$A" {
		t.Errorf("the reference is %q", s)
	}
	if s := (topology.Secret{File: "/x"}).String() + " " + (topology.Secret{}).String(); s != "file /x none" {
		t.Errorf("the reference is %q", s)
	}
}

// TestASecretInTheWrongPlaceIsNotRepeated: a person who writes a password where a reference belongs must not find it in a log.
func TestASecretInTheWrongPlaceIsNotRepeated(t *testing.T) {
	for name, c := range map[string]struct{ old, new, code string }{
		"as a text":            {"nats-us:4222]", "nats-us]\n      user: u\n      password: " + hidden, "config-literal-secret"},
		"as a number":          {"nats-us:4222]", "nats-us]\n      user: u\n      password: 12", "config-literal-secret"},
		"as a list":            {"nats-us:4222]", "nats-us]\n      user: u\n      password: [" + hidden + "]", "config-literal-secret"},
		"as a key":             {"nats-us:4222]", "nats-us]\n      user: u\n      password: {" + hidden + ": x}", "config-unknown-key"},
		"as a name":            {"nats-us:4222]", "nats-us]\n      user: u\n      password: {env: " + hidden + "}", "config-bad-value"},
		"in a URL of NATS":     {"nats://nats-us", "nats://u:" + hidden + "@nats-us", "config-literal-secret"},
		"as a token":           {"nats://nats-us", "nats://" + hidden + "@nats-us", "config-literal-secret"},
		"in a URL of Redis":    {"redis://redis-us", "redis://:" + hidden + "@redis-us", "config-literal-secret"},
		"in a bad URL":         {"redis://redis-us", "redis://:" + hidden + "%zz@redis-us", "config-literal-secret"},
		"in a URL of a socket": {"redis://redis-us:6379", "'unix:///run/s?password=" + hidden + "'", "config-bad-value"},
		"in HTTP":              {"origins:", "    http: http://u:" + hidden + "@h\norigins:", "config-literal-secret"},
		"without a scheme":     {"nats://nats-us", "u:" + hidden + "@nats-us", "config-literal-secret"},
		"as a domain":          {"nats-us:4222]", "nats-us]\n      domain: " + hidden + "!", "config-bad-value"},
		"as a user":            {"nats-us:4222]", "nats-us]\n      user: " + hidden, "config-contradiction"},
	} {
		t.Run(name, func(t *testing.T) {
			_, all := findings(t, strings.Replace(small, c.old, c.new, 1))
			if len(all) != 1 || string(all[0].Code) != c.code || strings.Contains(fmt.Sprint(all), hidden) {
				t.Errorf("the findings are %v, want %s", all, c.code)
			}
		})
	}
}
