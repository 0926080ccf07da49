//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
)

// testServer starts a redis-server for the rest of the test, and a client that may do everything.
func testServer(t *testing.T) (*Redis, *redis.Client) {
	t.Helper()
	r := startTestRedis(t, RedisConfig{Mode: ModeServer, Dir: openDir(t, shortTemp(t))})
	return r, newClient(t, r.Options())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// as returns a client of the server with other credentials.
func as(t *testing.T, r *Redis, user, password string) *redis.Client {
	t.Helper()
	o := r.Options()
	o.Username, o.Password = user, password
	return newClient(t, o)
}

func TestCheckRefusesEveryPolicyThatEvicts(t *testing.T) {
	_, c := testServer(t)
	for _, policy := range []string{
		"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "allkeys-lru", "allkeys-lfu", "allkeys-random",
	} {
		must(t, c.ConfigSet(t.Context(), "maxmemory-policy", policy).Err())
		wantCode(t, Check(t.Context(), c), ErrUnsafeRedis, policy, c.Options().Addr, "CONFIG SET maxmemory-policy noeviction", "nothing was written")
	}
	must(t, c.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	must(t, Check(t.Context(), c))
}

func TestCheckSeesThePolicyWithoutTheRightToConfig(t *testing.T) {
	r, c := testServer(t)
	must(t, c.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">sesame", "~*", "+@all", "-config").Err())
	app := as(t, r, "app", "sesame")
	must(t, Check(t.Context(), app))
	must(t, c.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	wantCode(t, Check(t.Context(), app), ErrUnsafeRedis, "allkeys-lru")
}

func TestCheckNamesTheRightItNeeds(t *testing.T) {
	r, c := testServer(t)
	must(t, c.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">sesame", "~*", "+@all", "-@dangerous").Err())
	wantCode(t, Check(t.Context(), as(t, r, "app", "sesame")), events.ErrUnauthorized, "INFO", "+info")
	must(t, c.Do(t.Context(), "ACL", "SETUSER", "less", "on", ">sesame", "~*", "-@all").Err())
	wantCode(t, Check(t.Context(), as(t, r, "less", "sesame")), events.ErrUnauthorized, "PING", "+ping")
}

func TestCheckRefusesAReplica(t *testing.T) {
	_, c := testServer(t)
	must(t, c.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err())
	wantCode(t, Check(t.Context(), c), ErrUnsafeRedis, "replica of 127.0.0.1:1", "address of its master")
	// One that accepts writes is no better: they are gone with the next synchronisation.
	must(t, c.ConfigSet(t.Context(), "replica-read-only", "no").Err())
	wantCode(t, Check(t.Context(), c), ErrUnsafeRedis, "replica")
	must(t, c.ConfigSet(t.Context(), "replica-serve-stale-data", "no").Err())
	wantCode(t, Check(t.Context(), c), events.ErrUnreachable, "cannot serve yet")
	must(t, c.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	must(t, Check(t.Context(), c))
}

func TestCheckNamesEveryReasonAtOnce(t *testing.T) {
	_, c := testServer(t)
	must(t, c.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	must(t, c.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err())
	wantCode(t, Check(t.Context(), c), ErrUnsafeRedis, "allkeys-lru", "replica", "noeviction", "master")
}

func TestCheckTellsWrongCredentialsFromNoServer(t *testing.T) {
	r, c := testServer(t)
	must(t, Check(t.Context(), as(t, r, "", "sesame"))) // while it has no password, the server takes any
	must(t, c.ConfigSet(t.Context(), "requirepass", "right").Err())
	for _, bad := range []*redis.Client{as(t, r, "", "sesame"), as(t, r, "", ""), as(t, r, "nobody", "sesame")} {
		err := Check(t.Context(), bad)
		wantCode(t, err, events.ErrUnauthorized, r.Options().Addr, "redis://user:password@host:port")
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
	must(t, Check(t.Context(), as(t, r, "", "right")))

	l, err := net.Listen("tcp", DefaultListen)
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	gone := newClient(t, &redis.Options{Addr: addr, Password: "sesame", MaxRetries: -1, DialerRetries: 1})
	err = Check(t.Context(), gone)
	wantCode(t, err, events.ErrUnreachable, addr)
	if errors.Is(err, events.ErrUnauthorized) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("no server: %v", err)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", DefaultListen) // takes connections and never answers
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, Check(ctx, newClient(t, &redis.Options{Addr: l.Addr().String(), ContextTimeoutEnabled: true})), events.ErrUnreachable, l.Addr().String())
}

func TestCheckWritesNothing(t *testing.T) {
	_, c := testServer(t)
	must(t, Check(t.Context(), c))
	if n, err := c.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v", n, err)
	}
}

func TestCheckAcceptsMiniredis(t *testing.T) {
	r := startTestRedis(t, RedisConfig{Mode: ModeMini})
	must(t, Check(t.Context(), newClient(t, r.Options())))
	o := r.Options()
	o.Password = "wrong"
	wantCode(t, Check(t.Context(), newClient(t, o)), events.ErrUnauthorized, o.Addr)
	o = r.Options()
	o.Password = ""
	wantCode(t, Check(t.Context(), newClient(t, o)), events.ErrUnauthorized, o.Addr)
}

func TestRefusalIsToldFromOtherAnswers(t *testing.T) {
	for text, want := range map[string]bool{
		"ERR AUTH <password> called without any password configured for the default user.": true,
		"ERR invalid password":                 true,
		"ERR unknown command 'HELLO'":          false,
		"LOADING Redis is loading the dataset": false,
	} {
		if got := refused(fmt.Errorf("failed to authenticate: %w", errors.New(text))); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestJudgeKnowsWhatIsUnsafe(t *testing.T) {
	for name, c := range map[string]struct {
		info string
		want string // in the only finding; "" is none
	}{
		"safe":     {"# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n", ""},
		"silent":   {"", ""},
		"old":      {"redis_version:6.0.16\r\nrole:master\r\nmaxmemory_policy:noeviction", "6.0.16"},
		"replica":  {"redis_version:6.2.0\r\nrole:slave\r\nmaster_host:h\r\nmaster_port:1", "replica of h:1"},
		"evicting": {"maxmemory_policy:volatile-ttl", "volatile-ttl"},
	} {
		info := make(map[string]string)
		readSection(info, c.info)
		fs := judge(info)
		switch {
		case c.want == "" && len(fs) != 0:
			t.Errorf("%s: %v", name, fs)
		case c.want != "" && (len(fs) != 1 || !strings.Contains(fs[0].found, c.want) || fs[0].mend == ""):
			t.Errorf("%s: %v, want %q", name, fs, c.want)
		}
	}
}
