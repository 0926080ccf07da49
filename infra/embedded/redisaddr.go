package embedded

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
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
