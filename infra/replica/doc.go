// Package replica keeps a region's copy of an origin equal to its leader's, and says honestly how the two stand.
//
// The copying itself is done by the servers: the copy is a JetStream mirror, fed by a durable consumer of the leader. But a mirror takes whatever
// it is fed. It splices a recreated or rolled back log onto what it has, it records holes where its own store lost its end, and it claims a lag of
// zero through all of that. So this package stands between the two as a gate: a mirror cannot begin, or begin again after a break, before the copy
// has been compared with the leader's log; and it goes on comparing while the mirror runs.
package replica
