package replica

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natstest"
)

func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestFollowRefusesWhatIsNoCopy(t *testing.T) {
	t.Parallel()
	eu := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "eu", LazySync: true})
	nc := eu.connect()
	js := jetStream(t, nc)
	good := natslog.Config{Origin: "us"}.MirrorStream("eu", config.gate())
	with := func(change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
		c := good
		mirror, external, consumer := *c.Mirror, *c.Mirror.External, *c.Mirror.Consumer
		mirror.External, mirror.Consumer, c.Mirror = &external, &consumer, &mirror
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		stream jetstream.StreamConfig
		text   string
	}{
		"no mirror":        {with(func(c *jetstream.StreamConfig) { c.Mirror, c.Subjects = nil, []string{"evt.us.*.*", "ctl.us.>"} }), "mirror is none"},
		"another origin":   {with(func(c *jetstream.StreamConfig) { c.Mirror.Name = "EVT_ap" }), "EVT_ap"},
		"a part":           {with(func(c *jetstream.StreamConfig) { c.Mirror.Consumer, c.Mirror.FilterSubject = nil, "evt.us.airport.*" }), "partial"},
		"without a gate":   {with(func(c *jetstream.StreamConfig) { c.Mirror.External.APIPrefix = "$JS.us.API" }), "tm.gate.us"},
		"another consumer": {with(func(c *jetstream.StreamConfig) { c.Mirror.Consumer.Name = "mirror-ap" }), "mirror-ap"},
		"no consumer":      {with(func(c *jetstream.StreamConfig) { c.Mirror.Consumer = nil }), "mirror-eu"},
		"in memory":        {with(func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }), "storage"},
	} {
		var err error
		eventually(t, "the stream is made, once the files of the one before are gone", func() bool {
			_, err = js.CreateStream(within(t), c.stream)
			e, ok := errors.AsType[*jetstream.APIError](err)
			return !ok || e.ErrorCode != 10049
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = Follow(within(t), nc, config, Options{})
		if !errors.Is(err, events.ErrUnsafeLog) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v", name, err)
		}
		if err := js.DeleteStream(within(t), "EVT_us"); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		cfg  Config
		code events.Code
	}{
		"itself": {Config{Origin: "us", Region: "us", Leader: "us"}, events.ErrUnsafeLog},
		"origin": {Config{Origin: "", Region: "eu", Leader: "us"}, events.ErrInvalidEvent},
		"leader": {Config{Origin: "us", Region: "eu", Leader: "*"}, events.ErrInvalidEvent},
		"region": {Config{Origin: "us", Region: "e u", Leader: "us"}, events.ErrInvalidEvent},
	} {
		if _, err := Follow(within(t), nc, c.cfg, Options{}); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	nc.Close()
	if _, err := Follow(within(t), nc, config, Options{}); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("without a connection: %v", err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Follow(done, nc, config, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is too late: %v", err)
	}
}

// The leader is not there at first, then has no log, then has one.
func TestTheLeaderIsWaitedFor(t *testing.T) {
	t.Parallel()
	us := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "us", Peers: []string{"eu"}, LazySync: true})
	link := us.LinkFor("eu")
	us.Shutdown()
	eu := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "eu", Links: []embedded.Link{link}, LazySync: true})
	m := follow(t, eu.connect(), config)
	said := func(code events.Code) {
		t.Helper()
		eventually(t, "the state says "+string(code), func() bool {
			now := m.Replication()
			return now.State == events.CopyUnknown && now.Code == code && now.Lag == nil && now.Message != "the leader us was not asked yet"
		})
	}
	said(events.ErrUnreachable)
	if err := us.own.Close(); err != nil {
		t.Fatal(err)
	}
	us.start()
	said(events.ErrNoLog)
	if msg := m.Replication().Message; !strings.Contains(msg, "region us") {
		t.Errorf("it does not name the leader: %s", msg)
	}
	last := fill(t, openLeader(t, us.connect()), 10)
	m.catchesUp(t, last)
	if n := strings.Count(m.logs.String(), "\n"); n > 6 {
		t.Errorf("more than a line for each change:\n%s", m.logs)
	}
}

