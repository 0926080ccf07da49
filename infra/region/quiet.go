package region

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// QuietClients keeps the Redis client from writing lines of its own to stderr: what they say is in the errors. The setting is the
// process's, so a program calls it once, before it opens a region.
func QuietClients() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
