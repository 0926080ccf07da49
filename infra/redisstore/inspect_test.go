package redisstore_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// straysOf returns what Strays yields.
func straysOf(ctx context.Context, s *redisstore.Store, g projections.Generation) (refs []projections.Ref, err error) {
	for ref, err := range s.Strays(ctx, g, nil) {
		if err != nil {
			return refs, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

func TestAListOfKeysOfAnotherTypeIsNamed(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s := t.Context(), open(t, client)
		must(t, s.Create(ctx, generation(1), header(0, 1)))
		must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2, document("a", 1, 2))})[0])
		must(t, client.Set(ctx, "tm:{flights.1.00}:keys", "no sorted set", 0).Err())
		_, _, inspect := s.Inspect(ctx, generation(1), definition(), 0, []projections.Inspected{{Key: "a"}})
		_, _, _, sizes := s.Sizes(ctx, generation(1), definition(), 0)
		_, strays := straysOf(ctx, s, generation(1))
		for _, err := range []error{inspect, sizes, strays} {
			wantCode(t, err, projections.ErrWrongType)
			wantText(t, err, "tm:{flights.1.00}:keys")
		}
		must(t, client.Del(ctx, "tm:{flights.1.00}:head").Err()) // then it is nobody's
		if refs, err := straysOf(ctx, s, generation(1)); err != nil || refs != nil {
			t.Errorf("without a header the strays are %v, %v", refs, err)
		}
	})
}

func TestNamesThatAreNotOfOurDocumentsAreNoStrays(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s := t.Context(), open(t, client)
		must(t, s.Create(ctx, generation(4), header(3, 1)))
		for _, name := range []string{
			"tm:{flights.1.3}:doc:x", "tm:{flights.1.003}:doc:x", "tm:{flights.1.04}:doc:x", "tm:{flights.1.03}:doc", "tm:{flights.1.03}:doc2:x", "tm:{flights.1.03}:idx:by:doc:x",
			"tm:{flights.1.03x}:doc:x", "tm:{flights.1.-3}:doc:x", "other:{flights.1.03}:doc:x", "tm:{flights.1.}:doc:x",
		} {
			must(t, client.HSet(ctx, name, "name", "x").Err())
		}
		must(t, client.HSet(ctx, "tm:{flights.1.04}:head", "state", "live").Err()) // of a partition that there is not
		if refs, err := straysOf(ctx, s, generation(4)); err != nil || refs != nil {
			t.Errorf("the strays are %v, %v", refs, err)
		}
		must(t, client.HSet(ctx, "tm:{flights.1.03}:doc:", "name", "x").Err())
		if refs, err := straysOf(ctx, s, generation(4)); err != nil || len(refs) != 1 || refs[0] != (projections.Ref{Partition: 3}) {
			t.Errorf("the strays are %v, %v; want the one without a key", refs, err)
		}
	})
}

// What a walk found is looked at again: it may have been listed since, or removed, or its partition may be gone.
func TestWhatIsNoStrayAnyMoreIsNotYielded(t *testing.T) {
	name := docKey(generation(1), projections.Ref{Key: "x"})
	for what, meanwhile := range map[string]func(ctx context.Context, c *redis.Client) error{
		"nothing":       func(context.Context, *redis.Client) error { return nil },
		"it is removed": func(ctx context.Context, c *redis.Client) error { return c.Del(ctx, name).Err() },
		"it is listed": func(ctx context.Context, c *redis.Client) error {
			return c.ZAdd(ctx, base(generation(1), 0)+":keys", redis.Z{Member: "x"}).Err()
		},
		"all is emptied": func(ctx context.Context, c *redis.Client) error {
			return c.Del(ctx, base(generation(1), 0)+":head").Err()
		},
	} {
		for _, after := range []string{"scan", "zmscore"} {
			t.Run(what+" after "+after, func(t *testing.T) {
				server := redistest.Start(t)
				ctx := t.Context()
				reading := client(t, server, func(*redis.Options) {})
				reading.AddHook(&between{after: after, f: func() { must(t, meanwhile(ctx, server.Client())) }})
				must(t, open(t, server.Client()).Create(ctx, generation(1), header(0, 1)))
				must(t, server.Client().HSet(ctx, name, "name", "x").Err())
				refs, err := straysOf(ctx, open(t, reading), generation(1))
				if want := what == "nothing"; err != nil || (len(refs) == 1) != want {
					t.Errorf("the strays are %v, %v", refs, err)
				}
			})
		}
	}
}
