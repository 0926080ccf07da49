package deploy

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files returns what the script made, by name.
func (f folder) files() map[string]string {
	f.t.Helper()
	all := make(map[string]string)
	must(f.t, filepath.WalkDir(f.path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(f.path, path)
		all[name] = f.read(name)
		return err
	}))
	return all
}

func TestPasswordsAreMadeOnceAndDiffer(t *testing.T) {
	f := passwords(t)
	before := f.files()
	seen := make(map[string]string)
	for name, text := range before {
		if !strings.HasPrefix(name, "kept/") {
			continue
		}
		if other, again := seen[text]; again || len(text) != 64 {
			t.Errorf("%s has %d characters, and may be that of %s", name, len(text), other)
		}
		seen[text] = name
	}
	if len(seen) != 12 {
		t.Errorf("there are %d passwords, want one for each server, each link, and the readers of each region", len(seen))
	}
	out, err := f.run()
	must(t, err)
	if after := f.files(); !maps.Equal(before, after) {
		t.Error("a second run changed something")
	}
	for text, name := range seen {
		if strings.Contains(out, text) {
			t.Errorf("the script prints %s", name)
		}
	}
}

func TestPasswordFilesAreReadByTheirReaderOnly(t *testing.T) {
	f := passwords(t)
	for name := range f.files() {
		info, err := os.Stat(filepath.Join(f.path, name))
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %s", name, info.Mode())
		}
	}
}

func TestARegionKnowsItsOwnPasswordsOnly(t *testing.T) {
	f := passwords(t)
	for name, text := range f.files() {
		if !strings.HasPrefix(name, "regions/") {
			continue
		}
		region := strings.Split(name, "/")[1]
		for _, other := range regions() {
			for _, server := range []string{"-nats", "-reader", "-redis"} {
				if other != region && strings.Contains(text, f.read("kept/"+other+server)) {
					t.Errorf("%s holds the password of %s%s", name, other, server)
				}
			}
		}
	}
	if strings.Contains(f.read("regions/ap/nats.conf"), f.read("kept/link-us-eu")) {
		t.Error("ap knows the password of the link between us and eu")
	}
}

func TestOnePasswordIsChangedAtATime(t *testing.T) {
	f := passwords(t)
	before := f.files()
	if out, err := f.run("new", "eu-redis"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	changed := make(map[string]bool)
	for name, text := range f.files() {
		if text != before[name] {
			changed[name] = true
		}
	}
	want := map[string]bool{"kept/eu-redis": true, "regions/eu/redis": true, "regions/eu/redis-password": true, "regions/eu/redis-users.acl": true}
	if !maps.Equal(changed, want) {
		t.Errorf("changed: %v", changed)
	}
	for _, args := range [][]string{{"new"}, {"new", "../x"}, {"old"}, {"new", "us-nats us-redis"}} {
		now := f.files()
		if out, err := f.run(args...); err == nil || !maps.Equal(now, f.files()) {
			t.Errorf("%v is done: %s", args, out)
		}
	}
}
