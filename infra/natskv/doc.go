// Package natskv keeps a region's small consistent state, and its leases, in one JetStream key-value bucket.
//
// Neither may live in the read model's store: a pointer that goes back in time together with the documents, or a lease that two
// projectors both hold after a failover, would be no use.
package natskv
