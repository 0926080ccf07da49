package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natskv"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
)

const (
	connectTimeout = 5 * time.Second
	reconnectWait  = 200 * time.Millisecond
	// installationKey holds the random name of this installation in the region's KV. Redis repeats it, so that two
	// installations never write into one namespace.
	installationKey = "installation"
)

// Open starts what is embedded, connects, sets up the log, and claims the namespace in Redis. Errors: those of
// embedded (ErrDirInUse, …), events.ErrUnreachable, events.ErrUnauthorized, events.ErrUnsafeLog, events.ErrForeignHistory,
// embedded.ErrUnsafeRedis, projections.ErrNamespaceTaken, projections.ErrStoreUnreachable. After an error nothing is left running.
func Open(ctx context.Context, c Config) (*Region, error) {
	if err := events.ValidateOrigin(c.Name); err != nil {
		return nil, err
	}
	r, err := open(ctx, c.withDefaults(), true)
	if err != nil {
		return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

// Connect uses a region that runs already; it starts and sets up nothing. Errors are those of Open, and events.ErrNoLog.
func Connect(ctx context.Context, a Address, logger *slog.Logger) (*Region, error) {
	if err := events.ValidateOrigin(a.Region); err != nil {
		return nil, err
	}
	c := Config{
		Name: a.Region, NATS: a.NATS, User: a.User, Password: a.Password, Redis: a.Redis, RedisPrefix: a.RedisPrefix,
		GroupCommit: a.GroupCommit, Logger: logger,
	}
	r, err := open(ctx, c.withDefaults(), false)
	if err != nil {
		return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func (c Config) withDefaults() Config {
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

// open returns the region as far as it came, so that the caller can close it.
func open(ctx context.Context, c Config, setUp bool) (*Region, error) {
	r := &Region{
		name: c.Name, holder: c.Holder, lost: make(chan error, 1),
		address: Address{Region: c.Name, NATS: c.NATS, User: c.User, Password: c.Password, RedisPrefix: c.RedisPrefix, GroupCommit: c.GroupCommit},
	}
	var dir *embedded.Dir
	if c.NATS == "" || ownRedis(c.Redis) {
		var err error
		if dir, err = embedded.OpenDir(c.DataDir); err != nil {
			return r, err
		}
		r.closers = append(r.closers, func(context.Context) error { return dir.Close() })
	}
	nc, err := r.openNATS(ctx, c, dir)
	if err != nil {
		return r, err
	}
	if err := r.openRedis(ctx, c, dir); err != nil {
		return r, err
	}
	if err := r.openLog(ctx, c, nc, setUp); err != nil {
		return r, err
	}
	return r, r.openState(ctx, c, nc, setUp)
}

func ownRedis(mode string) bool { return mode == embedded.ModeAuto || mode == embedded.ModeServer }

// openNATS connects to the given server, or starts one.
func (r *Region) openNATS(ctx context.Context, c Config, dir *embedded.Dir) (*nats.Conn, error) {
	options := []nats.Option{nats.Name("tidemark " + c.Holder), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.Timeout(connectTimeout)}
	var nc *nats.Conn
	var err error
	if c.NATS == "" {
		server, startErr := embedded.StartNATS(ctx, embedded.NATSConfig{Region: c.Name, Dir: dir, LazySync: c.LazySync, Logger: c.Logger})
		if startErr != nil {
			return nil, startErr
		}
		r.closers = append(r.closers, func(context.Context) error { server.Shutdown(); return nil })
		r.address.NATS, r.address.User, r.address.Password = server.URL(), server.User(), server.Password()
		r.address.GroupCommit = !c.LazySync
		nc, err = server.Connect(options...)
	} else {
		if c.User != "" {
			options = append(options, nats.UserInfo(c.User, c.Password))
		}
		nc, err = nats.Connect(c.NATS, options...)
	}
	if err != nil {
		return nil, natsError(r.address.NATS, err)
	}
	r.closers = append(r.closers, func(context.Context) error { nc.Close(); return nil })
	return nc, nil
}

// natsError tells a wrong password from a server that does not answer. The address may hold credentials: only its host is named.
func natsError(address string, err error) error {
	host := address
	if u, parseErr := url.Parse(address); parseErr == nil && u.Host != "" {
		host = u.Host
	}
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) {
		return events.Errorf(events.ErrUnauthorized, "NATS at %s refused the credentials", host).Hint("Check user and password.")
	}
	return events.Errorf(events.ErrUnreachable, "NATS at %s does not answer: %w", host, err).Hint("Check the address, and that the server runs.")
}

// openRedis starts a Redis or checks the given one.
func (r *Region) openRedis(ctx context.Context, c Config, dir *embedded.Dir) error {
	server, err := embedded.StartRedis(ctx, embedded.RedisConfig{Mode: c.Redis, Dir: dir, Logger: c.Logger})
	if err != nil {
		return err
	}
	r.closers = append(r.closers, func(context.Context) error { return server.Close() })
	if note := server.Note(); note != "" {
		r.notes = append(r.notes, note)
	}
	r.redis = redis.NewClient(server.Options())
	r.closers = append(r.closers, func(context.Context) error { return r.redis.Close() })
	r.address.Redis, r.redisHint = redisURL(c.Redis, server.Options()), server.Describe()
	if done := server.Done(); done != nil {
		go func() {
			if <-done; server.Err() != nil {
				r.lost <- server.Err()
			}
		}()
	}
	if err := embedded.Check(ctx, r.redis); err != nil {
		return err
	}
	r.store, err = redisstore.New(r.redis, redisstore.Options{Prefix: c.RedisPrefix})
	return err
}

// redisURL returns the address by which another process reaches the Redis.
func redisURL(given string, o *redis.Options) string {
	switch given {
	case embedded.ModeAuto, embedded.ModeServer, embedded.ModeMini:
	default:
		return given
	}
	if o.Network == "unix" {
		return "unix://" + o.Addr
	}
	u := url.URL{Scheme: "redis", Host: o.Addr}
	if o.Password != "" {
		u.User = url.UserPassword(o.Username, o.Password)
	}
	return u.String()
}

func (r *Region) openLog(ctx context.Context, c Config, nc *nats.Conn, setUp bool) error {
	cfg := natslog.Config{Origin: c.Name}
	if setUp {
		if err := natslog.Setup(ctx, nc, cfg); err != nil {
			return err
		}
	}
	mode := natslog.Pipelined
	if r.address.GroupCommit {
		mode = natslog.GroupCommit
	}
	log, err := natslog.Open(ctx, nc, cfg, natslog.Options{Commit: mode, Logger: c.Logger})
	if err != nil {
		return err
	}
	r.log = log
	r.closers = append(r.closers, func(context.Context) error { log.Close(); return nil })
	return nil
}

// openState opens the region's KV and leases, and makes sure that the namespace in Redis is ours.
func (r *Region) openState(ctx context.Context, c Config, nc *nats.Conn, setUp bool) error {
	kv, leases, err := natskv.Open(ctx, nc, natskv.Config{Bucket: "tidemark-" + c.Name, Create: setUp, Takeover: c.NATS == "", Logger: c.Logger})
	if err != nil {
		return err
	}
	r.kv, r.leases = kv, leases
	if !setUp {
		return nil
	}
	installation, err := r.installation(ctx)
	if err != nil {
		return err
	}
	return r.store.ClaimNamespace(ctx, installation)
}

// installation returns this installation's name, made up by whoever comes first.
func (r *Region) installation(ctx context.Context) (string, error) {
	for {
		e, err := r.kv.Get(ctx, installationKey)
		if err == nil {
			return string(e.Value), nil
		}
		if !errors.Is(err, projections.ErrNoKey) {
			return "", err
		}
		name := r.name + "-" + events.NewID()
		if _, err := r.kv.Put(ctx, installationKey, []byte(name), 0); err == nil {
			return name, nil
		} else if !errors.Is(err, projections.ErrRevision) {
			return "", err
		}
	}
}
