// Package natskv keeps a region's small consistent state, and its leases, in one JetStream key-value bucket.
//
// Neither may live in the read model's store: a pointer that goes back in time together with the documents, or a lease that two
// projectors both hold after a failover, would be no use.
//
// Every write is a compare-and-set on the key's own revision, decided by the bucket's leader, and every read is answered by it. A revision is
// a sequence of the bucket's stream, so it grows for ever, over deletions and restarts too; only deleting the bucket itself would begin anew.
//
// A lease is a key with a time to live that its holder renews. The holder counts the time from before each renewal, by its own monotonic
// clock, and gives up a fifth before the server would: as long as both clocks run equally fast, nobody else can have the name while the
// holder believes in it. A process that was stopped and wakes up may believe for a moment longer, which is what the token is for.
package natskv
