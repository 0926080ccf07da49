package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clean returns a small tree, path to content, that keeps every rule.
func clean() map[string]string {
	return map[string]string{
		"events/go.mod":                "module tidemark.dev/events\n",
		"projections/go.mod":           "module tidemark.dev/projections\n",
		"infra/go.mod":                 "module tidemark.dev/infra\n",
		"services/go.mod":              "module tidemark.dev/services\n",
		"scripts/tools/go.mod":         "module tidemark.dev/tools\n",
		"scripts/tools/main.go":        imports("main", "github.com/nats-io/nats.go"),
		"events/event.go":              imports("events", "context", "crypto/sha256"),
		"events/event_test.go":         imports("events_test", "testing", "tidemark.dev/events", "tidemark.dev/events/memlog"),
		"events/memlog/log.go":         imports("memlog", "tidemark.dev/events"),
		"events/gen.go":                "//go:build ignore\n\n" + imports("main", "tidemark.dev/events"),
		"events/testdata/bad/bad.go":   imports("bad", "tidemark.dev/infra"),
		"projections/engine.go":        imports("projections", "go.yaml.in/yaml/v3", "tidemark.dev/events"),
		"infra/natslog/log.go":         imports("natslog", "github.com/nats-io/nats.go", "tidemark.dev/events"),
		"infra/redisstore/store.go":    imports("redisstore", "github.com/redis/go-redis/v9", "tidemark.dev/projections"),
		"services/projector/wire.go":   "//go:build wireinject\n\n" + imports("main", "github.com/google/wire", "tidemark.dev/infra/natslog"),
		"services/projector/main.go":   imports("main", "tidemark.dev/projections", "tidemark.dev/events"),
		"services/projector/doc.md":    "not Go",
		"services/.cache/ignored.go":   "not Go either",
		"services/_attic/forgotten.go": "nor this",
	}
}

func imports(pkg string, paths ...string) string {
	return "package " + pkg + "\n\nimport (\n\t\"" + strings.Join(paths, "\"\n\t\"") + "\"\n)\n"
}

// check runs the command over the clean tree with changes; an empty content removes a file.
func check(t *testing.T, changes map[string]string) (code int, output string) {
	t.Helper()
	root := t.TempDir()
	files := clean()
	maps.Copy(files, changes)
	for name, content := range files {
		if content == "" {
			continue
		}
		at := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	code = run([]string{root}, &out, &out)
	return code, out.String()
}

func TestACleanTreePasses(t *testing.T) {
	code, output := check(t, nil)
	if want := "import direction: ok, 4 modules, 9 files\n"; code != exitOK || output != want {
		t.Fatalf("code %d, output %q, want %q", code, output, want)
	}
}

func TestAViolationIsNamedWithFileLineAndImport(t *testing.T) {
	const (
		stdOnly   = "events may import the standard library only"
		noClients = "may not import clients of NATS or Redis: they belong in infra"
	)
	cases := []struct{ name, path, content, want string }{
		{"events imports infra", "events/x.go", imports("events", "context", "tidemark.dev/infra/lease"),
			"events/x.go:5: imports tidemark.dev/infra/lease: events may import no other module"},
		{"events imports a foreign module", "events/x.go", imports("events", "github.com/spf13/cobra"),
			"events/x.go:4: imports github.com/spf13/cobra: " + stdOnly},
		{"a test of events imports a foreign module", "events/x_test.go", imports("events_test", "github.com/stretchr/testify"),
			"events/x_test.go:4: imports github.com/stretchr/testify: " + stdOnly},
		{"events imports C", "events/x.go", imports("events", "C"),
			"events/x.go:4: imports C: " + stdOnly},
		{"projections imports infra", "projections/x.go", imports("projections", "tidemark.dev/infra"),
			"projections/x.go:4: imports tidemark.dev/infra: projections may import events only"},
		{"projections imports NATS", "projections/x.go", imports("projections", "github.com/nats-io/nats.go/jetstream"),
			"projections/x.go:4: imports github.com/nats-io/nats.go/jetstream: projections " + noClients},
		{"a test of projections imports Redis", "projections/x_test.go", imports("projections", "github.com/redis/go-redis/v9"),
			"projections/x_test.go:4: imports github.com/redis/go-redis/v9: projections " + noClients},
		{"infra imports services", "infra/x.go", imports("infra", "tidemark.dev/services/projector"),
			"infra/x.go:4: imports tidemark.dev/services/projector: infra may import events, projections only"},
		{"infra imports the tools", "infra/x.go", imports("infra", "tidemark.dev/tools/testsum"),
			"infra/x.go:4: imports tidemark.dev/tools/testsum: infra may import events, projections only"},
		{"a wire injector of services imports Redis", "services/x/wire.go", "//go:build wireinject\n\n" + imports("main", "github.com/redis/go-redis/v9"),
			"services/x/wire.go:6: imports github.com/redis/go-redis/v9: services " + noClients},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, output := check(t, map[string]string{c.path: c.content})
			want := c.want + "\nimport direction: FAIL, 1 violations\n"
			if code != exitViolation || output != want {
				t.Errorf("code %d, output %q\nwant %q", code, output, want)
			}
		})
	}
}

