package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sum feeds lines to the command and returns its exit code and output.
func sum(lines ...string) (code int, output string) {
	var out bytes.Buffer
	code = run(strings.NewReader(strings.Join(lines, "\n")), &out)
	return code, out.String()
}

// expect checks the exit code, the last line, and that each part is in the output.
func expect(t *testing.T, code int, output string, wantCode int, last string, parts ...string) {
	t.Helper()
	if code != wantCode || !strings.HasSuffix(output, "\n"+last+"\n") {
		t.Errorf("code %d, want %d, and last line %q in:\n%s", code, wantCode, last, output)
	}
	for _, part := range parts {
		if !strings.Contains(output, part) {
			t.Errorf("%q is not in:\n%s", part, output)
		}
	}
}

func TestPassedTestsAreCountedAndTheirOutputIsDropped(t *testing.T) {
	code, output := sum(
		`{"Action":"start","Package":"a"}`,
		`{"Action":"run","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"chatter\n"}`,
		`{"Action":"pass","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Output":"PASS\n"}`,
		`{"Action":"pass","Package":"a","Elapsed":1.25}`,
		`{"Action":"exit","Package":"go test work","Code":0}`,
	)
	expect(t, code, output, exitOK, "1 passed, 0 failed", "ok       1.2s  a: 1 passed\n")
	if strings.Contains(output, "chatter") {
		t.Errorf("output of a passed test in:\n%s", output)
	}
}

func TestAFailedTestIsShownWithItsOutput(t *testing.T) {
	code, output := sum(
		`{"Action":"run","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"=== RUN   TestX\n"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"got 1, want 2\n"}`,
		`{"Action":"fail","Package":"a","Test":"TestX"}`,
		`{"Action":"fail","Package":"a"}`,
		`{"Action":"exit","Package":"go test work","Code":1}`,
	)
	expect(t, code, output, exitFailed, "0 passed, 1 failed",
		"--- a TestX failed\ngot 1, want 2\n", "not passed:\n  a TestX failed\n")
}

func TestASkippedTestHasFailed(t *testing.T) {
	code, output := sum(
		`{"Action":"run","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"no server\n"}`,
		`{"Action":"skip","Package":"a","Test":"TestX"}`,
		`{"Action":"pass","Package":"a"}`,
	)
	expect(t, code, output, exitFailed, "0 passed, 1 failed", "a TestX skipped: every test has to run\nno server\n")
}

func TestATestWithoutAnEndHasFailed(t *testing.T) {
	code, output := sum(
		`{"Action":"run","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Test":"TestX","Output":"panic: ouch\n"}`,
		`{"Action":"fail","Package":"a"}`,
	)
	expect(t, code, output, exitFailed, "0 passed, 1 failed", "a TestX did not finish\npanic: ouch\n")
}

func TestAPackageWithoutAnEndHasFailed(t *testing.T) {
	code, output := sum(
		`{"Action":"start","Package":"a"}`,
		`{"Action":"run","Package":"a","Test":"TestX"}`,
		`{"Action":"pass","Package":"a","Test":"TestX"}`,
		`{"Action":"output","Package":"a","Output":"so far"}`,
	)
	expect(t, code, output, exitFailed, "1 passed, 1 failed", "the run ended before this package did\n")
}

func TestABuildThatFailedIsOneFailure(t *testing.T) {
	code, output := sum(
		`{"ImportPath":"a [a.test]","Action":"build-output","Output":"a.go:5: undefined: x\n"}`,
		`{"ImportPath":"a [a.test]","Action":"build-fail"}`,
		`{"Action":"output","Package":"a","Output":"FAIL\ta [build failed]\n"}`,
		`{"Action":"fail","Package":"a","FailedBuild":"a [a.test]"}`,
	)
	expect(t, code, output, exitFailed, "0 passed, 1 failed", "a.go:5: undefined: x\n", "not passed:\n  a\n")
}

func TestARunOfGoTestThatFailedBesideItsTestsIsOneFailure(t *testing.T) {
	code, output := sum(
		`go: go.mod is broken`,
		`{"Action":"exit","Package":"go test work","Code":1}`,
	)
	expect(t, code, output, exitFailed, "0 passed, 1 failed", "go: go.mod is broken\n", "go test ended with code 1\n")
}

func TestAFailureReportedByTheCallerIsCounted(t *testing.T) {
	code, output := sum(
		`{"Action":"pass","Package":"a","Test":"TestX"}`,
		`{"Action":"pass","Package":"a"}`,
		`{"Action":"fail","Package":"processes left running","Output":"12 redis-server\n"}`,
	)
	expect(t, code, output, exitFailed, "1 passed, 1 failed", "12 redis-server\n", "not passed:\n  processes left running\n")
}

func TestARunOfNothingDoesNotPass(t *testing.T) {
	code, output := sum(
		`{"Action":"start","Package":"a"}`,
		`{"Action":"output","Package":"a","Output":"?   \ta\t[no test files]\n"}`,
		`{"Action":"skip","Package":"a"}`,
	)
	expect(t, code, output, exitNothing, "0 passed, 0 failed", "none           a\n")
	if code, output := sum(); code != exitNothing || output == "" {
		t.Errorf("no input: code %d, output %q", code, output)
	}
}

func TestBenchmarksAreShownAndNotCounted(t *testing.T) {
	code, output := sum(
		`{"Action":"pass","Package":"a","Test":"TestX"}`,
		`{"Action":"run","Package":"a","Test":"BenchmarkX"}`,
		`{"Action":"output","Package":"a","Test":"BenchmarkX","Output":"BenchmarkX-2 \t12 ns/op\n"}`,
		`{"Action":"pass","Package":"a"}`,
	)
	expect(t, code, output, exitOK, "1 passed, 0 failed", "BenchmarkX-2 \t12 ns/op\n")
}

// The other tests know the events from their documentation; this one from the go command.
func TestTheEventsOfTheGoCommandAreUnderstood(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":           "module x\n\ngo 1.26.0\n",
		"none/none.go":     "package none\n",
		"broken/x_test.go": "package broken\n\nvar x int = \"\"\n",
		"some/some_test.go": `package some

import "testing"

func TestGood(t *testing.T) { t.Run("part", func(*testing.T) {}) }
func TestBad(t *testing.T)  { t.Error("boom") }
func TestSkip(t *testing.T) { t.Skip("not today") }
func TestPanic(t *testing.T) { panic("ouch") }
`,
	} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	events, err := cmd.Output()
	if err == nil {
		t.Fatalf("go test passed:\n%s", events)
	}
	code, output := sum(string(events))
	expect(t, code, output, exitFailed, "2 passed, 4 failed",
		"none           x/none\n", "x/some TestBad failed\n    some_test.go:6: boom\n",
		"x/some TestSkip skipped", "x/some TestPanic", "panic: ouch", "  x/broken\n")
}
