package projector_test

import (
	"flag"
	"maps"
	"slices"
	"testing"
)

var plantedRuns = flag.Int("sim.planted", 300, "how many random runs a planted bug has to be found in")

// TestSimulationFindsPlantedBugs shows that the simulation can fail: each bug is put between the projector and the world, and must be found.
// That nothing is found where nothing was planted is TestSimulatedDisasters.
func TestSimulationFindsPlantedBugs(t *testing.T) {
	bugs := planted()
	for _, name := range slices.Sorted(maps.Keys(bugs)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range *plantedRuns {
				if _, err := simulate(t, uint64(seed+1), bugs[name]); err != nil { //nolint:gosec // not negative
					t.Logf("found in run %d: %v", seed+1, err)
					return
				}
			}
			t.Errorf("not found in %d runs", *plantedRuns)
		})
	}
}
