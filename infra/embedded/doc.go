// Package embedded holds the servers of one region inside or under this process: a NATS server with JetStream, and a
// Redis. `tidemark up`, the demo and the tests start from it. A real region runs its own servers and needs none of this.
//
// A data directory belongs to one process at a time: two NATS servers on one JetStream store both accept writes, and
// nobody notices. So the directory is locked first, and a server that stores something is started with the lock in hand:
//
//	dir, err := embedded.OpenDir("./data/us")
//	nats, err := embedded.StartNATS(ctx, embedded.NATSConfig{Region: "us", Dir: dir})
//	redis, err := embedded.StartRedis(ctx, embedded.RedisConfig{Dir: dir})
//
// They are ended in the opposite order: clients, Redis, NATS, directory.
package embedded
