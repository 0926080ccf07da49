package deploy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
)

// redisServer is a redis-server with redis.conf and the users that the script made, on a socket, in a folder of the test's own.
type redisServer struct {
	t      *testing.T
	folder folder
	dir    string
	cmd    *exec.Cmd
	said   bytes.Buffer
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	dir, err := os.MkdirTemp("", "deploy") // not t.TempDir: the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	r := &redisServer{t: t, folder: passwords(t), dir: dir}
	text, err := os.ReadFile("redis/redis.conf")
	must(t, err)
	text = bytes.ReplaceAll(text, []byte("\ndir /data\n"), []byte("\ndir "+dir+"\n"))
	must(t, os.WriteFile(filepath.Join(dir, "redis.conf"), text, 0o600))
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("redis-server: %s", r.said.String())
		}
	})
	r.start()
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatal("this test needs redis-server, and it is not in PATH: ./scripts/test installs it")
	}
	acl := filepath.Join(r.folder.path, "regions/us/redis-users.acl")
	r.cmd = exec.CommandContext(context.WithoutCancel(r.t.Context()), binary, filepath.Join(r.dir, "redis.conf"), "--port", "0", "--unixsocket", r.socket(), "--aclfile", acl)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = r.dir, &r.said, &r.said
	must(r.t, r.cmd.Start())
	eventually(r.t, "redis-server listens", func() bool {
		var d net.Dialer
		c, err := d.DialContext(r.t.Context(), "unix", r.socket())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// stop ends the server as docker stop does.
func (r *redisServer) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
}

func (r *redisServer) socket() string { return filepath.Join(r.dir, "s") }

func (r *redisServer) options() *redis.Options {
	r.t.Helper()
	return &redis.Options{Network: "unix", Addr: r.socket(), Username: userOf, Password: r.folder.read("regions/us/redis")}
}

func client(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	c := redis.NewClient(o)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

func TestRedisKeepsAReadModelForTheServices(t *testing.T) {
	server := startRedis(t)
	c := client(t, server.options())
	ctx := within(t)
	must(t, embedded.Check(ctx, c))
	store, err := redisstore.New(c, redisstore.Options{})
	must(t, err)
	must(t, store.ClaimNamespace(ctx, "test"))
	p, err := flights.Airports()
	must(t, err)
	def := p.Definition()
	g := projections.Generation{Projection: def.Name, Number: 1, Partitions: 1}
	const owner = 7
	must(t, store.Create(ctx, g, projections.Header{State: projections.Building, Owner: owner}))
	_, err = store.Claim(ctx, g, owner)
	must(t, err)
	d := projections.Document{Key: "ORD", At: "us.7f3a11d2@1:2", Values: make([]string, len(def.Fields))}
	next := projections.Header{State: projections.Building, Owner: owner, Documents: 1}
	must(t, errors.Join(store.Apply(ctx, g, def, []projections.Commit{{Next: next, Writes: []projections.Write{{Document: d, Create: true}}}})...))
	must(t, store.SetState(ctx, g, owner, projections.Live))
	for _, when := range []string{"before", "after"} {
		h, got, err := store.Get(ctx, g, def, projections.Ref{Key: "ORD"})
		must(t, err)
		if h.State != projections.Live || h.Documents != 1 || got == nil || got.At != d.At {
			t.Errorf("%s a restart: header %+v, document %+v", when, h, got)
		}
		if when == "before" {
			server.stop()
			server.start()
			eventually(t, "the data is loaded", func() bool { return c.Ping(ctx).Err() == nil })
		}
	}
	if _, page, err := store.Page(ctx, g, def, 0, "", 10); err != nil || len(page) != 1 {
		t.Errorf("page: %v, %v", page, err)
	}
	if docs, err := store.Load(ctx, g, def, []projections.Ref{{Key: "ORD"}}); err != nil || len(docs) != 1 {
		t.Errorf("load: %v, %v", docs, err)
	}
	must(t, store.Drop(ctx, g))
}

func TestRedisRefusesEverythingElse(t *testing.T) {
	server := startRedis(t)
	c := client(t, server.options())
	for _, command := range [][]any{
		{"flushall"}, {"config", "get", "*"}, {"acl", "list"}, {"keys", "*"}, {"shutdown"}, {"script", "flush"}, {"del", "tm:x"}, {"set", "other", "x"},
	} {
		if err := c.Do(within(t), command...).Err(); !redis.IsPermissionError(err) {
			t.Errorf("%v: %v", command, err)
		}
	}
	nobody := server.options()
	nobody.Username, nobody.Password = "", ""
	if err := client(t, nobody).Ping(within(t)).Err(); !redis.IsAuthError(err) {
		t.Errorf("without a password: %v", err)
	}
	info, err := c.InfoMap(within(t), "memory", "persistence").Result()
	must(t, err)
	if m := info["Memory"]; m["maxmemory_policy"] != "noeviction" || m["maxmemory"] == "0" {
		t.Errorf("maxmemory %s, policy %s", m["maxmemory"], m["maxmemory_policy"])
	}
	if info["Persistence"]["aof_enabled"] != "1" {
		t.Error("there is no append-only file")
	}
}

// The store's README says which rights it needs. INFO, which is among them, is also what the services look at a Redis with before they use it.
func TestRedisRightsAreThoseOfTheStore(t *testing.T) {
	text, err := os.ReadFile("../redisstore/README.md")
	must(t, err)
	block := regexp.MustCompile("(?s)A projector:\n\n```acl\n(.*?)\n```").FindSubmatch(text)
	if block == nil {
		t.Fatal("the store's README has no rights of a projector")
	}
	acl, err := os.ReadFile("redis/users.acl")
	must(t, err)
	_, rights, found := strings.Cut(string(acl), " resetchannels ")
	if !found {
		t.Fatalf("users.acl: %s", acl)
	}
	want := append(strings.Fields(string(block[1])), "-@all")
	got := strings.Fields(rights)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}
