package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/dial"
)

// tryRedis logs in at one address and checks whether a read model can be kept there; of a Redis Cluster, every master that this node knows.
func tryRedis(ctx context.Context, r topology.Redis, address string, env topology.Environment, timeout time.Duration) (string, error) {
	r.Addresses = []string{address}
	options, err := dial.Redis(r, env)
	if err != nil {
		return "", err
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = timeout, timeout, timeout
	options.MaxRetries, options.DialerRetries = -1, 1
	client := redis.NewUniversalClient(options)
	defer client.Close() //nolint:errcheck // nothing was written
	if err := embedded.Check(ctx, client); err != nil {
		return "", redisError(r, address, err)
	}
	if r.Cluster {
		return "Redis Cluster", nil
	}
	return "Redis", nil
}

// redisError replaces advice about passwords in addresses, which a topology file has none of.
func redisError(r topology.Redis, address string, err error) error {
	e, ok := errors.AsType[*events.Error](err)
	if !ok || !errors.Is(err, events.ErrUnauthorized) || redis.IsPermissionError(err) {
		return err
	}
	who := "a client without credentials"
	switch {
	case r.User != "":
		who = fmt.Sprintf("user %s with the password from %s", r.User, r.Password)
	case !r.Password.IsZero():
		who = fmt.Sprintf("the password from %s", r.Password)
	}
	if redis.IsAuthError(e.Err) {
		return events.Errorf(events.ErrUnauthorized, "Redis at %s refused %s", address, who).Hint("Check the user, and what is there.")
	}
	return err
}
