package region_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/region"
)

func TestTheRegionThatLeadsIsFoundUnlessAnotherIsNamed(t *testing.T) {
	dir := natstest.StoreDir(t)
	if _, err := region.Find(dir, ""); !errors.Is(err, region.ErrNotRunning) {
		t.Errorf("in an empty folder: %v", err)
	}
	for _, name := range []string{"ap", "eu", "us"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := (region.Address{Region: name, Leader: "eu", NATS: "nats://127.0.0.1:1"}).Save(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"": "eu", "us": "us", "eu": "eu"} {
		if a, err := region.Find(dir, name); err != nil || a.Region != want || a.Leads() != (want == "eu") {
			t.Errorf("%q found %+v, %v", name, a, err)
		}
	}
	if _, err := region.Find(dir, "mars"); !errors.Is(err, region.ErrNotRunning) {
		t.Errorf("a region that does not run: %v", err)
	}
	if err := region.RemoveAddress(filepath.Join(dir, "eu")); err != nil {
		t.Fatal(err)
	}
	if _, err := region.Find(dir, ""); !errors.Is(err, region.ErrNotRunning) {
		t.Errorf("without a leader: %v", err)
	}
	one, err := region.Find(filepath.Join(dir, "us"), "")
	if err != nil || one.Region != "us" {
		t.Errorf("the folder of one region: %+v, %v", one, err)
	}
}
