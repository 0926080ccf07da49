//go:build unix

package embedded_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/embedded"
)

// client returns the client of a Redis at addresses, for the rest of a test.
func client(t *testing.T, c embedded.RedisConfig) redis.UniversalClient {
	t.Helper()
	r, err := embedded.StartRedis(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	u := r.Client()
	t.Cleanup(func() {
		if err := errors.Join(u.Close(), r.Close()); err != nil {
			t.Error(err)
		}
	})
	return u
}

// refuses fails unless the error has the code, and says each text, and no password.
func refuses(t *testing.T, err error, code events.Code, texts ...string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("got %v, want a %s", err, code)
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
	if strings.Contains(err.Error(), clustertest.RedisPassword) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("the error repeats a password: %v", err)
	}
}

func TestARedisClusterIsFoundFromOneOrSeveralAddressesAndChecked(t *testing.T) {
	c := clustertest.StartRedis(t, 0)
	ctx, addrs := t.Context(), c.Addresses()
	of := func(addrs ...string) redis.UniversalClient {
		t.Helper()
		return client(t, embedded.RedisConfig{Addresses: addrs, Cluster: true, Password: clustertest.RedisPassword})
	}
	ok := func(u redis.UniversalClient) {
		t.Helper()
		if err := embedded.Check(ctx, u); err != nil {
			t.Error(err)
		}
	}
	ok(of(addrs[0]))
	ok(of(addrs...))
	ok(client(t, embedded.RedisConfig{Addresses: []string{"redis://:" + clustertest.RedisPassword + "@" + addrs[1]}, Cluster: true}))

	t.Run("a node given as a single server", func(t *testing.T) {
		single := client(t, embedded.RedisConfig{Addresses: addrs[:1], Password: clustertest.RedisPassword})
		refuses(t, embedded.Check(ctx, single), embedded.ErrUnsafeRedis, addrs[0], "node of a Redis Cluster", "Say that it is a cluster")
	})
	t.Run("wrong credentials", func(t *testing.T) {
		for _, password := range []string{"", "sesame"} {
			wrong := client(t, embedded.RedisConfig{Addresses: addrs, Password: password})
			refuses(t, embedded.Check(ctx, wrong), events.ErrUnauthorized, addrs[0])
		}
	})
	t.Run("a user without a right", func(t *testing.T) {
		const reader = "+ping +hello +info +cluster|slots +cluster|shards +cluster|info +command"
		for missing, says := range map[string]string{"": "", "+info": "+info", "+cluster|info": "+cluster|info", "+cluster|slots": "+cluster|slots", "+ping": "+ping"} {
			rule := []any{"acl", "setuser", "app", "reset", "on", ">sesame", "~*"}
			for _, right := range strings.Fields(reader) {
				if right != missing {
					rule = append(rule, right)
				}
			}
			for i := range clustertest.Masters {
				if err := c.Node(i).Do(ctx, rule...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			app := client(t, embedded.RedisConfig{Addresses: addrs, User: "app", Password: "sesame"})
			if missing == "" {
				ok(app)
				continue
			}
			refuses(t, embedded.Check(ctx, app), events.ErrUnauthorized, says)
		}
	})
	t.Run("one master that evicts", func(t *testing.T) {
		set := func(policy string) {
			if err := c.Node(1).ConfigSet(ctx, "maxmemory-policy", policy).Err(); err != nil {
				t.Fatal(err)
			}
		}
		set("allkeys-lru")
		refuses(t, embedded.Check(ctx, of(addrs[0])), embedded.ErrUnsafeRedis, addrs[1]+": its maxmemory-policy is allkeys-lru", "noeviction")
		set("noeviction")
		ok(of(addrs[0]))
	})
	t.Run("a slot without a master", func(t *testing.T) {
		if err := c.Node(2).ClusterDelSlots(ctx, 16_383).Err(); err != nil {
			t.Fatal(err)
		}
		refuses(t, embedded.Check(ctx, of(addrs[2])), events.ErrUnreachable, "not complete", "16383 of 16384", "--cluster check")
		if err := c.Node(2).ClusterAddSlots(ctx, 16_383).Err(); err != nil {
			t.Fatal(err)
		}
		c.Joined(2)
	})
	t.Run("a master that is gone", func(t *testing.T) {
		c.Kill(1)
		refuses(t, embedded.Check(ctx, of(addrs...)), events.ErrUnreachable)
		c.Kill(0)
		c.Kill(2)
		refuses(t, embedded.Check(ctx, of(addrs...)), events.ErrUnreachable, addrs[0])
	})
}

func TestANodeWithoutSlotsIsNoCompleteCluster(t *testing.T) {
	c := clustertest.StartRedis(t, 0)
	if err := c.Node(0).ClusterResetHard(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	alone := client(t, embedded.RedisConfig{Addresses: c.Addresses()[:1], Cluster: true, Password: clustertest.RedisPassword})
	refuses(t, embedded.Check(t.Context(), alone), events.ErrUnreachable)
}

func TestARedisClusterSpeaksTLSWithThoseItTrusts(t *testing.T) {
	addr, roots := clustertest.StartRedisTLS(t)
	config := embedded.RedisConfig{Addresses: []string{"rediss://" + addr}, Cluster: true, Password: clustertest.RedisPassword}
	refuses(t, embedded.Check(t.Context(), client(t, config)), events.ErrUnreachable, addr, "TLS")
	config.RootCAs = roots
	trusting := client(t, config)
	if err := embedded.Check(t.Context(), trusting); err != nil {
		t.Fatal(err)
	}
	if err := trusting.Set(t.Context(), "a", "1", 0).Err(); err != nil {
		t.Error(err)
	}
	config.Addresses = []string{addr}
	refuses(t, embedded.Check(t.Context(), client(t, config)), events.ErrUnreachable, addr, "TLS")
}

func TestASingleServerGivenAsAClusterIsRefused(t *testing.T) {
	addr := clustertest.StartRedisAlone(t)
	of := func(cluster bool) redis.UniversalClient {
		t.Helper()
		return client(t, embedded.RedisConfig{Addresses: []string{addr}, Cluster: cluster, Password: clustertest.RedisPassword})
	}
	refuses(t, embedded.Check(t.Context(), of(true)), embedded.ErrUnsafeRedis, addr, "no Redis Cluster", "do not say that it is a cluster")
	if err := embedded.Check(t.Context(), of(false)); err != nil {
		t.Error(err)
	}
}

func TestContradictingAddressesAreRefused(t *testing.T) {
	for name, c := range map[string]embedded.RedisConfig{
		"mode and addresses":           {Mode: "localhost:1", Addresses: []string{"localhost:2"}},
		"a mode of our own, clustered": {Mode: embedded.ModeServer, Cluster: true},
		"a password for no address":    {Password: "sesame"},
		"a password twice":             {Addresses: []string{"redis://:sesame@localhost:1"}, Password: "sesame"},
		"a database of a cluster":      {Addresses: []string{"redis://localhost:1/2"}, Cluster: true},
		"a socket of a cluster":        {Addresses: []string{"unix:///run/r.sock"}, Cluster: true},
		"TLS at one node only":         {Addresses: []string{"redis://localhost:1", "rediss://localhost:2"}},
		"two passwords":                {Addresses: []string{"redis://:sesame@localhost:1", "redis://:sesam@localhost:2"}},
		"no address":                   {Addresses: []string{"localhost:1", "there"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := embedded.StartRedis(t.Context(), c)
			refuses(t, err, embedded.ErrBadAddress)
		})
	}
}

func TestTheClientOfAddressesIsOfTheRightKind(t *testing.T) {
	one := client(t, embedded.RedisConfig{Addresses: []string{"rediss://cache.example:6380/3"}, User: "app", Password: "sesame"})
	c, ok := one.(*redis.Client)
	if !ok || c.Options().Addr != "cache.example:6380" || c.Options().DB != 3 || c.Options().Username != "app" || c.Options().TLSConfig == nil {
		t.Errorf("one address makes %T", one)
	}
	several := client(t, embedded.RedisConfig{Addresses: []string{"rediss://a.example:1", "rediss://b.example:2"}, User: "app", Password: "sesame"})
	k, ok := several.(*redis.ClusterClient)
	if !ok {
		t.Fatalf("two addresses make %T", several)
	}
	o := k.Options()
	if len(o.Addrs) != 2 || o.Username != "app" || o.Password != "sesame" || o.TLSConfig == nil || o.TLSConfig.ServerName != "" || !o.ContextTimeoutEnabled {
		t.Errorf("two addresses make a client of %v, %s", o.Addrs, o.Username)
	}
	r, err := embedded.StartRedis(t.Context(), embedded.RedisConfig{Addresses: []string{"a.example:1", "b.example:2"}, Password: "sesame"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.IsCluster() || r.Describe() != "redis-cli -c -h a.example -p 1" || r.Options().Addr != "a.example:1" || r.Close() != nil {
		t.Errorf("described as %s", r)
	}
}
