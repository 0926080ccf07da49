//go:build cluster

package redisstore_test

import (
	"testing"

	"tidemark.dev/infra/clustertest"
	"tidemark.dev/projections/storetest"
)

// TestStoreOnMastersWithReplicas runs the suite of the store on three masters with a replica each: first as they were made, then after each
// master has handed over to its replica and come back as one.
func TestStoreOnMastersWithReplicas(t *testing.T) {
	cluster := clustertest.StartRedis(t, 1)
	client := cluster.Client()
	suite := func(t *testing.T) {
		storetest.RunStore(t, func(t *testing.T) storetest.Subject {
			cluster.FlushAll()
			return subject(t, client)
		})
	}
	t.Run("as made", suite)
	for i := range clustertest.Masters {
		cluster.Failover(clustertest.Masters + i)
	}
	t.Run("after every master handed over", suite)
}
