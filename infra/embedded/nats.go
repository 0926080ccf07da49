package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
)

const (
	// DefaultListen is a free port that only this machine can reach.
	DefaultListen = "127.0.0.1:0"
	// DefaultMaxPayload bounds one message, in bytes: an event and its headers, with room for a page of a query's answer.
	DefaultMaxPayload = 2 << 20
	// MirrorSyncInterval is how often a server that only mirrors should sync to the disk. One sync for every record, as a leader needs it,
	// would hold a mirror to some thousand records a second.
	MirrorSyncInterval = time.Second

	appUser    = "tidemark"
	appAccount = "TIDEMARK"

	// accounts is the constant part of the server's configuration. It is text, because an account that is configured so
	// has its streams recovered before the server listens; one that is enabled after the start would be reachable and
	// empty for a moment, and would not be counted when the server derives its disk limit. Nobody can log in to SYS.
	accounts = `accounts { ` + appAccount + ` { jetstream: enabled }, SYS {} }
system_account: SYS`

	// maxMemoryStore bounds streams in memory, in bytes. Ours are on disk; KV buckets and consumer state are small.
	maxMemoryStore = 64 << 20
	// authTimeout is generous, since a laptop that starts three regions at once is slow for a moment.
	authTimeout = 10 * time.Second

	connectTimeout = 10 * time.Second
	reconnectWait  = 100 * time.Millisecond
	reconnectMix   = 50 * time.Millisecond
)

// NATSConfig says how the NATS server of a region is started. Region and Dir are required.
type NATSConfig struct {
	// Region names the JetStream domain: [a-z0-9-]{1,32}.
	Region string
	// Dir holds the store. Its lock must be held.
	Dir *Dir
	// Listen is host:port; port 0 takes a free one. Default DefaultListen. There is no TLS: keep it on this machine.
	Listen string
	// LazySync acknowledges before the data is on the disk (which then follows within two minutes). What a power failure
	// takes away is gone. Without it every write is flushed to the disk before it is acknowledged.
	LazySync bool
	// SyncInterval lets a server that only mirrors acknowledge before the data is on the disk, which follows within so long: what a
	// power failure takes away is mirrored again. 0 means what LazySync says. MirrorSyncInterval is a good value.
	SyncInterval time.Duration
	// Peers are the regions that may dial this one. With any, a listener for their links is opened, and each gets a password.
	Peers []string
	// LinkListen is host:port of that listener; port 0 takes a free one. Default DefaultListen. There is no TLS.
	LinkListen string
	// Links are dialled. Two regions share one link: one of them dials, the other has it among its peers. Until it is up, and
	// while it is down, it is tried again four times a second.
	Links []Link
	// Origins are the histories that the links carry. Default: one of each region's name, this one's and the others'.
	Origins []string
	// MaxPayload bounds one message, in bytes. Default DefaultMaxPayload.
	MaxPayload int
	// Logger gets the server's warnings and errors. Default: nothing is logged.
	Logger *slog.Logger
}

// NATS is a NATS server with JetStream in this process.
type NATS struct {
	srv      *server.Server
	region   string
	password string
	log      *slog.Logger
	release  func()
	stop     sync.Once

	linkAddress string            // of the listener for links
	links       map[string]string // peer -> password
}

// StartNATS starts the server and returns when it is ready: its streams are recovered and it listens. It continues the
// store that is in the directory. A recovery is not interrupted; ctx is looked at before and after it.
//
// It returns ErrAddressInUse, naming the address; ErrBadAddress; ErrDirInUse when the directory's server runs already;
// ErrUnsafeDir, ErrBadCredentials, events.ErrInvalidEvent for a bad region, and ErrNATSFailed for everything else.
func StartNATS(ctx context.Context, cfg NATSConfig) (*NATS, error) {
	if err := events.ValidateOrigin(cfg.Region); err != nil {
		return nil, err
	}
	if cfg.Dir == nil {
		return nil, events.Errorf(ErrNATSFailed, "NATS of region %s: no data directory was given; nothing was started", cfg.Region)
	}
	if err := cfg.validateLinks(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start NATS of region %s: %w", cfg.Region, err)
	}
	dir, release, err := cfg.Dir.claim("nats")
	if err != nil {
		return nil, err
	}
	n, err := startNATS(cfg, dir)
	if err != nil {
		release()
		return nil, err
	}
	n.release = release
	if err := ctx.Err(); err != nil {
		n.Shutdown()
		return nil, fmt.Errorf("start NATS of region %s: %w", cfg.Region, err)
	}
	n.log.Info("nats-server started", "region", n.region, "url", n.URL())
	return n, nil
}

