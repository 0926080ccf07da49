//go:build unix

package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Nodes is how many servers a NATS cluster has, and how many copies of a stream it can keep.
const Nodes = 3

const (
	// What the servers are built from: the version is the one of this module.
	natsPackage = "github.com/nats-io/nats-server/v2"
	buildBound  = 5 * time.Minute
	askBound    = 5 * time.Second
	// reconnectWait is how long a client waits before it tries the same node again.
	reconnectWait = 50 * time.Millisecond

	// Users of the servers: of the account with the streams, and of the one that manages them.
	appUser, appPassword = "app", "made-up-app"
	sysUser, sysPassword = "sys", "made-up-sys"
)

// NATS is a cluster of three nats-server processes that sync to disk before they acknowledge.
type NATS struct {
	t     testing.TB
	nodes [Nodes]*natsNode
	app   *nats.Conn
	sys   *nats.Conn
}

type natsNode struct {
	process
	addr    string
	monitor string // URL
}

// StartNATS builds nats-server, starts three, and returns when they have formed a cluster.
func StartNATS(t testing.TB) *NATS {
	t.Helper()
	c := &NATS{t: t}
	binary := buildNATS(t)
	clients, routes, monitors := freePorts(t, Nodes), freePorts(t, Nodes), freePorts(t, Nodes)
	for i := range c.nodes {
		n := &natsNode{
			process: process{t: t, name: fmt.Sprint("n", i), dir: folder(t, "nats")},
			addr:    address(clients[i]), monitor: "http://" + address(monitors[i]),
		}
		conf := filepath.Join(n.dir, "nats.conf")
		n.must(os.WriteFile(conf, []byte(natsConf(n, clients[i], monitors[i], routes[i], routes)), 0o600))
		n.argv = []string{binary, "--config", conf}
		c.nodes[i] = n
		t.Cleanup(n.kill)
		n.start()
	}
	for i := range c.nodes {
		c.healthy(i)
	}
	c.app, c.sys = c.Dial(t), c.dial(t, c.urls(sysUser, sysPassword))
	return c
}

// buildNATS builds the server from the module's own version of it.
func buildNATS(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(folder(t, "bin"), "nats-server")
	ctx, cancel := context.WithTimeout(context.Background(), buildBound)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, natsPackage).CombinedOutput()
	if err != nil {
		t.Fatalf("clustertest: nats-server cannot be built (this needs Go in PATH, and the module cache or a module proxy): %v\n%s", err, out)
	}
	return binary
}

func natsConf(n *natsNode, client, monitor, route int, routes []int) string {
	urls := make([]string, 0, len(routes))
	for _, r := range routes {
		urls = append(urls, "nats://"+address(r))
	}
	return fmt.Sprintf(`server_name: %s
listen: "%s"
http: "%s"
max_payload: 2MB
jetstream { store_dir: "%s", sync_interval: always, max_memory_store: 256MB, max_file_store: 4GB }
cluster { name: test, listen: "%s", routes: [%s] }
accounts {
	APP { jetstream: enabled, users: [{user: %s, password: %s}] }
	SYS { users: [{user: %s, password: %s}] }
}
system_account: SYS
`, n.name, address(client), address(monitor), n.store(), address(route), strings.Join(urls, ", "), appUser, appPassword, sysUser, sysPassword)
}

func (n *natsNode) store() string { return filepath.Join(n.dir, "store") }

// URL returns the addresses of all nodes, with user and password, as a client takes them.
func (c *NATS) URL() string { return c.urls(appUser, appPassword) }

func (c *NATS) urls(user, password string) string {
	urls := make([]string, 0, len(c.nodes))
	for _, n := range c.nodes {
		urls = append(urls, "nats://"+user+":"+password+"@"+n.addr)
	}
	return strings.Join(urls, ",")
}

// Dial connects a client that knows all nodes, for the rest of a test.
func (c *NATS) Dial(t testing.TB) *nats.Conn {
	t.Helper()
	return c.dial(t, c.URL())
}

func (c *NATS) dial(t testing.TB, urls string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(urls, nats.Timeout(askBound), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait))
	if err != nil {
		t.Fatalf("clustertest: connect to the NATS cluster: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Kill ends a node with SIGKILL.
func (c *NATS) Kill(i int) { c.nodes[i].kill() }

// Stop ends a node in order, as an operator who restarts it does.
func (c *NATS) Stop(i int) {
	c.t.Helper()
	c.nodes[i].stop()
}

// Discard removes what a node has stored, as if its disk had been replaced. The node must be down.
func (c *NATS) Discard(i int) {
	c.t.Helper()
	n := c.nodes[i]
	if n.alive() {
		c.t.Fatalf("clustertest: %s runs; call Kill or Stop first", n.name)
	}
	n.must(os.RemoveAll(n.store()))
}

// Start starts a node again, and returns when it says that it has caught up with the others.
func (c *NATS) Start(i int) {
	c.t.Helper()
	c.nodes[i].start()
	c.healthy(i)
}

// healthy waits until a node says that its JetStream is current: what an operator waits for before he restarts the next.
func (c *NATS) healthy(i int) {
	c.t.Helper()
	n := c.nodes[i]
	client := &http.Client{Timeout: askBound}
	n.answers(n.name+" is healthy", func() bool {
		r, err := client.Get(n.monitor + "/healthz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// StreamLeader returns which node leads a stream.
func (c *NATS) StreamLeader(stream string) int {
	c.t.Helper()
	leader := -1
	eventually(c.t, "the stream "+stream+" has a leader", func() bool {
		var info struct {
			Cluster struct{ Leader string }
		}
		if c.ask(c.app, "$JS.API.STREAM.INFO."+stream, &info) != nil {
			return false
		}
		leader = c.named(info.Cluster.Leader)
		return leader >= 0
	})
	return leader
}

func (c *NATS) named(name string) int {
	for i, n := range c.nodes {
		if n.name == name {
			return i
		}
	}
	return -1
}

// StepDown makes the leader of a stream give up. It reports whether that was done; without a leader there is nobody to do it.
func (c *NATS) StepDown(stream string) bool {
	return c.stepDown(c.app, "$JS.API.STREAM.LEADER.STEPDOWN."+stream)
}

// MetaStepDown makes the leader of the cluster itself give up, and reports whether it did.
func (c *NATS) MetaStepDown() bool { return c.stepDown(c.sys, "$JS.API.META.LEADER.STEPDOWN") }

func (c *NATS) stepDown(nc *nats.Conn, subject string) bool {
	var answer struct{ Success bool }
	return c.ask(nc, subject, &answer) == nil && answer.Success
}

func (c *NATS) ask(nc *nats.Conn, subject string, answer any) error {
	m, err := nc.Request(subject, nil, askBound)
	if err != nil {
		return err
	}
	var failed struct{ Error *struct{ Description string } }
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return errors.New(failed.Error.Description)
	}
	return json.Unmarshal(m.Data, answer)
}
