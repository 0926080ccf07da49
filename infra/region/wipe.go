package region

import (
	"context"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// wipeChunk bounds the keys of one step.
const wipeChunk = 1_000

// Wipe removes every key of this region's read models from Redis, as an accident would. The projectors build them again from the log.
func (r *Region) Wipe(ctx context.Context) error {
	match := escapeGlob(r.address.RedisPrefix) + "*"
	var cursor uint64
	for {
		keys, next, err := r.redis.Scan(ctx, cursor, match, wipeChunk).Result()
		if err == nil && len(keys) > 0 {
			err = r.redis.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return events.Errorf(projections.ErrStoreUnreachable, "Redis could not be emptied: %w", err)
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
