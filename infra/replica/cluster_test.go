package replica

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natstest"
)

// cluster is a region of three servers.
type cluster struct {
	region  string
	servers []*natstest.Server
	links   []*url.URL // its listeners for links
}

// startCluster runs three servers of a region. Each accepts links of the region peer, if there is one, and dials one of the servers of to.
func startCluster(t *testing.T, region, peer string, to *cluster) *cluster {
	t.Helper()
	const password = "made-up"
	ports := natstest.FreePorts(t, 6)
	c := &cluster{region: region}
	var routes []*url.URL
	for i := range 3 {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[i])})
		c.links = append(c.links, &url.URL{Scheme: "nats-leaf", Host: fmt.Sprintf("127.0.0.1:%d", ports[3+i]), User: url.UserPassword("link-"+peer, password)})
	}
	for i := range 3 {
		c.servers = append(c.servers, natstest.Start(t, func(o *server.Options) {
			o.ServerName, o.JetStreamDomain, o.MaxPayload, o.PingInterval, o.MaxPingsOut = fmt.Sprint(region, i), region, 2<<20, 3*time.Second, 2
			o.Cluster, o.Routes = server.ClusterOpts{Name: region, Host: "127.0.0.1", Port: ports[i]}, routes
			o.Users = []*server.User{{Username: "app", Password: password}}
			o.LeafNode.IsolateLeafnodeInterest, o.LeafNode.NoAdvertise, o.LeafNode.ReconnectInterval = true, true, 250*time.Millisecond
			if peer != "" {
				publish, subscribe := embedded.LinkPermissions(region, peer, "us")
				o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", ports[3+i]
				o.Users = append(o.Users, &server.User{Username: "link-" + peer, Password: password, AllowedConnectionTypes: map[string]struct{}{"LEAFNODE": {}},
					Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe}}})
			}
			if to != nil {
				o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: to.links, LocalIsolation: true, IgnoreDiscoveredServers: true,
					DenyImports: []string{"evt.>", "ctl.>"}, DenyExports: []string{"evt.>", "ctl.>"}}}
			}
		}))
	}
	natstest.Places(t, c.connect(t), c.servers)
	return c
}

func (c *cluster) connect(t *testing.T) *nats.Conn {
	t.Helper()
	var urls []string
	for _, s := range c.servers {
		urls = append(urls, s.ClientURL())
	}
	return natstest.Dial(t, strings.Join(urls, ","), nats.UserInfo("app", "made-up"), nats.ReconnectWait(50*time.Millisecond))
}

// endLeader ends the server that leads the region's stream.
func (c *cluster) endLeader(t *testing.T) {
	t.Helper()
	eventually(t, "somebody leads the stream of region "+c.region, func() bool {
		s := c.leads()
		if s != nil {
			s.Stop()
		}
		return s != nil
	})
}

// leads returns the server that leads the region's stream.
func (c *cluster) leads() *natstest.Server {
	for _, s := range c.servers {
		if s.JetStreamIsStreamLeader("$G", "EVT_us") {
			return s
		}
	}
	return nil
}

// stepDown makes another server lead the region's stream, as often as it takes.
func (c *cluster) stepDown(t *testing.T, nc *nats.Conn) {
	t.Helper()
	before := c.leads()
	eventually(t, "region "+c.region+" changes the stream's leader", func() bool {
		_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.EVT_us", nil, time.Second)
		now := c.leads()
		return now != nil && now != before
	})
}

// TestClustersFollowEachOther mirrors a stream of three replicas on three replicas, over links between the two clusters, and changes the leader of
// the stream on each side; at last a server on each side dies.
func TestClustersFollowEachOther(t *testing.T) {
	t.Parallel()
	clustersFollow(t, 1)
}

// TestAClusterBeginsLater: where a copy begins only the server learns from the gate that leads its stream; the others find it out from the first record.
func TestAClusterBeginsLater(t *testing.T) {
	t.Parallel()
	clustersFollow(t, 601)
}

func clustersFollow(t *testing.T, from uint64) {
	t.Helper()
	us := startCluster(t, "us", "eu", nil)
	eu := startCluster(t, "eu", "", us)
	usConn, euConn := us.connect(t), eu.connect(t)
	replicated := origin
	replicated.Replicas = 3
	if err := natslog.Setup(within(t), usConn, replicated); err != nil {
		t.Fatal(err)
	}
	leader := openLog(t, usConn, replicated)
	last := fill(t, leader, 1_000)
	cfg := config
	cfg.Replicas, cfg.From = 3, from
	m := follow(t, euConn, cfg)
	m.catchesUp(t, last)
	copied := copied
	copied.Replicas = 3
	here := openLog(t, euConn, copied)
	sameFrom(t, leader, here, from, last)

	for _, change := range []struct {
		what string
		do   func()
	}{
		{"the leader's leader changes", func() { us.stepDown(t, usConn) }},
		{"the mirror's leader changes", func() { eu.stepDown(t, euConn) }},
		{"the server that leads the leader's stream dies", func() { us.endLeader(t) }},
		{"the server that leads the mirror's stream dies", func() { eu.endLeader(t) }},
	} {
		change.do()
		last = fill(t, leader, 500)
		began := time.Now()
		m.catchesUp(t, last)
		t.Logf("%s: caught up after %s", change.what, time.Since(began))
	}
	sameFrom(t, leader, here, from, last)
	if now := m.Replication(); now.State == events.CopyDiverged || strings.Contains(m.logs.String(), "diverged") {
		t.Errorf("%+v\n%s", now, m.logs)
	}
	eventually(t, "the leader has it down as confirmed", func() bool {
		all, err := NewFloors(usConn, "us", "us").Floors(within(t))
		return err == nil && len(all) == 2 && all[0] == events.Floor{Region: "eu", Sequence: last, Connected: true}
	})
	t.Log(m.logs)
}