func startNATS(cfg NATSConfig, dir string) (*NATS, error) {
	users := []string{appUser}
	for _, peer := range cfg.Peers {
		users = append(users, linkUser(peer))
	}
	passwords, err := loadCredentials(dir, users...)
	if err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	opts, err := natsOptions(cfg, dir, passwords)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, events.Errorf(ErrNATSFailed, "NATS of region %s: %w", cfg.Region, err)
	}
	for _, host := range []string{opts.Host, opts.LeafNode.Host} {
		if ip := net.ParseIP(host); host != "" && host != "localhost" && !ip.IsLoopback() {
			log.Warn("NATS can be reached from other machines, and the connection is not encrypted", "region", cfg.Region, "listen", host)
		}
	}
	sink := newNATSLog(log.With("region", cfg.Region), cfg.secretsOf(passwords))
	srv.SetLoggerV2(sink, false, false, false)
	srv.Start()
	if err := startFailure(cfg, srv, sink); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	n := &NATS{srv: srv, region: cfg.Region, password: passwords[appUser], log: log, links: make(map[string]string, len(cfg.Peers))}
	for _, peer := range cfg.Peers {
		n.links[peer] = passwords[linkUser(peer)]
		n.linkAddress = net.JoinHostPort(opts.LeafNode.Host, strconv.Itoa(opts.LeafNode.Port)) // the port is known by now
	}
	return n, nil
}

// natsOptions returns the server's options.
func natsOptions(cfg NATSConfig, dir string, passwords map[string]string) (*server.Options, error) {
	host, port, err := listenAddress(cfg.Listen)
	if err != nil {
		return nil, err
	}
	maxPayload := cfg.MaxPayload
	switch {
	case maxPayload == 0:
		maxPayload = DefaultMaxPayload
	case maxPayload < 0 || maxPayload > math.MaxInt32:
		return nil, events.Errorf(ErrNATSFailed, "NATS of region %s: a maximum payload of %d bytes is not possible", cfg.Region, maxPayload)
	}
	o := &server.Options{}
	if err := o.ProcessConfigString(accounts); err != nil {
		return nil, events.Errorf(ErrNATSFailed, "NATS of region %s: %w", cfg.Region, err)
	}
	o.ServerName = "tidemark-" + cfg.Region
	o.Host, o.Port = host, port
	o.NoSigs = true // signals belong to the process, not to a part of it
	o.AuthTimeout = authTimeout.Seconds()
	o.MaxPayload = int32(maxPayload)
	o.JetStream = true
	o.JetStreamDomain = cfg.Region
	o.JetStreamMaxMemory = maxMemoryStore
	o.StoreDir = dir // no disk limit here: the server takes three quarters of what is free, and says so when they are used
	o.SyncAlways = !cfg.LazySync
	switch {
	case cfg.SyncInterval < 0:
		return nil, events.Errorf(ErrNATSFailed, "NATS of region %s: a sync interval of %s is not possible", cfg.Region, cfg.SyncInterval)
	case cfg.SyncInterval > 0:
		o.SyncAlways, o.SyncInterval = false, cfg.SyncInterval
	}
	if o.Users, err = natsUsers(o, &cfg, passwords); err != nil {
		return nil, events.Errorf(ErrNATSFailed, "NATS of region %s: %w", cfg.Region, err)
	}
	return o, linkOptions(o, &cfg)
}

