// Package clustertest gives a test what a region runs on when it is large: three nats-server processes that keep every stream three times,
// and a Redis Cluster of three masters with a replica each. All of it is real, on loopback, and can be killed, stopped and started again node
// by node. It fails the test when something is missing on this machine; nothing is skipped.
//
// The tests that need it have the build tag cluster, and scripts/cluster-test runs them: they take minutes.
package clustertest
