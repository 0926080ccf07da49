// Package natslog keeps an origin's log in a NATS JetStream stream. It is the product's adapter of events.Log.
//
// It exists because a stream alone is not a log: it may be set up so that messages vanish, its answers to one and the same
// append differ between a lone server and a cluster, a lost answer leaves the writer in doubt, and a reader without acknowledgements
// may be skipped over messages without a word. This package refuses unsafe settings, gives every append one definite
// answer, and proves to every reader that nothing is missing.
//
// Reading order: config.go, audit.go, setup.go, log.go; for appending entry.go, queue.go, writer.go, flight.go, settle.go, standing.go; for reading
// read.go and internal/natsread. DESIGN.md says what is guaranteed and what is not.
package natslog
