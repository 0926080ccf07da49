// Package region gives the services one region, whatever it is made of: servers inside and beside this process (the
// embedded default), or running servers at given addresses. Nothing outside infra knows the difference.
package region

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
)

// Config says what a region is made of. Name, and either DataDir or NATS, are required.
type Config struct {
	// Name of the region and of the origin it leads: [a-z0-9-]{1,32}.
	Name string
	// DataDir holds the embedded servers' data; used when NATS is empty, or Redis asks for a server of our own.
	DataDir string
	// LazySync lets an embedded NATS acknowledge before the data is on the disk. For tests and benchmarks.
	LazySync bool
	// NATS is the URL of a running server; empty: an embedded one.
	NATS string
	// User and Password for NATS, when it is not embedded.
	User, Password string
	// GroupCommit says that the running NATS server fsyncs before it acknowledges, so that concurrent appends had better share a batch. An
	// embedded server always does.
	GroupCommit bool
	// Redis is "auto" (default), "server", "mini", or an address.
	Redis string
	// RedisPrefix begins every key; default "tm:".
	RedisPrefix string
	// Holder names this process in leases; default: host and process id, or "embedded".
	Holder string
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Region is an open region.
type Region struct {
	name      string
	holder    string
	log       events.Log
	store     *redisstore.Store
	redis     *redis.Client
	kv        projections.KV
	leases    projections.Leases
	address   Address
	redisHint string
	notes     []string
	lost      chan error
	closers   []func(context.Context) error
}

// Name returns the region's name.
func (r *Region) Name() string { return r.name }

// Holder names this process in leases.
func (r *Region) Holder() string { return r.holder }

// Log returns the region's log.
func (r *Region) Log() events.Log { return r.log }

// Store returns the region's read models.
func (r *Region) Store() projections.Store { return r.store }

// KV returns the region's small consistent store.
func (r *Region) KV() projections.KV { return r.kv }

// Leases returns the region's leases.
func (r *Region) Leases() projections.Leases { return r.leases }

// Address returns what another process needs to use the region. HTTP and PID are not set.
func (r *Region) Address() Address { return r.address }

// RedisHint returns the command line that opens the region's Redis, without credentials.
func (r *Region) RedisHint() string { return r.redisHint }

// Notes returns what a person should know, a line each: for example that the read model lives in memory only.
func (r *Region) Notes() []string { return r.notes }

// Lost yields an error when a server of ours ended by itself.
func (r *Region) Lost() <-chan error { return r.lost }

// Close stops what Open or Connect started, in the opposite order.
func (r *Region) Close(ctx context.Context) error {
	var first error
	for i := len(r.closers) - 1; i >= 0; i-- {
		if err := r.closers[i](ctx); err != nil && first == nil {
			first = err
		}
	}
	r.closers = nil
	return first
}
