package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"tidemark.dev/projections/flights"
)

func TestAnInterruptedDemoLeavesNothingBehind(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	var out stopAfter
	out.stop = cancel
	if _, err := Run(ctx, &out, Options{Redis: "mini"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// stopAfter stops the demo when it says that it is publishing.
type stopAfter struct{ stop func() }

func (s *stopAfter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Publishing")) {
		s.stop()
	}
	return len(p), nil
}

func TestTheDemosComparisonCanFail(t *testing.T) {
	want := map[string]flights.Route{"A-B": {Flights: 1}, "B-A": {Flights: 2}}
	right := []item[flights.Route]{{"A-B", flights.Route{Flights: 1}}, {"B-A", flights.Route{Flights: 2}}}
	if err := same("routes", right, want); err != nil {
		t.Errorf("equal documents: %v", err)
	}
	for name, got := range map[string][]item[flights.Route]{
		"missing": right[:1], "altered": {right[0], {"B-A", flights.Route{Flights: 3}}}, "phantom": {right[0], {"X-Y", flights.Route{Flights: 2}}},
	} {
		if err := same("routes", got, want); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
