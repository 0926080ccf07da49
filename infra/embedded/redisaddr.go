package embedded

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tidemark.dev/events"
)

// ownOptions returns the options for a Redis that we started: it has no use for what managed services announce.
func ownOptions(network, addr string) *redis.Options {
	return &redis.Options{
		Network: network, Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// parseAddress reads the address of a Redis: a redis://, rediss:// or unix:// URL, or host:port. The error never repeats
// a password, so the parsers' own errors, which may, are not passed on.
func parseAddress(text string) (options func() *redis.Options, describe string, err error) {
	if !strings.Contains(text, "://") {
		host, port, err := net.SplitHostPort(text)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			return nil, "", badAddress(text)
		}
		return func() *redis.Options { return &redis.Options{Network: "tcp", Addr: text, ContextTimeoutEnabled: true} },
			"redis-cli -h " + shellWord(host) + " -p " + port, nil
	}
	o, err := redis.ParseURL(text)
	if err != nil {
		return nil, "", badAddress(text)
	}
	options = func() *redis.Options {
		c := *o
		c.ContextTimeoutEnabled = true
		if o.TLSConfig != nil {
			c.TLSConfig = o.TLSConfig.Clone()
		}
		return &c
	}
	return options, describeOptions(o), nil
}

// elsewhere reports whether the configuration names a Redis that runs elsewhere. It returns ErrBadAddress for one that contradicts itself.
func (cfg RedisConfig) elsewhere() (bool, error) {
	ours := false
	switch cfg.Mode {
	case "", ModeAuto, ModeServer, ModeMini:
		ours = true
	}
	switch given := len(cfg.Addresses) > 0; {
	case given && cfg.Mode != "":
		return false, events.Errorf(ErrBadAddress, "both addresses of a Redis and %q were given, which is a choice between two", withoutSecrets(cfg.Mode)).
			Hint("Leave one of them out.")
	case ours && !given && (cfg.Cluster || cfg.User != "" || cfg.Password != ""):
		return false, events.Errorf(ErrBadAddress, "a cluster, a user or a password was given, and no address of a Redis").
			Hint("Give its address too; a Redis that is started here needs none of them.")
	default:
		return given || !ours, nil
	}
}

// parseServer reads the address of one server, and adds to it what is given beside it.
func parseServer(cfg RedisConfig, address string) (options func() *redis.Options, describe string, err error) {
	plain, describe, err := parseAddress(address)
	if err != nil {
		return nil, "", err
	}
	given := cfg.User != "" || cfg.Password != ""
	if o := plain(); given && (o.Username != "" || o.Password != "") {
		return nil, "", events.Errorf(ErrBadAddress, "user and password for the Redis at %s were given twice", o.Addr).
			Hint("Leave them out of the address.")
	}
	return func() *redis.Options {
		o := plain()
		if given {
			o.Username, o.Password = cfg.User, cfg.Password
		}
		if o.TLSConfig != nil {
			o.TLSConfig.RootCAs = cfg.RootCAs
		}
		return o
	}, describe, nil
}

// parseCluster reads the addresses of a cluster. What they say beside host and port has to be the same for all.
func parseCluster(cfg RedisConfig) (cluster func() *redis.ClusterOptions, first func() *redis.Options, describe string, err error) {
	var addrs []string
	for i, address := range cfg.Addresses {
		options, _, err := parseServer(cfg, address)
		if err != nil {
			return nil, nil, "", err
		}
		if i == 0 {
			first = options
		}
		o, same := options(), first()
		switch {
		case o.Network != "tcp":
			return nil, nil, "", events.Errorf(ErrBadAddress, "%s is a socket, and the nodes of a cluster are reached by host and port", o.Addr)
		case o.DB != 0:
			return nil, nil, "", events.Errorf(ErrBadAddress, "database %d was asked for at %s, and a cluster has only database 0", o.DB, o.Addr).
				Hint("Use a prefix to keep read models apart.")
		case o.Username != same.Username || o.Password != same.Password || (o.TLSConfig == nil) != (same.TLSConfig == nil):
			return nil, nil, "", events.Errorf(ErrBadAddress, "%s and %s differ in user, password or TLS, and a cluster has one of each", same.Addr, o.Addr).
				Hint("Give user and password beside the addresses, and use either redis:// or rediss:// for all.")
		}
		addrs = append(addrs, o.Addr)
	}
	cluster = func() *redis.ClusterOptions {
		o := first()
		if o.TLSConfig != nil {
			o.TLSConfig.ServerName = "" // each node proves the name, or the IP address, that it is dialed by
		}
		return &redis.ClusterOptions{
			Addrs: slices.Clone(addrs), Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig, Protocol: o.Protocol, ClientName: o.ClientName,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: true,
			PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout,
		}
	}
	return cluster, first, describeCluster(first()), nil
}

// describeCluster returns the redis-cli command for a cluster, without user and password.
func describeCluster(o *redis.Options) string {
	host, port, _ := net.SplitHostPort(o.Addr)
	cmd := "redis-cli -c -h " + shellWord(host) + " -p " + port
	if o.TLSConfig != nil {
		cmd += " --tls"
	}
	return cmd
}

func badAddress(text string) error {
	return events.Errorf(ErrBadAddress, "%q is not an address of a Redis", withoutSecrets(text)).
		Hint("Write host:port, redis://user:password@host:port/0, rediss:// for TLS, unix:///path/to/socket, or one of %s, %s, %s.",
			ModeAuto, ModeServer, ModeMini)
}

// describeOptions returns the redis-cli command for the options, without user and password.
func describeOptions(o *redis.Options) string {
	if o.Network == "unix" {
		cmd := "redis-cli -s " + shellWord(o.Addr)
		if o.DB != 0 {
			cmd += fmt.Sprintf(" -n %d", o.DB)
		}
		return cmd
	}
	return "redis-cli -u " + shellWord((&url.URL{Scheme: scheme(o.TLSConfig), Host: o.Addr, Path: "/" + strconv.Itoa(o.DB)}).String())
}

func scheme(t *tls.Config) string {
	if t != nil {
		return "rediss"
	}
	return "redis"
}

// withoutSecrets returns an address, well-formed or not, without everything that may be a secret: what precedes the
// last @, and parameters.
func withoutSecrets(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "", text
	} else {
		scheme += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "…" + rest[i:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	return scheme + rest
}

// shellWord quotes a word for a shell where it needs it.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
