//go:build cluster

package natsobjects

import (
	"testing"

	"tidemark.dev/infra/clustertest"
)

// TestSuiteOnThreeProcesses runs the suite on buckets with three copies.
func TestSuiteOnThreeProcesses(t *testing.T) {
	runSuite(t, clustertest.StartNATS(t).URL(), clustertest.Nodes)
}
