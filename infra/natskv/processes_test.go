//go:build cluster

package natskv

import (
	"testing"

	"tidemark.dev/infra/clustertest"
)

// TestSuitesOnThreeProcesses runs the suites of the key-value store and of the leases on buckets with three copies.
func TestSuitesOnThreeProcesses(t *testing.T) {
	runSuites(t, clustertest.StartNATS(t).URL(), clustertest.Nodes)
}
