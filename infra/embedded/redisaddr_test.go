//go:build unix

package embedded

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestRedisAtAnAddressIsUsedAsItIs(t *testing.T) {
	for _, c := range []struct{ address, network, addr, user, password, describe string }{
		{"10.0.0.1:6379", "tcp", "10.0.0.1:6379", "", "", "redis-cli -h 10.0.0.1 -p 6379"},
		{"[::1]:6380", "tcp", "[::1]:6380", "", "", "redis-cli -h ::1 -p 6380"},
		{"redis://u:sesame@cache.example:6380/2", "tcp", "cache.example:6380", "u", "sesame", "redis-cli -u redis://cache.example:6380/2"},
		{"rediss://:sesame@cache.example", "tcp", "cache.example:6379", "", "sesame", "redis-cli -u rediss://cache.example:6379/0"},
		{"unix:///run/my redis/r.sock?db=1", "unix", "/run/my redis/r.sock", "", "", "redis-cli -s '/run/my redis/r.sock' -n 1"},
	} {
		r, err := StartRedis(t.Context(), RedisConfig{Mode: c.address})
		if err != nil {
			t.Errorf("%s: %v", c.address, err)
			continue
		}
		o := r.Options()
		if o.Network != c.network || o.Addr != c.addr || o.Username != c.user || o.Password != c.password {
			t.Errorf("%s: got %s %s %s", c.address, o.Network, o.Addr, o.Username)
		}
		if strings.HasPrefix(c.address, "rediss") != (o.TLSConfig != nil) {
			t.Errorf("%s: TLS %v", c.address, o.TLSConfig != nil)
		}
		if r.Describe() != c.describe || strings.Contains(fmt.Sprintf("%+v", r), "sesame") {
			t.Errorf("%s: described as %s", c.address, r.Describe())
		}
		if r.IsMini() || r.PID() != 0 || r.Note() != "" || r.Err() != nil {
			t.Errorf("%s: %+v", c.address, r)
		}
		if o == r.Options() {
			t.Errorf("%s: two clients would share their options", c.address)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: %v", c.address, err)
		}
		<-r.Done()
	}
}

func TestBadAddressIsRefusedWithoutItsPassword(t *testing.T) {
	for _, address := range []string{
		"servr", "localhost", ":6379", "localhost:", "localhost:0", "localhost:66000", "http://:sesame@localhost:1",
		"redis://u:sesame@local host:6379", "redis://u:ses%zzsesame@localhost:6379", "redis://localhost:6379/0?password=sesame",
		"u:sesame@localhost:6379", "redis://u:sesame@localhost:6379/x", "unix://:sesame@", "redis://u:se@sesame@localhost:port",
	} {
		_, err := StartRedis(t.Context(), RedisConfig{Mode: address})
		wantCode(t, err, ErrBadAddress, "redis://user:password@host:port/0")
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func FuzzAddressErrorHoldsNoPassword(f *testing.F) {
	f.Add("redis", "user", "localhost:6379/0")
	f.Add("unix", "", "/run/redis.sock?db=x")
	f.Add("", "a:b", "[::1]:1?x")
	f.Fuzz(func(t *testing.T, scheme, user, host string) {
		const secret = "0penSesame0"
		if strings.Contains(scheme+user+host, secret) {
			return // the secret is elsewhere too
		}
		text := user + ":" + secret + "@" + host
		if scheme != "" {
			text = scheme + "://" + text
		}
		_, describe, err := parseAddress(text)
		if err != nil && !errors.Is(err, ErrBadAddress) {
			t.Errorf("%v is no %s", err, ErrBadAddress)
		}
		if strings.Contains(fmt.Sprint(describe, err), secret) {
			t.Errorf("%q: %s %v", text, describe, err)
		}
	})
}

func TestVersionsAreCompared(t *testing.T) {
	for _, c := range []struct {
		version string
		older   bool
	}{
		{"6.0.16", true}, {"5.0.7", true}, {"6.2", false}, {"6.2.0", false}, {"7.0.15", false}, {"10.1.0", false},
		{"255.255.255", false}, {"", false}, {"unstable", false}, {"6", false},
	} {
		if got := olderThan(c.version, minRedis); got != c.older {
			t.Errorf("olderThan(%q) = %v", c.version, got)
		}
	}
}
