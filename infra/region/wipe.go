package region

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// wipeChunk bounds the keys of one step.
const wipeChunk = 1_000

// Wipe removes every key of this region's read models from Redis, as an accident would. The projectors build them again from the log.
func (r *Region) Wipe(ctx context.Context) error {
	wipe := func(ctx context.Context, c *redis.Client) error {
		return wipe(ctx, c, escapeGlob(r.config.RedisPrefix)+"*")
	}
	var err error
	if cluster, ok := r.redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, wipe)
	} else if lone, ok := r.redis.(*redis.Client); ok {
		err = wipe(ctx, lone)
	}
	if err != nil {
		return events.Errorf(projections.ErrStoreUnreachable, "Redis could not be emptied: %w", err)
	}
	return nil
}

// Deface changes a field of a stored document behind its projector's back, as an accident or a person would.
func (r *Region) Deface(ctx context.Context, g projections.Generation, key, field, value string) error {
	name := r.store.DocumentName(g, projections.Ref{Partition: projections.PartitionOf(key, g.Partitions), Key: key})
	if err := r.redis.HSet(ctx, name, field, value).Err(); err != nil {
		return events.Errorf(projections.ErrStoreUnreachable, "the document could not be changed: %w", err)
	}
	return nil
}

// wipe removes the keys of one server that match. Each is removed by itself, since those of a cluster are of different slots.
func wipe(ctx context.Context, c *redis.Client, match string) error {
	var cursor uint64
	for {
		keys, next, err := c.Scan(ctx, cursor, match, wipeChunk).Result()
		if err == nil && len(keys) > 0 {
			_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, key := range keys {
					p.Unlink(ctx, key)
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// escapeGlob makes a text match itself only.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}
