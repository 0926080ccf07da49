package deploy

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natstest"
)

const (
	// patience bounds a wait on a machine that does much else.
	patience = time.Minute
	tick     = 20 * time.Millisecond
	// userOf the services.
	userOf  = "tidemark"
	account = "TIDEMARK"
	leader  = "us"
	origin  = "us"
)

func regions() []string { return []string{"us", "eu", "ap"} }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok, within bounds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	until := time.NewTimer(patience)
	defer until.Stop()
	again := time.NewTicker(tick)
	defer again.Stop()
	for !ok() {
		select {
		case <-until.C:
			t.Fatalf("not within %s: %s", patience, what)
		case <-again.C:
		}
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// folder is where the script passwords works.
type folder struct {
	t    testing.TB
	path string
}

// passwords runs the script in a new folder.
func passwords(t testing.TB) folder {
	t.Helper()
	f := folder{t, t.TempDir()}
	if out, err := f.run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return f
}

func (f folder) run(args ...string) (string, error) {
	f.t.Helper()
	cmd := exec.CommandContext(within(f.t), "sh", append([]string{"passwords"}, args...)...)
	cmd.Env = append(os.Environ(),
		"PASSWORDS_KEPT="+f.path+"/kept", "PASSWORDS_REGIONS="+f.path+"/regions", "PASSWORDS_DATA="+f.path+"/data", "PASSWORDS_ACL=redis/users.acl")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// read returns a file that the script made.
func (f folder) read(name string) string {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.path, name))
	must(f.t, err)
	return string(text)
}

// conf reads a region's configuration as its server does: beside server.conf, with the passwords in secrets.
func (f folder) conf(region string) *server.Options {
	f.t.Helper()
	dir := f.t.TempDir()
	must(f.t, os.Mkdir(filepath.Join(dir, "secrets"), 0o700))
	for _, name := range []string{"server.conf", region + ".conf"} {
		text, err := os.ReadFile(filepath.Join("nats", name))
		must(f.t, err)
		must(f.t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	must(f.t, os.WriteFile(filepath.Join(dir, "secrets", "nats.conf"), []byte(f.read("regions/"+region+"/nats.conf")), 0o600))
	o, err := server.ProcessConfigFile(filepath.Join(dir, region+".conf"))
	must(f.t, err)
	return o
}

// mesh is the NATS servers of all regions, run with their configuration. Addresses and folders are the test's own; all else is as configured.
type mesh struct {
	t       testing.TB
	folder  folder
	servers map[string]*server.Server
	refused *refusals
}

// refusals is a log of a server that keeps what was not allowed.
type refusals struct {
	mu   sync.Mutex
	list []string
}

func (r *refusals) Noticef(string, ...any) {}
func (r *refusals) Warnf(string, ...any)   {}
func (r *refusals) Fatalf(string, ...any)  {}
func (r *refusals) Debugf(string, ...any)  {}
func (r *refusals) Tracef(string, ...any)  {}

// Errorf is how a server tells of it.
func (r *refusals) Errorf(format string, v ...any) {
	if line := fmt.Sprintf(format, v...); strings.Contains(line, "Violation") {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.list = append(r.list, line)
	}
}

// none fails the test if anything was not allowed.
func (r *refusals) none(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.list {
		t.Errorf("a right is missing: %s", line)
	}
}

func startMesh(t testing.TB) mesh {
	t.Helper()
	m := mesh{t, passwords(t), make(map[string]*server.Server), &refusals{}}
	links := make(map[string]string) // region -> where its links arrive
	for _, region := range regions() {
		o := m.folder.conf(region)
		o.Host, o.Port, o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "", 0
		o.StoreDir, o.NoSigs = natstest.StoreDir(t), true
		if o.LeafNode.Port != 0 {
			o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
		}
		for _, r := range o.LeafNode.Remotes {
			for _, u := range r.URLs {
				u.Host = links[regionOf(u)]
			}
		}
		s, err := server.NewServer(o)
		must(t, err)
		s.SetLoggerV2(m.refused, false, false, false)
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		if !s.ReadyForConnections(patience) {
			t.Fatalf("the server of %s did not start", region)
		}
		links[region] = "127.0.0.1:" + strconv.Itoa(o.LeafNode.Port)
		m.servers[region] = s
	}
	eventually(t, "every region has a link to each other", func() bool {
		return !slices.ContainsFunc(regions(), func(r string) bool { return m.servers[r].NumLeafNodes() != len(regions())-1 })
	})
	return m
}

// regionOf returns the region that a link dials: its host is us-nats.
func regionOf(u *url.URL) string { return u.Hostname()[:2] }

// connect logs in as the services of a region do.
func (m mesh) connect(region string, options ...nats.Option) *nats.Conn {
	m.t.Helper()
	options = append([]nats.Option{nats.UserInfo(userOf, m.folder.read("regions/"+region+"/nats"))}, options...)
	return natstest.Dial(m.t, m.servers[region].ClientURL(), options...)
}

// peers returns the other regions, and those of them that dial this one, which are the later ones.
func peers(region string) (others, dialling []string) {
	at := slices.Index(regions(), region)
	others = slices.Delete(regions(), at, at+1)
	return others, regions()[at+1:]
}

// rights returns what LinkPermissions says of a region that dials.
func rights(region, remote string) (publish, subscribe []string) {
	return embedded.LinkPermissions(region, remote, origin)
}
