package region

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
)

// Role says what a process does in a region, and with that what it sets up and what it needs.
type Role int

const (
	// Whole does everything: the embedded default.
	Whole Role = iota
	// Writer sets the log up, leads it or mirrors it, and takes appends. It needs no Redis.
	Writer
	// Projector writes the read models. The log and the region's state must have been set up by a writer.
	Projector
	// Client publishes and queries. It sets nothing up.
	Client
	// Publisher publishes, and reads the log. It sets nothing up, and needs neither Redis nor the region's state.
	Publisher
)

// Tends reports whether a role sets the log and the region's state up and keeps them.
func (r Role) Tends() bool { return r == Whole || r == Writer }

// reads reports whether a role uses the read models.
func (r Role) reads() bool { return r != Writer && r != Publisher }

// Config says what a region is made of. Name, and either DataDir or NATS, are required.
type Config struct {
	// Name of the region: [a-z0-9-]{1,32}.
	Name string
	// Origin is the log's name, and Leader the region whose copy of it accepts the writes. Default: the region leads the origin of its own name.
	Origin, Leader string
	// Role of this process.
	Role Role
	// Regions are other regions that hold the log, as far as they are known. Those that mirror it now, and embedded ones that are linked to this one, need not be among them.
	Regions []string
	// KeepDamaged leaves the region's mirror as it is when its audit finds it damaged. Default: it is deleted and made anew, once the leader is seen to hold what is missing.
	KeepDamaged bool

	// LogFrom is the first sequence that the region's mirror is made to hold; 0 and 1 are the log's beginning. What is below is read from the leader. A mirror that exists stays as it was made.
	LogFrom uint64

	// DataDir holds the embedded servers' data; used when NATS is empty, or Redis asks for a server of our own.
	DataDir string
	// LazySync lets an embedded NATS acknowledge before the data is on the disk. For tests and benchmarks.
	LazySync bool
	// Peers are the regions that dial the embedded NATS, Links those that it dials. Two regions share one link.
	Peers []string
	Links []embedded.Link

	// NATS is the URL of a running server, or of several of one cluster joined by commas; empty: an embedded one.
	NATS string
	// User and Password for NATS, when it is not embedded.
	User, Password string
	// NATSOptions are used beside them, for example for TLS.
	NATSOptions []nats.Option
	// Replicas of the streams of a running cluster; default 1.
	Replicas int
	// GroupCommit says that the running NATS server fsyncs before it acknowledges, so that concurrent appends had better share a batch. An
	// embedded server always does.
	GroupCommit bool

	// Redis is "auto" (default), "server", "mini", or an address.
	Redis string
	// RedisOptions are used instead of Redis when they name an address; several are a Redis Cluster.
	RedisOptions *redis.UniversalOptions
	// RedisPrefix begins every key; default "tm:".
	RedisPrefix string

	// Holder names this process in leases; default: host and process id, or "embedded".
	Holder string
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// logPatience is how long Open waits for a mirror to be made, which needs the leader.
const logPatience = 2 * time.Minute

func (c Config) withDefaults() Config {
	if c.Leader == "" {
		c.Leader = c.Name
	}
	if c.Origin == "" {
		c.Origin = c.Leader
	}
	if c.Redis == "" {
		c.Redis = embedded.ModeAuto
	}
	if c.RedisPrefix == "" {
		c.RedisPrefix = redisstore.DefaultPrefix
	}
	switch {
	case c.Holder != "":
	case c.NATS == "":
		// The lock of the data directory says that an earlier holder of this name is dead.
		c.Holder = "embedded"
	default:
		host, _ := os.Hostname()
		c.Holder = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	for _, name := range []string{c.Name, c.Origin, c.Leader} {
		if err := events.ValidateOrigin(name); err != nil {
			return err
		}
	}
	if c.LogFrom > 1 && c.leads() {
		return events.Errorf(projections.ErrInvalidOffset, "region %s leads the log of %s, which begins with sequence 1, and is told to begin with %d; nothing was started", c.Name, c.Origin, c.LogFrom).
			Hint("Only a region that mirrors the log can begin later.")
	}
	if c.needsDir() && c.DataDir == "" {
		return events.Errorf(embedded.ErrUnsafeDir, "region %s has servers of its own and no data directory; nothing was started", c.Name)
	}
	return nil
}

// leads reports whether the region's own copy of the log accepts the writes.
func (c Config) leads() bool { return c.Leader == c.Name }

func ownRedis(mode string) bool { return mode == embedded.ModeAuto || mode == embedded.ModeServer }

// OneRedis reports whether Redis is one at an address, which every region with this setting would share.
func (c Config) OneRedis() bool {
	return c.Redis != "" && !ownRedis(c.Redis) && c.Redis != embedded.ModeMini
}

// needsDir reports whether servers of our own keep data.
func (c Config) needsDir() bool {
	return c.NATS == "" || c.Role.reads() && c.RedisOptions == nil && ownRedis(c.Redis)
}
