package command_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"tidemark.dev/projections/flights"
	"tidemark.dev/services/internal/demo"
)

// TestTheDemoHolds runs the program as a user does. It is built without the race detector, under which a broker in the
// same process is twenty times slower.
func TestTheDemoHolds(t *testing.T) {
	program := build(t)
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		temp := t.TempDir()
		cmd := exec.CommandContext(t.Context(), program, append([]string{"demo"}, args...)...)
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil || errs.Len() != 0 {
			t.Fatalf("%v\n%s\n%s", err, &out, &errs)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		return out.String()
	}
	t.Run("as JSON, with redis-server", func(t *testing.T) {
		s := decode[demo.Summary](t, run(t, "--redis", "server", "-o", "json"))
		if s.Events != 2*flights.Count+501 || s.Airports != 225 || s.Routes != 2977 || !s.DigestsEqual || !s.DocumentsSame || s.Found != 1 || s.Repaired != 1 || !s.MarkEqual {
			t.Errorf("summary: %+v", s)
		}
	})
	t.Run("as a story, with a store in memory", func(t *testing.T) {
		text := run(t, "--redis", "mini")
		if !strings.Contains(text, "All of it held") || strings.Count(text, "\n") > 40 {
			t.Errorf("the story is:\n%s", text)
		}
	})
}
