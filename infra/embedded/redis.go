package embedded

import (
	"context"
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
	// Mode is ModeAuto (the default), ModeServer, ModeMini, or an address: redis://, rediss://, unix:// or host:port.
	Mode string
	// Dir holds the files of a private redis-server. Its lock must be held. The other modes do not need it.
	Dir *Dir
	// StopTimeout is how long a private redis-server gets to end. Default DefaultStopTimeout.
	StopTimeout time.Duration
	// Logger gets starts and stops. Default: nothing is logged.
	Logger *slog.Logger
}

// Redis is the Redis of a region, however it was got.
type Redis struct {
	options  func() *redis.Options // a new value at every call: a client changes the one it is given
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
	case ModeMini:
		return startMini("miniredis was asked for")
	default:
		return useAddress(cfg.Mode)
	}
}

// Options returns the options of a client, with what it needs to log in. Each call returns a new value.
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

func useAddress(address string) (*Redis, error) {
	options, describe, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	r := &Redis{options: options, describe: describe, done: make(chan struct{})}
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
