package command_test

import (
	"bytes"
	"encoding/json"
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
	for _, redis := range []string{"server", "mini"} {
		t.Run(redis, func(t *testing.T) {
			temp := t.TempDir()
			run := func(args ...string) string {
				cmd := exec.CommandContext(t.Context(), program, append([]string{"demo", "--redis", redis}, args...)...)
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
			var s demo.Summary
			if err := json.Unmarshal([]byte(run("-o", "json")), &s); err != nil {
				t.Fatal(err)
			}
			if s.Events != 2*flights.Count+501 || s.Airports != 225 || s.Routes != 2977 || !s.DigestsEqual || !s.DocumentsSame || s.Found != 1 || s.Repaired != 1 || !s.MarkEqual {
				t.Errorf("summary: %+v", s)
			}
			text := run()
			if !strings.Contains(text, "All of it held") || strings.Count(text, "\n") > 40 {
				t.Errorf("the story is:\n%s", text)
			}
		})
	}
}
