package region

import (
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/dial"
)

// Of returns how a process uses one of a topology's regions. It reads the secrets of that region. Errors: topology.ErrInvalid for a region that is
// not in the file, those of topology.Secret.Resolve.
func Of(t *topology.Topology, name string, role Role, env topology.Environment) (Config, error) {
	at, ok := t.Region(name)
	if !ok {
		return Config{}, events.Errorf(topology.ErrInvalid, "the topology has no region %q", name).Hint("It has %s.", strings.Join(t.RegionNames(), ", "))
	}
	natsOptions, err := dial.NATS(at.NATS, env)
	if err != nil {
		return Config{}, err
	}
	var redisOptions *redis.UniversalOptions
	if role.reads() { // another one uses no Redis, and may not have its secret
		if redisOptions, err = dial.Redis(at.Redis, env); err != nil {
			return Config{}, err
		}
	}
	origin := t.Origin()
	return Config{
		Name: at.Name, Origin: origin.Name, Leader: origin.Leader, Role: role, Regions: t.RegionNames(),
		NATS: strings.Join(at.NATS.URLs, ","), NATSOptions: natsOptions, Replicas: at.NATS.Replicas, KeepDamaged: at.NATS.KeepDamaged, LogFrom: at.NATS.LogFrom,
		GroupCommit:  at.NATS.Fsync && at.NATS.Replicas == 1, // replicated streams sync once for what is under way together
		RedisOptions: redisOptions, RedisPrefix: at.Redis.Prefix,
	}, nil
}
