package embedded

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// How a Redis is got. Every other text is the address of one that runs elsewhere.
const (
	// ModeAuto starts a private redis-server if one is installed, and miniredis otherwise.
	ModeAuto = "auto"
	// ModeServer starts a private redis-server.
	ModeServer = "server"
	// ModeMini starts miniredis: inside the process, in memory.
	ModeMini = "mini"
)

// DefaultStopTimeout is how long a redis-server gets to write its file and end, before it is killed.
const DefaultStopTimeout = 10 * time.Second

// RedisConfig says how the Redis of a region is got. The zero value means miniredis or a private redis-server, and the
// latter needs Dir.
type RedisConfig struct {
	// Mode is ModeAuto (the default), ModeServer, ModeMini, or an address: redis://, rediss://, unix:// or host:port. It stays empty when
	// Addresses are given.
	Mode string
	// Addresses of a Redis that runs elsewhere, written as for Mode. Several are nodes of one Redis Cluster: enough of them that one is up.
	Addresses []string
	// Cluster says that even a single address is one of a Redis Cluster. Its nodes are then found from there.
	Cluster bool
	// User and Password to log in at an address; not for a user or password that is part of the address.
	User, Password string
	// RootCAs are the authorities to trust at a rediss:// address; nil means the system's.
	RootCAs *x509.CertPool
	// Dir holds the files of a private redis-server. Its lock must be held. The other modes do not need it.
	Dir *Dir
	// StopTimeout is how long a private redis-server gets to end. Default DefaultStopTimeout.
	StopTimeout time.Duration
	// Logger gets starts and stops. Default: nothing is logged.
	Logger *slog.Logger
}

// Redis is the Redis of a region, however it was got.
type Redis struct {
	options  func() *redis.Options        // a new value at every call: a client changes the one it is given
	cluster  func() *redis.ClusterOptions // the same for a cluster, or nil
	describe string
	note     string
	mini     bool
	server   *redisServer  // the private server, or nil
	done     chan struct{} // closed when it has ended
	stop     func() error
}

// StartRedis gets a Redis and returns when it answers. A Redis at an address is not touched: nothing is started, and
// nothing asked; use Check.
//
// It returns ErrRedisMissing, ErrRedisFailed, ErrUnsafeRedis (the installed version is too old), ErrBadAddress,
// ErrDirInUse, ErrUnsafeDir, or the error of ctx.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.StopTimeout <= 0 {
		cfg.StopTimeout = DefaultStopTimeout
	}
	if elsewhere, err := cfg.elsewhere(); elsewhere || err != nil {
		if err != nil {
			return nil, err
		}
		return useAddresses(cfg)
	}
	switch cfg.Mode {
	case "", ModeAuto:
		binary, err := findRedisServer(ctx)
		switch {
		case errors.Is(err, ErrRedisMissing):
			return startMini("redis-server is not installed")
		case errors.Is(err, ErrUnsafeRedis):
			return startMini("the installed redis-server is older than " + minRedis)
		case err != nil:
			return nil, err
		}
		return startServer(ctx, cfg, binary)
	case ModeServer:
		binary, err := findRedisServer(ctx)
		if err != nil {
			return nil, err
		}
		return startServer(ctx, cfg, binary)
	default:
		return startMini("miniredis was asked for")
	}
}

// Client returns a new client, with what it needs to log in: a *redis.ClusterClient for a cluster, otherwise a *redis.Client. Whoever
// asked for it closes it. Nothing is sent before it is used.
func (r *Redis) Client() redis.UniversalClient {
	if r.cluster != nil {
		return redis.NewClusterClient(r.cluster())
	}
	return redis.NewClient(r.options())
}

// IsCluster reports whether this is a Redis Cluster.
func (r *Redis) IsCluster() bool { return r.cluster != nil }

// Options returns the options of a client of the one server, or of the first node of a cluster. Each call returns a new value.
func (r *Redis) Options() *redis.Options { return r.options() }

// Describe returns how a person reaches it, without a password: a redis-cli command where that is possible.
func (r *Redis) Describe() string { return r.describe }

// String is Describe.
func (r *Redis) String() string { return r.describe }

// Note returns one line for the user when what was got may not be what was expected, and "" otherwise.
func (r *Redis) Note() string { return r.note }

// IsMini reports whether this is miniredis: in memory, empty at every start, and short of some commands.
func (r *Redis) IsMini() bool { return r.mini }

// PID returns the process id of a private redis-server, and 0 when there is none.
func (r *Redis) PID() int {
	if r.server == nil {
		return 0
	}
	return r.server.pid
}

// Done is closed when the Redis has ended: after Close, or because a private redis-server ended by itself. A Redis at an
// address is not watched.
func (r *Redis) Done() <-chan struct{} { return r.done }

// Err returns why a private redis-server ended by itself, with the end of its log: an ErrRedisFailed. It is nil while
// the server runs and after an orderly Close.
func (r *Redis) Err() error {
	if r.server == nil {
		return nil
	}
	return r.server.failure()
}

// Close ends what StartRedis started. A private redis-server flushes its append-only file first; one that does not end
// in time is killed, and that is an ErrRedisFailed. It may be called more than once.
func (r *Redis) Close() error { return r.stop() }

func startServer(ctx context.Context, cfg RedisConfig, binary string) (*Redis, error) {
	s, err := startRedisServer(ctx, cfg, binary)
	if err != nil {
		return nil, err
	}
	return &Redis{
		options: s.options, describe: "redis-cli -s " + shellWord(s.socket), server: s, done: s.done, stop: s.stop,
	}, nil
}

func useAddresses(cfg RedisConfig) (*Redis, error) {
	r := &Redis{done: make(chan struct{})}
	var err error
	if cfg.Mode != "" {
		cfg.Addresses = []string{cfg.Mode}
	}
	if cfg.Cluster || len(cfg.Addresses) > 1 {
		r.cluster, r.options, r.describe, err = parseCluster(cfg)
	} else {
		r.options, r.describe, err = parseServer(cfg, cfg.Addresses[0])
	}
	if err != nil {
		return nil, err
	}
	r.stop = closing(r.done, func() {})
	return r, nil
}

func startMini(reason string) (*Redis, error) {
	options, stop, err := startMiniredis()
	if err != nil {
		return nil, err
	}
	r := &Redis{
		options:  options,
		describe: fmt.Sprintf("miniredis at %s, in memory, with a password", options().Addr),
		note:     reason + ": using the embedded miniredis; the read model lives in memory and is rebuilt from the log at every start",
		mini:     true,
		done:     make(chan struct{}),
	}
	r.stop = closing(r.done, stop)
	return r, nil
}
