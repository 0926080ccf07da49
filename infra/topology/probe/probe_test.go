package probe_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/probe"
)

// patience is far more than a server on this machine needs, however busy it is.
const patience = 30 * time.Second

// natsServer starts a server with a configuration and returns its URL.
func natsServer(t *testing.T, conf string) string {
	t.Helper()
	return natstest.Start(t, func(o *server.Options) {
		o.JetStream = false // unless the configuration says so
		if err := o.ProcessConfigString(conf); err != nil {
			t.Fatal(err)
		}
	}).ClientURL()
}

const accounts = `
accounts { APP { jetstream: enabled, users [
  {user: tidemark, password: right}
  {user: poor, password: right, permissions { publish: ["$JS.API.STREAM.INFO.EVT_us"], subscribe: ["_INBOX.>"] }}
  {user: none, password: right, permissions { publish: ["x"], subscribe: ["_INBOX.>"] }}
] } }
`

func environment(more ...string) topology.Environment {
	return append(topology.Environment{"NATS_PASSWORD=right", "WRONG=wrong", "REDIS_PASSWORD=right"}, more...)
}

// try tries one region of the given servers.
func try(t *testing.T, nats, redis string, timeout time.Duration) (natsResult, redisResult probe.Result) {
	t.Helper()
	text := fmt.Sprintf("version: 1\nregions: {us: {nats: {%s}, redis: {%s}}}\norigins: {us: {leader: us}}\n", nats, redis)
	topo, err := topology.Parse("tidemark.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	results := probe.Servers(t.Context(), topo, environment(), timeout)
	if len(results) != 2 || results[0].Kind != "nats" || results[1].Kind != "redis" || results[0].Region != "us" {
		t.Fatalf("the results are %+v", results)
	}
	for _, r := range results {
		if r.OK != (r.Code == "") || !r.OK && (r.Message == "" || r.Next == "") {
			t.Errorf("the result is %+v", r)
		}
	}
	return results[0], results[1]
}

func TestServersAsWrittenAreFound(t *testing.T) {
	url := natsServer(t, "jetstream {domain: us}"+accounts)
	redis := redistest.Start(t)
	n, r := try(t, "urls: ["+url+"], user: tidemark, password: {env: NATS_PASSWORD}", "addresses: ['unix://"+redis.Options().Addr+"']", patience)
	if !n.OK || n.Found != "nats-server "+server.VERSION+", domain us" || n.Address != url {
		t.Errorf("NATS: %+v", n)
	}
	if !r.OK || r.Found != "Redis" {
		t.Errorf("Redis: %+v", r)
	}
}

func TestWhatIsWrongWithNATSIsToldApart(t *testing.T) {
	elsewhere := natsServer(t, "jetstream {domain: eu}"+accounts)
	on, off := natsServer(t, "jetstream {domain: us}"+accounts), natsServer(t, strings.Replace(accounts, "jetstream: enabled, ", "", 1))
	bare := natsServer(t, "jetstream {}"+accounts)
	free := silentPort(t, false)
	silent := silentPort(t, true)
	folder := t.TempDir()
	open := filepath.Join(folder, "open")
	if err := os.WriteFile(open, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil { //nolint:gosec // what is tested
		t.Fatal(err)
	}
	const right = ", user: tidemark, password: {env: NATS_PASSWORD}"
	for name, c := range map[string]struct {
		nats string
		code events.Code
		says string
	}{
		"wrong password":  {"urls: [" + on + "], user: tidemark, password: {env: WRONG}", events.ErrUnauthorized, "refused user tidemark with the password from $WRONG"},
		"no credentials":  {"urls: [" + on + "]", events.ErrUnauthorized, "refused a client without credentials"},
		"another domain":  {"urls: [" + elsewhere + "]" + right, probe.ErrNotAsWritten, `has the domain "eu", and the topology file says "us"`},
		"no domain":       {"urls: [" + bare + "]" + right, probe.ErrNotAsWritten, "has no domain"},
		"no JetStream":    {"urls: [" + off + "]" + right, probe.ErrNotAsWritten, "has no JetStream"},
		"no right at all": {"urls: [" + on + "], user: none, password: {env: NATS_PASSWORD}", events.ErrUnauthorized, "lets user none with the password from $NATS_PASSWORD in"},
		"nobody there":    {"urls: [nats://" + free + "]" + right, events.ErrUnreachable, "cannot be reached"},
		"no secret":       {"urls: [" + on + "], user: tidemark, password: {env: NOT_SET}", topology.ErrSecret, "$NOT_SET is not set"},
		"an open secret":  {"urls: [" + on + "], user: tidemark, password: {file: " + open + "}", topology.ErrSecretExposed, open},
		"no such creds":   {"urls: [" + on + "], creds: {file: /nonexistent}", topology.ErrSecret, "/nonexistent"},
		"no such ca":      {"urls: [" + on + "], tls: {ca: /nonexistent}" + right, topology.ErrTLS, "/nonexistent"},
		"not TLS":         {"urls: [" + strings.Replace(on, "nats://", "tls://", 1) + "]" + right, events.ErrUnreachable, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := try(t, c.nats, "addresses: ['redis://"+free+"']", patience)
			if n.OK || n.Code != c.code || !strings.Contains(n.Message, c.says) || strings.Contains(fmt.Sprint(n), "wrong,") {
				t.Errorf("the result is %+v, want %s saying %q", n, c.code, c.says)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		const soon = 300 * time.Millisecond
		n, r := try(t, "urls: [nats://"+silent+"]"+right, "addresses: ['redis://"+silent+"']", soon)
		if n.Code != events.ErrUnreachable || r.Code != events.ErrUnreachable {
			t.Errorf("the results are %+v and %+v", n, r)
		}
	})
}

func TestAUserWithFewRightsIsEnough(t *testing.T) {
	url := natsServer(t, "jetstream {domain: us}"+accounts)
	n, _ := try(t, "urls: ["+url+"], user: poor, password: {env: NATS_PASSWORD}", "addresses: ['redis://"+silentPort(t, false)+"']", patience)
	if !n.OK || !strings.Contains(n.Found, "domain is not known") {
		t.Errorf("NATS: %+v", n)
	}
}

func TestWhatIsWrongWithRedisIsToldApart(t *testing.T) {
	s := redistest.Start(t)
	address := "'unix://" + s.Options().Addr + "'"
	nats := "urls: [nats://" + silentPort(t, false) + "]"
	if _, r := try(t, nats, "addresses: ["+address+"], password: {env: WRONG}, user: me", patience); r.Code != events.ErrUnauthorized ||
		!strings.Contains(r.Message, "refused user me with the password from $WRONG") {
		t.Errorf("Redis: %+v", r)
	}
	if _, r := try(t, nats, "addresses: ["+address+"], cluster: false, password: {env: NOT_SET}", patience); r.Code != topology.ErrSecret {
		t.Errorf("Redis: %+v", r)
	}
	if err := s.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	if _, r := try(t, nats, "addresses: ["+address+"]", patience); r.Code != embedded.ErrUnsafeRedis || !strings.Contains(r.Message, "allkeys-lru") {
		t.Errorf("Redis: %+v", r)
	}
	if err := s.Client().ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Client().Do(t.Context(), "ACL", "SETUSER", "tidemark", "on", ">right", "allkeys", "allcommands").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Client().Do(t.Context(), "ACL", "SETUSER", "narrow", "on", ">right", "allkeys", "+ping", "+hello", "+client").Err(); err != nil {
		t.Fatal(err)
	}
	if _, r := try(t, nats, "addresses: ["+address+"], user: tidemark, password: {env: REDIS_PASSWORD}", patience); !r.OK {
		t.Errorf("Redis: %+v", r)
	}
	if _, r := try(t, nats, "addresses: ["+address+"], user: narrow, password: {env: REDIS_PASSWORD}", patience); r.Code != events.ErrUnauthorized || !strings.Contains(r.Message, "may not run INFO") {
		t.Errorf("Redis: %+v", r)
	}
	if _, r := try(t, nats, "addresses: ['redis://"+silentPort(t, false)+"']", patience); r.Code != events.ErrUnreachable {
		t.Errorf("Redis: %+v", r)
	}
}

func TestAnEndedContextEndsEveryTry(t *testing.T) {
	topo, err := topology.Parse("f", []byte(topology.Example()), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range probe.Servers(ctx, topo, nil, patience) {
		if r.OK {
			t.Errorf("the result is %+v", r)
		}
	}
}

// silentPort returns an address of this machine on which nobody listens, or where somebody listens and never says a word.
func silentPort(t *testing.T, listens bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !listens {
		l.Close()
	} else {
		t.Cleanup(func() { l.Close() })
	}
	return l.Addr().String()
}