func TestACycleIsNamedOnce(t *testing.T) {
	code, output := check(t, map[string]string{
		"events/a/a.go": imports("a", "tidemark.dev/events/b"),
		"events/b/b.go": imports("b", "tidemark.dev/events/c"),
		"events/c/c.go": imports("c", "tidemark.dev/events/a"),
		"events/d/d.go": imports("d", "tidemark.dev/events/a"),
	})
	want := "import cycle: tidemark.dev/events/a -> tidemark.dev/events/b -> tidemark.dev/events/c -> tidemark.dev/events/a\n" +
		"import direction: FAIL, 1 violations\n"
	if code != exitViolation || output != want {
		t.Errorf("code %d, output %q\nwant %q", code, output, want)
	}
}

func TestACycleThroughAPackagesOwnTestsIsNamed(t *testing.T) {
	code, output := check(t, map[string]string{
		"events/inside_test.go": imports("events", "tidemark.dev/events/memlog"),
	})
	want := "import cycle: tidemark.dev/events (its tests) -> tidemark.dev/events/memlog -> tidemark.dev/events"
	if code != exitViolation || !strings.Contains(output, want) {
		t.Errorf("code %d, output %q\nwant %q in it", code, output, want)
	}
}

func TestAnArrowUpThatClosesACycleIsNamedAsBoth(t *testing.T) {
	code, output := check(t, map[string]string{
		"events/x.go": imports("events", "tidemark.dev/infra/natslog"),
	})
	for _, want := range []string{
		"events/x.go:4: imports tidemark.dev/infra/natslog",
		"import cycle: tidemark.dev/events -> tidemark.dev/infra/natslog -> tidemark.dev/events",
	} {
		if code != exitViolation || !strings.Contains(output, want) {
			t.Errorf("code %d, output %q\nwant %q in it", code, output, want)
		}
	}
}

func TestATreeThatCannotBeCheckedDoesNotPass(t *testing.T) {
	cases := []struct {
		name    string
		changes map[string]string
		want    string
	}{
		{"a module is missing", map[string]string{"infra/go.mod": ""}, "infra/go.mod"},
		{"a module has no Go files", map[string]string{"projections/engine.go": ""}, "projections has no Go files"},
		{"a module has another name", map[string]string{"events/go.mod": "module example.com/events\n"}, "is not of module tidemark.dev/events"},
		{"a module is in no layer", map[string]string{"extra/go.mod": "module tidemark.dev/extra\n"}, "extra/go.mod: the module is in no layer"},
		{"a file does not parse", map[string]string{"events/x.go": "packag events\n"}, "expected 'package'"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, output := check(t, c.changes)
			if code != exitCannot || !strings.Contains(output, c.want) {
				t.Errorf("code %d, output %q, want %q in it", code, output, c.want)
			}
		})
	}
}

func TestAnEmptyOrAbsentRootDoesNotPass(t *testing.T) {
	empty := t.TempDir()
	for _, args := range [][]string{{empty}, {filepath.Join(empty, "absent")}, {"a", "b"}} {
		var out bytes.Buffer
		if code := run(args, &out, &out); code != exitCannot || out.Len() == 0 {
			t.Errorf("%v: code %d, output %q", args, code, out.String())
		}
	}
}
