// Package memstore keeps read models, their snapshots, the region's small values and leases in memory, so that the projector, the queries and a replay
// can be tested without a server, and so that a test can make happen what a server does only on a bad day: a call that fails before or
// after its effect, a store that was flushed or went back in time, a document edited by hand, a lease that ran out.
//
// Store, KV, Leases and Snapshots pass the suites in storetest. Nothing survives the process: this is no store for production.
package memstore
