package command_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	help := want(t, cli(t, "", "help"), 0).out
	for _, name := range []string{"up", "demo", "publish", "import", "get", "list", "count", "watch", "history", "status", "verify", "repair", "replay", "snapshot", "parked", "projection", "config"} {
		if !regexp.MustCompile(`(?m)^  ` + name + ` +\S`).MatchString(help) {
			t.Errorf("help does not list %s", name)
		}
		if out := want(t, cli(t, "", name, "--help"), 0).out; !strings.Contains(out, "Examples:\n  tidemark "+name) {
			t.Errorf("the help of %s has no example:\n%s", name, out)
		}
	}
	for _, command := range []string{"replay list", "replay show", "replay rollback", "replay drop", "snapshot take", "snapshot list", "snapshot delete", "snapshot copy"} {
		if out := want(t, cli(t, "", append(strings.Fields(command), "--help")...), 0).out; !strings.Contains(out, "Examples:\n  tidemark "+command) {
			t.Errorf("the help of %s has no example:\n%s", command, out)
		}
	}
	for _, command := range []string{"version", "completion"} {
		if !strings.Contains(help, command) {
			t.Errorf("help does not list %s", command)
		}
	}
}

func TestVersionSaysWhichProgramThisIs(t *testing.T) {
	if out := want(t, cli(t, "", "version"), 0).out; !strings.HasPrefix(out, "tidemark ") || !strings.Contains(out, "go1.") {
		t.Errorf("version printed %q", out)
	}
	if v := decode[struct{ Go string }](t, want(t, cli(t, "", "version", "-o", "json"), 0).out); !strings.HasPrefix(v.Go, "go1.") {
		t.Errorf("version answered %+v", v)
	}
}

func TestProjectionsAreCompleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	for _, name := range []string{"get", "list", "replay", "repair"} {
		eventually(t, name+" is completed", func() (bool, string) {
			r := want(t, cli(t, "", "__complete", "--dir", dir, name, ""), 0)
			return strings.HasPrefix(r.out, "airports\nroutes\n") || name == "replay" && strings.Contains(r.out, "\nairports\nroutes\n"), fmt.Sprint(r) // beside its own commands
		})
	}
	if out := want(t, cli(t, "", "__complete", "--dir", dir, "repair", "--region", ""), 0).out; !strings.HasPrefix(out, "us\n") {
		t.Errorf("the completion of regions is %q", out)
	}
	if out := want(t, cli(t, "", "__complete", "--dir", t.TempDir(), "get", ""), 0).out; !strings.HasPrefix(out, ":4") {
		t.Errorf("without a region the completion is %q", out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if want(t, cli(t, "", "completion", shell), 0).out == "" {
			t.Errorf("there is no completion for %s", shell)
		}
	}
}

func TestErrorsArePlainTextOrJSON(t *testing.T) {
	dir := t.TempDir()
	plain := want(t, cli(t, "", "get", "airports", "ORD", "--dir", dir), 3)
	if !regexp.MustCompile(`^tidemark: not-running: no running region was found in \S+\. Start one .*\n$`).MatchString(plain.err) || plain.out != "" {
		t.Errorf("the error is %q", plain.err)
	}
	if p := want(t, cli(t, "", "get", "airports", "ORD", "--dir", dir, "-o", "json"), 3).problem(t); p.Error.Code != "not-running" || p.Error.Next == "" {
		t.Errorf("the error is %+v", p)
	}
	if r := want(t, cli(t, "", "status", "-o", "yaml"), 2); !strings.Contains(r.err, "usage") {
		t.Errorf("the error is %q", r.err)
	}
}