// natsUsers returns the users with their accounts: one client user with every right in the application's account, and one for each region
// that may open a link. The server gets hashes, so that no dump of its options shows a password. The cheapest cost is enough for 256
// random bits, and it is paid by every connection.
func natsUsers(o *server.Options, cfg *NATSConfig, passwords map[string]string) ([]*server.User, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(passwords[appUser]), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	for _, a := range o.Accounts {
		if a.Name == appAccount {
			app := &server.User{Username: appUser, Password: string(hash), Account: a,
				AllowedConnectionTypes: connectionTypes("STANDARD", "IN_PROCESS")}
			links, err := linkUsers(cfg, a, passwords)
			return append([]*server.User{app}, links...), err
		}
	}
	return nil, errors.New("account " + appAccount + " is missing")
}

// listenAddress splits host:port. The server's own word for a free port is -1; its 0 would be 4222.
func listenAddress(listen string) (host string, port int, err error) {
	if listen == "" {
		listen = DefaultListen
	}
	host, p, err := net.SplitHostPort(listen)
	if err == nil {
		var n uint64
		n, err = strconv.ParseUint(p, 10, 16)
		port = int(n)
	}
	if err != nil {
		return "", 0, events.Errorf(ErrBadAddress, "%q is not an address to listen on", listen).Hint("Write host:port, such as %s.", DefaultListen)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// startFailure tells whether Start failed, which returns nothing.
func startFailure(cfg NATSConfig, srv *server.Server, sink *natsLog) error {
	message, cause := sink.failed()
	switch {
	case errors.Is(cause, syscall.EADDRINUSE):
		listen := cfg.Listen
		if strings.Contains(message, "leafnode") {
			listen = cfg.LinkListen
		}
		return events.Errorf(ErrAddressInUse, "NATS of region %s: something else listens on %s; nothing was started", cfg.Region, listen).
			Hint("Stop it, or choose another address; port 0 takes a free one.")
	case message != "":
		return &events.Error{
			Code: ErrNATSFailed, What: fmt.Sprintf("NATS of region %s did not start: %s", cfg.Region, message), Err: cause,
			Next: "The log before this message may say more.",
		}
	case srv.Addr() == nil || !srv.JetStreamEnabled():
		return events.Errorf(ErrNATSFailed, "NATS of region %s did not start, and did not say why", cfg.Region)
	}
	return nil
}

// URL returns where clients connect, without user and password.
func (n *NATS) URL() string { return n.srv.ClientURL() }

// User returns the name of the application's user.
func (n *NATS) User() string { return appUser }

// Password returns the application's password. It is the same at every start of a data directory.
func (n *NATS) Password() string { return n.password }

// String describes the server without its password.
func (n *NATS) String() string { return "NATS of region " + n.region + " at " + n.URL() }

// Connect returns a connection inside the process, which touches no network. It reconnects for ever, and while it is
// not connected a publish fails at once instead of being kept back: a caller must be able to tell what became of it.
// Errors that have no caller, such as a missing right, are logged. Options given override these.
//
// It returns events.ErrUnreachable, or events.ErrClosed after Shutdown. A wrong password among the options is an
// ErrUnreachable after ten seconds: inside the process the server's refusal does not get through to the client.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	if !n.srv.Running() {
		return nil, events.Errorf(events.ErrClosed, "NATS of region %s was shut down", n.region)
	}
	all := append([]nats.Option{
		nats.InProcessServer(n.srv),
		nats.UserInfo(appUser, n.password),
		nats.Name("tidemark in " + n.region),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectMix, reconnectMix),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(n.asyncError),
	}, opts...)
	nc, err := natsconn.Establish(func() (*nats.Conn, error) { return nats.Connect(n.URL(), all...) })
	if err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "connect to NATS of region %s: %w", n.region, err)
	}
	return nc, nil
}

func (n *NATS) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	n.log.Error("nats connection", "region", n.region, "subject", subject, "error", err)
}

// Shutdown ends the server and waits until its store is closed. Connections are cut. It may be called more than once.
func (n *NATS) Shutdown() {
	n.stop.Do(func() {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
		n.release()
		n.log.Info("nats-server stopped", "region", n.region)
	})
}
