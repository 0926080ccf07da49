// Package region gives the services one region, whatever it is made of: servers inside and beside this process (the
// embedded default), or running servers and clusters at given addresses; the region that leads the log, or one that mirrors it. Nothing outside infra knows the
// difference.
package region

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
)

// Region is an open region.
type Region struct {
	config    Config
	log       events.Log
	copy      events.Copy
	attached  attached // streams that are not ours
	floors    events.Floors
	head      events.Leader // nil where the region leads
	signals   projections.Signals
	store     *redisstore.Store // nil for a role that does not read
	redis     redis.UniversalClient
	nats      *nats.Conn
	server    *embedded.NATS // nil when it is not ours
	kv        projections.KV
	leases    projections.Leases
	snapshots projections.Snapshots // nil for a role that does not read
	address   Address
	redisHint string
	notes     []string
	lost      chan error
	closers   []func(context.Context) error
}

// Name returns the region's name.
func (r *Region) Name() string { return r.config.Name }

// Leader returns the name of the region whose copy of the log accepts the writes.
func (r *Region) Leader() string { return r.config.Leader }

// Leads reports whether this region does.
func (r *Region) Leads() bool { return r.config.leads() }

// Holder names this process in leases.
func (r *Region) Holder() string { return r.config.Holder }

// Log returns the region's log. It is read from the region's own copy; where that is a mirror, appends are forwarded to the leader.
func (r *Region) Log() events.Log { return r.log }

// Copy tells how the region's copy of the log stands to the leader's.
func (r *Region) Copy() events.Copy { return r.copy }

// Floors tells how much of the log each region has confirmed to hold.
func (r *Region) Floors() events.Floors { return r.floors }

// Head asks the leader how far its log is. It is nil where the region leads: the log itself tells.
func (r *Region) Head() events.Leader { return r.head }

// Signals carry hints between the region's readers and projectors; nil for a writer.
func (r *Region) Signals() projections.Signals { return r.signals }

// Store returns the region's read models.
func (r *Region) Store() projections.Store { return r.store }

// KV returns the region's small consistent store.
func (r *Region) KV() projections.KV { return r.kv }

// Snapshots returns the snapshots of the region's read models; nil for a writer and a publisher.
func (r *Region) Snapshots() projections.Snapshots { return r.snapshots }

// Leases returns the region's leases.
func (r *Region) Leases() projections.Leases { return r.leases }

// LinkFor returns what another region's embedded server needs to link to ours. The region must be one of Config.Peers.
func (r *Region) LinkFor(name string) embedded.Link { return r.server.LinkFor(name) }

// Address returns what another process needs to use the region. HTTP and PID are not set.
func (r *Region) Address() Address { return r.address }

// RedisHint returns the command line that opens the region's Redis, without credentials.
func (r *Region) RedisHint() string { return r.redisHint }

// Notes returns what a person should know, a line each: for example that the read model lives in memory only.
func (r *Region) Notes() []string { return r.notes }

// Lost yields an error when something of ours ended by itself.
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

func (r *Region) onClose(f func()) {
	r.closers = append(r.closers, func(context.Context) error {
		f()
		return nil
	})
}

// keep runs work until the region is closed, with ctx's values. When it ends by itself, the region is lost.
func (r *Region) keep(ctx context.Context, work func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := work(ctx); err != nil && ctx.Err() == nil {
			select {
			case r.lost <- err:
			default: // one reason is enough
			}
		}
	}()
	r.onClose(func() {
		cancel()
		<-ended
	})
}