// restricted is a region of one server whose user replica has the given rights, and whose link user the given list.
func restricted(t *testing.T, region string, rights *server.Permissions, link *server.Permissions, to *url.URL) (s *natstest.Server, address *url.URL) {
	t.Helper()
	s = natstest.Start(t, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain, o.MaxPayload = region, region, 2<<20
		o.Users = []*server.User{{Username: "app", Password: "made-up"}, {Username: "replica", Password: "made-up", Permissions: rights}}
		o.LeafNode.IsolateLeafnodeInterest, o.LeafNode.NoAdvertise, o.LeafNode.ReconnectInterval = true, true, 250*time.Millisecond
		if link != nil {
			o.LeafNode.Host, o.LeafNode.Port = "127.0.0.1", natstest.FreePorts(t, 1)[0]
			o.Users = append(o.Users, &server.User{Username: "link-eu", Password: "made-up", Permissions: link, AllowedConnectionTypes: map[string]struct{}{"LEAFNODE": {}}})
			address = &url.URL{Scheme: "nats-leaf", Host: net.JoinHostPort(o.LeafNode.Host, strconv.Itoa(o.LeafNode.Port)), User: url.UserPassword("link-eu", "made-up")}
		}
		if to != nil {
			o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{to}, LocalIsolation: true, IgnoreDiscoveredServers: true}}
		}
	})
	return s, address
}

func allow(subjects ...string) *server.SubjectPermission {
	return &server.SubjectPermission{Allow: subjects}
}

func user(t *testing.T, s *natstest.Server, name string) *nats.Conn {
	t.Helper()
	return natstest.Dial(t, s.ClientURL(), nats.UserInfo(name, "made-up"), nats.CustomInboxPrefix("_INBOX."+name), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// runnerRights are what README.md says that Run needs, and nothing more.
func runnerRights() (publish, subscribe []string) {
	return []string{
		"$JS.API.STREAM.INFO.EVT_us", "$JS.API.STREAM.CREATE.EVT_us", "$JS.API.STREAM.DELETE.EVT_us", "$JS.API.STREAM.MSG.GET.EVT_us",
		"$JS.us.API.STREAM.INFO.EVT_us", "$JS.us.API.STREAM.MSG.GET.EVT_us",
		"$JS.us.API.CONSUMER.INFO.EVT_us.mirror-eu", "$JS.us.API.CONSUMER.CREATE.EVT_us.mirror-eu",
		"$JS.us.API.CONSUMER.RESET.EVT_us.mirror-eu", "$JS.us.API.CONSUMER.DELETE.EVT_us.mirror-eu", "$JSC.R.>",
	}, []string{"_INBOX.replica.>", "tm.gate.us.CONSUMER.RESET.EVT_us.mirror-eu"}
}

// floorRights are what README.md says that Floors needs.
func floorRights() []string {
	return []string{"$JS.API.STREAM.INFO.EVT_us", "$JS.API.CONSUMER.NAMES.EVT_us", "$JS.API.CONSUMER.INFO.EVT_us.*"}
}

// restrictedPair starts both regions with the rights less those that are left out. At the leader, replica may ask for floors.
func restrictedPair(t *testing.T, missing, missingOnLink string) (us, eu *natstest.Server) {
	t.Helper()
	without := func(all []string, subject string) []string {
		out := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == subject })
		return out
	}
	publish, subscribe := embedded.LinkPermissions("us", "eu", "us")
	us, address := restricted(t, "us", &server.Permissions{Publish: allow(floorRights()...), Subscribe: allow("_INBOX.replica.>")},
		&server.Permissions{Publish: allow(without(publish, missingOnLink)...), Subscribe: allow(subscribe...)}, nil)
	p, s := runnerRights()
	eu, _ = restricted(t, "eu", &server.Permissions{Publish: allow(without(p, missing)...), Subscribe: allow(without(s, missing)...)}, nil, address)
	return us, eu
}

func TestTheRightsSuffice(t *testing.T) {
	t.Parallel()
	us, eu := restrictedPair(t, "", "")
	leader := openLeader(t, user(t, us, "app"))
	last := fill(t, leader, 500)
	m := follow(t, user(t, eu, "replica"), config)
	m.catchesUp(t, last)
	last = fill(t, leader, 500)
	m.catchesUp(t, last)
	floors := NewFloors(user(t, us, "replica"), "us", "us")
	eventually(t, "the floor is the head", func() bool {
		all, err := floors.Floors(within(t))
		return err == nil && len(all) == 2 && all[0].Sequence == last
	})
	// Deleting is a right too.
	if err := m.Remake(within(t)); err != nil {
		t.Error(err)
	}
	m.catchesUp(t, last)
	if err := config.deleteConsumer(within(t), remoteAPI(user(t, eu, "replica"), "us")); err != nil {
		t.Error(err)
	}
}

func TestAMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	for _, right := range []string{
		"$JS.API.STREAM.CREATE.EVT_us", "$JS.us.API.STREAM.INFO.EVT_us", "$JS.us.API.STREAM.MSG.GET.EVT_us",
		"$JS.us.API.CONSUMER.INFO.EVT_us.mirror-eu", "$JS.us.API.CONSUMER.CREATE.EVT_us.mirror-eu", "$JS.us.API.CONSUMER.RESET.EVT_us.mirror-eu",
		"$JSC.R.>", "tm.gate.us.CONSUMER.RESET.EVT_us.mirror-eu",
	} {
		us, eu := restrictedPair(t, right, "")
		fill(t, openLeader(t, user(t, us, "app")), 10)
		m := follow(t, user(t, eu, "replica"), config)
		eventually(t, "the missing right is named: "+right, func() bool {
			now := m.Replication()
			return now.State == events.CopyUnknown && now.Code == events.ErrUnauthorized && strings.Contains(now.Message, strings.TrimSuffix(right, ">")) && now.Lag == nil
		})
		m.stop()
	}
}

func TestAMissingRightToDeleteIsNamed(t *testing.T) {
	t.Parallel()
	const right = "$JS.API.STREAM.DELETE.EVT_us"
	us, eu := restrictedPair(t, right, "")
	last := fill(t, openLeader(t, user(t, us, "app")), 10)
	m := follow(t, user(t, eu, "replica"), config)
	m.catchesUp(t, last)
	if err := m.Remake(within(t)); !errors.Is(err, events.ErrUnauthorized) || !strings.Contains(err.Error(), right) {
		t.Errorf("%v", err)
	}
	m.catchesUp(t, last)
}

// A right that is missing on the link is silence here.
func TestARightThatIsMissingOnTheLinkIsTold(t *testing.T) {
	t.Parallel()
	const right = "$JS.us.API.CONSUMER.CREATE.EVT_us.mirror-eu"
	us, eu := restrictedPair(t, "", right)
	fill(t, openLeader(t, user(t, us, "app")), 10)
	m := follow(t, user(t, eu, "replica"), config)
	eventually(t, "it is told what the leader does not answer", func() bool {
		now := m.Replication()
		return now.State == events.CopyUnknown && now.Code == events.ErrUnauthorized && strings.Contains(now.Message, "CONSUMER.CREATE.EVT_us.mirror-eu")
	})
	t.Log(m.Replication().Message)
}

func TestAConsumerOfSomebodyElsesIsNotUsed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	c := config.consumerConfig()
	c.DeliverPolicy = jetstream.DeliverNewPolicy
	if _, err := jetStream(t, p.usConn).CreatePushConsumer(within(t), "EVT_us", c); err != nil {
		t.Fatal(err)
	}
	m := follow(t, p.euConn, config)
	eventually(t, "it is told", func() bool {
		now := m.Replication()
		return now.State == events.CopyUnknown && now.Code == events.ErrUnsafeLog && strings.Contains(now.Message, "deliver_policy") && strings.Contains(now.Message, "nats consumer rm")
	})
	if err := jetStream(t, p.usConn).DeleteConsumer(within(t), "EVT_us", "mirror-eu"); err != nil {
		t.Fatal(err)
	}
	m.catchesUp(t, fill(t, p.leader, 10))
}

func TestFloorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	us := startServer(t, natstest.StoreDir(t), embedded.NATSConfig{Region: "us", LazySync: true})
	nc := us.connect()
	f := NewFloors(nc, "us", "us")
	if _, err := f.Floors(within(t)); !errors.Is(err, events.ErrNoLog) {
		t.Errorf("without a log: %v", err)
	}
	openLeader(t, nc)
	all, err := f.Floors(within(t))
	if err != nil || len(all) != 1 || all[0] != (events.Floor{Region: "us", Sequence: 1, Connected: true}) {
		t.Errorf("without mirrors: %+v, %v", all, err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Floors(done); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is too late: %v", err)
	}
	nc.Close()
	if _, err := f.Floors(within(t)); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("without a connection: %v", err)
	}
	deaf, _ := restricted(t, "us", &server.Permissions{Publish: allow("nothing"), Subscribe: allow("_INBOX.replica.>")}, nil, nil)
	if _, err := NewFloors(user(t, deaf, "replica"), "us", "us").Floors(within(t)); !errors.Is(err, events.ErrUnauthorized) {
		t.Errorf("without rights: %v", err)
	}
}
