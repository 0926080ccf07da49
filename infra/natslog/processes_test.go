//go:build cluster

package natslog

import (
	"sync/atomic"
	"testing"

	"tidemark.dev/events/logtest"
	"tidemark.dev/infra/clustertest"
)

// TestSuiteOnThreeProcesses is the suite where every stream has three copies, and every node syncs to disk before it acknowledges.
func TestSuiteOnThreeProcesses(t *testing.T) {
	cluster := clustertest.StartNATS(t)
	for _, mode := range []CommitMode{Pipelined, GroupCommit} {
		t.Run(mode.String(), func(t *testing.T) {
			var n atomic.Int64
			logtest.Run(t, func(t *testing.T) logtest.Subject {
				return subject(t, cluster.URL(), Config{Replicas: clustertest.Nodes}, Options{Commit: mode}, 1_000*int64(mode)+n.Add(1))
			})
		})
	}
}
