// Package dial turns what a topology says about a region's servers into the options of their clients. It is apart from package topology, so that
// whoever only reads a topology file does not link the clients of NATS and Redis.
package dial

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/topology"
)

// defaultRedisPort is that of an address without one.
const defaultRedisPort = "6379"

// NATS returns the options with which a client logs in to a region's NATS servers; the servers themselves are NATS.URLs. Every secret and file is
// read once here, so that a missing one is found before anything is tried: topology.ErrSecret, ErrSecretExposed, ErrTLS. A password or a
// credentials file that changes later is taken at the next reconnection.
func NATS(n topology.NATS, env topology.Environment) ([]nats.Option, error) {
	var options []nats.Option
	switch {
	case n.User != "":
		password, err := n.Password.Resolve(env)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.UserInfoHandler(func() (string, string) {
			// One that cannot be read now is not known to be wrong: the last one is tried again.
			if fresh, err := n.Password.Resolve(env); err == nil {
				return n.User, fresh.Reveal()
			}
			return n.User, password.Reveal()
		}))
	case !n.Creds.IsZero():
		creds, err := n.Creds.Resolve(env)
		if err != nil {
			return nil, err
		}
		if n.Creds.File != "" {
			options = append(options, nats.UserCredentials(n.Creds.File)) // reads the file at every connection
		} else {
			options = append(options, nats.UserCredentialBytes([]byte(creds.Reveal())))
		}
	}
	secure, err := n.TLS.Config()
	if err != nil {
		return nil, err
	}
	if secure != nil {
		options = append(options, nats.Secure(secure))
	}
	return options, nil
}

// Redis returns the options of a client of a region's Redis, for redis.NewUniversalClient. Errors are those of NATS. A password that changes later is
// taken by the next connection.
func Redis(r topology.Redis, env topology.Environment) (*redis.UniversalOptions, error) {
	o := &redis.UniversalOptions{IsClusterMode: r.Cluster, ContextTimeoutEnabled: true}
	for _, address := range r.Addresses {
		u, err := url.Parse(address)
		if err != nil {
			return nil, err // Parse of package topology lets none through
		}
		if u.Scheme == "unix" {
			o.Addrs = append(o.Addrs, u.Path)
			continue
		}
		port := u.Port()
		if port == "" {
			port = defaultRedisPort
		}
		o.Addrs = append(o.Addrs, net.JoinHostPort(u.Hostname(), port))
		o.DB, _ = strconv.Atoi(strings.Trim(u.Path, "/")) // nothing there is database 0
		if u.Scheme == "rediss" {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	secure, err := r.TLS.Config()
	if err != nil {
		return nil, err
	}
	if secure != nil && o.TLSConfig != nil {
		o.TLSConfig = secure
	}
	if r.Password.IsZero() {
		return o, nil
	}
	if _, err := r.Password.Resolve(env); err != nil {
		return nil, err
	}
	o.CredentialsProviderContext = func(context.Context) (string, string, error) {
		password, err := r.Password.Resolve(env)
		return r.User, password.Reveal(), err
	}
	return o, nil
}
