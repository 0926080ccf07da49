package command_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
)

// rememberAnother lets a region's audit remember another log of the same name, as it does after the log was made anew.
func rememberAnother(t *testing.T, dir, name string) {
	t.Helper()
	a, err := region.LoadAddress(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r, err := region.Connect(ctx, a, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	eventually(t, "the audit remembers another log", func() (bool, string) {
		known, revision, err := marks.Remembered(ctx, r.KV(), "us")
		if err == nil && known.Lineage == "" {
			return false, "it knows none yet"
		}
		if err == nil {
			known.Lineage = "0badc0de"
			_, err = projections.WriteJSON(ctx, r.KV(), marks.AuditKey("us"), known, revision)
		}
		if err != nil && !errors.Is(err, projections.ErrRevision) {
			t.Fatal(err)
		}
		return err == nil, fmt.Sprint(err)
	})
}

// TestAPersonAcceptsALogThatTheAuditRefuses sees what is refused before it is accepted, and nothing else can be.
func TestAPersonAcceptsALogThatTheAuditRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, flight, args...)
	}
	do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight)
	if p := do(1, "audit", "accept", "--yes", "-o", "json").problem(t); p.Error.Code != "conflict" {
		t.Errorf("of a log that nothing is wrong with it says %+v", p)
	}
	rememberAnother(t, dir, "us")
	eventually(t, "the log is refused", func() (bool, string) {
		r := cli(t, flight, "--dir", dir, "audit", "accept")
		return strings.Contains(r.out, "lineage 0badc0de"), fmt.Sprint(r)
	})
	if r := do(1, "audit", "accept"); !strings.Contains(r.err, "tidemark audit accept --region us --yes") || !strings.Contains(r.out, "recreated") {
		t.Errorf("without --yes it says %+v", r)
	}
	if r := do(0, "audit", "accept", "--yes"); !strings.Contains(r.out, "now accepts") {
		t.Errorf("it says %+v", r)
	}
	eventually(t, "it is applied again", func() (bool, string) {
		r := cli(t, flight, "--dir", dir, "audit", "accept", "--yes", "-o", "json")
		return r.code == 1 && r.problem(t).Error.Code == "conflict", fmt.Sprint(r)
	})
	position := strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight).out)
	do(0, "get", "airports", "ORD", "--at-least", position, "--wait", "30s")
}
