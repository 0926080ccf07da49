package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// ownerKey holds, behind the prefix, which installation's read models are here.
const ownerKey = "owner"

// ClaimNamespace makes the store's prefix belong to an installation, unless it belongs to one already. It returns ErrNamespaceTaken when it
// is another one: two installations that wrote under one prefix would overwrite each other's read models.
func (s *Store) ClaimNamespace(ctx context.Context, installation string) error {
	const op = "claim the namespace"
	if installation == "" {
		return events.Errorf(ErrInvalidOptions, "%s: the name of the installation is empty", op)
	}
	key := s.names.prefix + ownerKey
	if err := ctx.Err(); err != nil {
		return failure(ctx, op, err)
	}
	// Not SETNX: a reply lost on the way is sent again, and must find the claim of the first time.
	if err := s.client.SetArgs(ctx, key, installation, redis.SetArgs{Mode: "NX"}).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return failure(ctx, op, err)
	}
	found, err := s.ReadNamespace(ctx)
	if err != nil {
		return err
	}
	if found != installation {
		return events.Errorf(projections.ErrNamespaceTaken, "the keys under %q belong to the installation %q, not to %q; nothing was written",
			s.names.prefix, found, installation).
			Hint("Use another Redis or another prefix. If %q is gone for good, delete the key %q.", found, key)
	}
	return nil
}

// ReadNamespace returns the installation that the store's prefix belongs to; empty when it belongs to none.
func (s *Store) ReadNamespace(ctx context.Context) (string, error) {
	const op = "read the namespace"
	if err := ctx.Err(); err != nil {
		return "", failure(ctx, op, err)
	}
	found, err := s.client.Get(ctx, s.names.prefix+ownerKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", failure(ctx, op, err)
	}
	return found, nil
}
