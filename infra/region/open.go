package region

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/internal/natsconn"
	"tidemark.dev/infra/natskv"
	"tidemark.dev/infra/natsobjects"
	"tidemark.dev/infra/natssignals"
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

// Open starts what is embedded, connects, and sets up what the role asks for: the log or its mirror, the region's state, the
// namespace in Redis. Errors: those of
// embedded (ErrDirInUse, …), events.ErrUnreachable, events.ErrUnauthorized, events.ErrUnsafeLog, events.ErrForeignHistory, events.ErrNoLog,
// embedded.ErrUnsafeRedis, projections.ErrNamespaceTaken, projections.ErrStoreUnreachable. After an error nothing is left running.
func Open(ctx context.Context, c Config) (*Region, error) {
	if c.NATS != "" && c.Role == Client && c.RedisOptions == nil && !c.OneRedis() {
		return nil, events.Errorf(embedded.ErrBadAddress, "region %s has a running NATS and no running Redis; nothing was started", c.Name).
			Hint("Name the address of its Redis.")
	}
	if c.NATS == "" && c.Role == Publisher {
		return nil, events.Errorf(embedded.ErrBadAddress, "region %s has no address of a running NATS; nothing was started", c.Name)
	}
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	r, err := open(ctx, c)
	if err != nil {
		return nil, errors.Join(err, r.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

// Connect uses a region that runs already; it starts and sets up nothing. Errors are those of Open.
func Connect(ctx context.Context, a Address, logger *slog.Logger) (*Region, error) {
	c := a.Config()
	c.Logger = logger
	return Open(ctx, c)
}

// open returns the region as far as it came, so that the caller can close it.
func open(ctx context.Context, c Config) (*Region, error) {
	r := &Region{
		config: c, lost: make(chan error, 1),
		address: Address{
			Region: c.Name, Origin: c.Origin, Leader: c.Leader, NATS: c.NATS, User: c.User, Password: c.Password, RedisPrefix: c.RedisPrefix,
			GroupCommit: c.GroupCommit,
		},
	}
	var dir *embedded.Dir
	if c.needsDir() {
		var err error
		if dir, err = embedded.OpenDir(c.DataDir); err != nil {
			return r, err
		}
		r.closers = append(r.closers, func(context.Context) error { return dir.Close() })
	}
	if err := r.openNATS(ctx, dir); err != nil {
		return r, err
	}
	if c.Role.reads() {
		if err := r.openRedis(ctx, dir); err != nil {
			return r, err
		}
	}
	if err := r.openLog(ctx); err != nil || c.Role == Publisher {
		return r, err
	}
	if c.Role != Writer {
		signals, err := natssignals.Open(r.nats, c.Name, natssignals.Options{Logger: c.Logger})
		if err != nil {
			return r, err
		}
		r.onClose(signals.Close)
		r.signals = signals
	}
	return r, r.openState(ctx)
}

// openNATS connects to the given server, or starts one.
func (r *Region) openNATS(ctx context.Context, dir *embedded.Dir) error {
	c := &r.config
	options := []nats.Option{nats.Name("tidemark " + c.Holder), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.Timeout(connectTimeout)}
	options = append(options, c.NATSOptions...)
	var nc *nats.Conn
	var err error
	if c.NATS == "" {
		start := embedded.NATSConfig{
			Region: c.Name, Dir: dir, LazySync: c.LazySync, Origins: []string{c.Origin}, Peers: c.Peers, Links: c.Links, Logger: c.Logger,
		}
		if !c.leads() {
			start.SyncInterval = embedded.MirrorSyncInterval
		}
		server, startErr := embedded.StartNATS(ctx, start)
		if startErr != nil {
			return startErr
		}
		r.onClose(server.Shutdown)
		r.server = server
		r.address.NATS, r.address.User, r.address.Password = server.URL(), server.User(), server.Password()
		r.address.GroupCommit = c.leads() && !c.LazySync
		nc, err = server.Connect(options...)
	} else {
		if c.User != "" {
			options = append(options, nats.UserInfo(c.User, c.Password))
		}
		nc, err = natsconn.Establish(func() (*nats.Conn, error) { return nats.Connect(c.NATS, options...) })
	}
	if err != nil {
		return natsError(r.address.NATS, err)
	}
	r.nats = nc
	r.onClose(nc.Close)
	r.onClose(r.attached.close)
	return nil
}

// natsError tells a wrong password from a server that does not answer. The address may hold credentials: only its host is named.
func natsError(addresses string, err error) error {
	var hosts []string
	for address := range strings.SplitSeq(addresses, ",") {
		host := "a server"
		if u, parseErr := url.Parse(address); parseErr == nil && u.Host != "" {
			host = u.Host
		}
		hosts = append(hosts, host)
	}
	where := strings.Join(hosts, ", ")
	if _, malformed := errors.AsType[*url.Error](err); malformed { // its text holds the whole address
		return events.Errorf(embedded.ErrBadAddress, "the address of NATS is not a URL").Hint("Write nats://host:port; several are joined by commas.")
	}
	if broken, ok := errors.AsType[*net.OpError](err); ok { // its text holds the port at our end, another at each attempt
		err = broken.Err
	}
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) {
		return events.Errorf(events.ErrUnauthorized, "NATS at %s refused the credentials", where).Hint("Check user and password.")
	}
	return events.Errorf(events.ErrUnreachable, "NATS at %s does not answer: %w", where, err).Hint("Check the address, and that the server runs.")
}

// openRedis starts a Redis, or connects to the given one, and checks it.
func (r *Region) openRedis(ctx context.Context, dir *embedded.Dir) error {
	c := &r.config
	if c.RedisOptions != nil {
		r.redis = redis.NewUniversalClient(c.RedisOptions)
		r.redisHint = "Redis at " + strings.Join(c.RedisOptions.Addrs, ", ")
	} else {
		server, err := embedded.StartRedis(ctx, embedded.RedisConfig{Mode: c.Redis, Dir: dir, Logger: c.Logger})
		if err != nil {
			return err
		}
		r.closers = append(r.closers, func(context.Context) error { return server.Close() })
		if note := server.Note(); note != "" {
			r.notes = append(r.notes, note)
		}
		r.redis = server.Client()
		r.address.Redis, r.redisHint = redisURL(c.Redis, server.Options()), server.Describe()
		if done := server.Done(); done != nil {
			r.keep(ctx, func(ctx context.Context) error {
				select {
				case <-done:
					return server.Err()
				case <-ctx.Done():
					return nil
				}
			})
		}
	}
	r.closers = append(r.closers, func(context.Context) error { return r.redis.Close() })
	if err := embedded.Check(ctx, r.redis); err != nil {
		return err
	}
	var err error
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

// openKV opens the region's KV and leases.
func (r *Region) openKV(ctx context.Context) (err error) {
	c := &r.config
	r.kv, r.leases, err = natskv.Open(ctx, r.nats, natskv.Config{
		Bucket: "tidemark-" + c.Name, Create: c.Role.Tends(), Replicas: c.Replicas, Takeover: c.NATS == "", Logger: c.Logger.With("region", c.Name),
	})
	return err
}

// openSnapshots makes the bucket of the region's snapshots, and opens it for whoever reads. A region whose NATS user has no right to it, as one that was set up before there were
// snapshots, works without them: whoever wants one is told so then.
func (r *Region) openSnapshots(ctx context.Context) error {
	c := &r.config
	config := natsobjects.Config{Bucket: "tidemark-snapshots-" + c.Name, Create: c.Role.Tends(), Replicas: c.Replicas, Logger: c.Logger.With("region", c.Name)}
	s, err := natsobjects.Open(ctx, r.nats, config)
	if errors.Is(err, events.ErrUnauthorized) && config.Create {
		c.Logger.Warn("there is no bucket for snapshots", "region", c.Name, "reason", err.Error())
		r.notes = append(r.notes, "Snapshots cannot be kept: "+err.Error())
		config.Create = false
		s, err = natsobjects.Open(ctx, r.nats, config)
	}
	if err != nil {
		return err
	}
	if !c.Role.reads() { // it was set up, and is for others
		s.Close()
		return nil
	}
	r.onClose(s.Close)
	r.snapshots = s
	return nil
}

// openState opens the region's KV, leases and snapshots, and makes sure that the namespace in Redis is ours.
func (r *Region) openState(ctx context.Context) error {
	c := &r.config
	if r.kv == nil { // whoever mirrors the log has opened it before
		if err := r.openKV(ctx); err != nil {
			return err
		}
	}
	if err := r.openSnapshots(ctx); err != nil {
		return err
	}
	if c.Role != Whole && c.Role != Projector {
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
		name := r.config.Name + "-" + events.NewID()
		if _, err := r.kv.Put(ctx, installationKey, []byte(name), 0); err == nil {
			return name, nil
		} else if !errors.Is(err, projections.ErrRevision) {
			return "", err
		}
	}
}
