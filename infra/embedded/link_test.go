//go:build unix

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

// mesh starts three regions, each linked to each other.
func mesh(t *testing.T) (us, eu, ap *NATS) {
	t.Helper()
	us = startTestNATS(t, NATSConfig{Region: "us", Dir: openDir(t, natstest.StoreDir(t)), Peers: []string{"eu", "ap"}})
	eu = startTestNATS(t, NATSConfig{Region: "eu", Dir: openDir(t, natstest.StoreDir(t)), Peers: []string{"ap"}, Links: []Link{us.LinkFor("eu")}, SyncInterval: MirrorSyncInterval})
	ap = startTestNATS(t, NATSConfig{Region: "ap", Dir: openDir(t, natstest.StoreDir(t)), Links: []Link{us.LinkFor("ap"), eu.LinkFor("ap")}, SyncInterval: MirrorSyncInterval})
	eventually(t, "every region has two links", func() bool {
		return us.srv.NumLeafNodes() == 2 && eu.srv.NumLeafNodes() == 2 && ap.srv.NumLeafNodes() == 2
	})
	return us, eu, ap
}

func client(t *testing.T, n *NATS) *nats.Conn {
	t.Helper()
	nc, err := n.Connect()
	must(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// ask sends requests until one is answered: interest takes a moment to cross a link.
func ask(t *testing.T, nc *nats.Conn, subject string) *nats.Msg {
	t.Helper()
	var m *nats.Msg
	eventually(t, "an answer to "+subject, func() (ok bool) {
		var err error
		m, err = nc.Request(subject, nil, time.Second)
		return err == nil
	})
	return m
}

func TestLinksCarryWhatRegionsAskEachOther(t *testing.T) {
	us, eu, ap := mesh(t)
	all := map[string]*nats.Conn{"us": client(t, us), "eu": client(t, eu), "ap": client(t, ap)}
	for region, nc := range all {
		js, err := jetstream.New(nc)
		must(t, err)
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVT_" + region, Subjects: []string{"evt." + region + ".*.*"}, AllowDirect: true})
		must(t, err)
		_, err = js.Publish(t.Context(), "evt."+region+".order.1", []byte(region))
		must(t, err)
		for _, subject := range []string{"tm.append." + region, "tm.floors." + region, "q." + region + ".get"} {
			_, err := nc.QueueSubscribe(subject, "all", func(m *nats.Msg) { _ = m.Respond([]byte(region)) })
			must(t, err)
		}
	}
	for from, nc := range all {
		for to := range all {
			if from == to {
				continue
			}
			for _, subject := range []string{"tm.append." + to, "tm.floors." + to, "q." + to + ".get"} {
				if m := ask(t, nc, subject); string(m.Data) != to {
					t.Errorf("%s asks %s: %s answers", from, subject, m.Data)
				}
			}
			if m := ask(t, nc, "$JS."+to+".API.STREAM.INFO.EVT_"+to); !strings.Contains(string(m.Data), `"domain":"`+to+`"`) {
				t.Errorf("%s asks for the stream of %s: %s", from, to, m.Data)
			}
			m, err := nc.Request("$JS."+to+".API.DIRECT.GET.EVT_"+to, []byte(`{"seq":1}`), 5*time.Second)
			if must(t, err); string(m.Data) != to {
				t.Errorf("%s gets the first record of %s: %q", from, to, m.Data)
			}
		}
	}
}

// TestAQuestionGoesToItsRegionAndNoFurther has somebody who looks on in each of three regions. A message that each of them may hand on to the next goes round for ever: seen
// here with a subject that every region may send to every other, so links carry only what is for the region at their end.
func TestAQuestionGoesToItsRegionAndNoFurther(t *testing.T) {
	us, eu, ap := mesh(t)
	all := map[string]*nats.Conn{"us": client(t, us), "eu": client(t, eu), "ap": client(t, ap)}
	heard := map[string]*atomic.Int64{}
	for region, nc := range all {
		heard[region] = &atomic.Int64{}
		for _, subject := range []string{"q.us.get", "q.eu.get", "q.ap.get", "$SRV.PING"} {
			n := heard[region] // the map still grows
			_, err := nc.Subscribe(subject, func(*nats.Msg) { n.Add(1) })
			must(t, err)
		}
		_, err := nc.QueueSubscribe("q."+region+".status", "all", func(m *nats.Msg) { _ = m.Respond(nil) })
		must(t, err)
	}
	for from, nc := range all {
		for to := range all {
			ask(t, nc, "q."+to+".status") // the way is open
			want := map[string]int64{"us": 0, "eu": 0, "ap": 0}
			for region, n := range heard {
				want[region] = n.Load()
			}
			must(t, nc.Publish("q."+to+".get", nil))
			must(t, nc.Publish("$SRV.PING", nil))
			if want[from] += 2; from != to {
				want[to]++
			}
			for range 3 { // what goes round overtakes these
				for other := range all {
					ask(t, nc, "q."+other+".status")
				}
			}
			for region, n := range heard {
				eventually(t, fmt.Sprintf("%s has heard what %s asks %s", region, from, to), func() bool { return n.Load() >= want[region] })
				if n.Load() > want[region] {
					t.Fatalf("%s asks %s, and %s heard %d messages more than it should", from, to, region, n.Load()-want[region])
				}
			}
		}
	}
}

func TestRecordsNeverCrossLinks(t *testing.T) {
	us, eu, ap := mesh(t)
	leader := connect(t, us)
	_, err := leader.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVT_us", Subjects: []string{"evt.us.*.*", "ctl.us.>"}})
	must(t, err)
	own := connect(t, eu)
	_, err = own.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVT_eu", Subjects: []string{"evt.eu.*.*", "ctl.eu.>"}})
	must(t, err)
	heard := make(chan string, 10)
	_, err = client(t, us).Subscribe("evt.>", func(m *nats.Msg) { heard <- m.Subject })
	must(t, err)
	for _, c := range []struct {
		at      *NATS
		subject string
	}{{eu, "evt.us.order.1"}, {eu, "ctl.us.genesis"}, {ap, "evt.us.order.1"}, {ap, "ctl.us.term"}, {us, "evt.eu.order.1"}, {us, "ctl.eu.genesis"}, {ap, "evt.eu.order.1"}} {
		// The first request shows that the way between the two is open by now.
		ask(t, client(t, c.at), "$JS."+c.subject[4:6]+".API.STREAM.INFO.EVT_"+c.subject[4:6])
		if m, err := client(t, c.at).Request(c.subject, []byte("lost?"), 2*time.Second); !errors.Is(err, nats.ErrNoResponders) {
			if c.at != us || !errors.Is(err, nats.ErrTimeout) { // us has the subscription of this test, which does not answer
				t.Errorf("%s publishes %s: %v %v, want %v", c.at.region, c.subject, m, err, nats.ErrNoResponders)
			}
		}
	}
	for _, js := range []jetstream.JetStream{leader, own} {
		names := js.StreamNames(t.Context())
		for name := range names.Name() {
			s, err := js.Stream(t.Context(), name)
			must(t, err)
			if n := s.CachedInfo().State.Msgs; n != 0 {
				t.Errorf("stream %s holds %d messages", name, n)
			}
		}
	}
	for len(heard) > 0 {
		if s := <-heard; !strings.HasPrefix(s, "evt.eu.") { // what us itself published
			t.Errorf("us heard %s", s)
		}
	}
}

// rogue is a server in which everybody may do everything, that dials a region with the credentials of a link.
func rogue(t *testing.T, l Link) *nats.Conn {
	t.Helper()
	return natstest.Dial(t, natstest.Start(t, func(o *server.Options) {
		o.JetStreamDomain = "eu"
		o.LeafNode.ReconnectInterval = 20 * time.Millisecond
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: l.Address, User: url.UserPassword(l.User, l.Password)}}}}
	}).ClientURL())
}

func TestALinkUserCanDoNothingElse(t *testing.T) {
	us := startTestNATS(t, NATSConfig{Region: "us", Dir: openDir(t, natstest.StoreDir(t)), Peers: []string{"eu", "ap"}})
	js := connect(t, us)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVT_us", Subjects: []string{"evt.us.*.*", "ctl.us.>"}})
	must(t, err)
	_, err = js.Publish(t.Context(), "evt.us.order.1", []byte("one"))
	must(t, err)
	_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "live"})
	must(t, err)
	secret, err := client(t, us).SubscribeSync("secret.>")
	must(t, err)

	nc := rogue(t, us.LinkFor("eu"))
	ask(t, nc, "$JS.us.API.STREAM.INFO.EVT_us")
	stream := func(v any) []byte { b, _ := json.Marshal(v); return b }
	for subject, payload := range map[string][]byte{
		"$JS.us.API.STREAM.CREATE.EVT_x":                     stream(jetstream.StreamConfig{Name: "EVT_x", Subjects: []string{"x"}}),
		"$JS.us.API.STREAM.UPDATE.EVT_us":                    stream(jetstream.StreamConfig{Name: "EVT_us", Subjects: []string{"x"}}),
		"$JS.us.API.STREAM.DELETE.EVT_us":                    nil,
		"$JS.us.API.STREAM.PURGE.EVT_us":                     nil,
		"$JS.us.API.STREAM.MSG.DELETE.EVT_us":                []byte(`{"seq":1}`),
		"$JS.us.API.STREAM.NAMES":                            nil,
		"$JS.us.API.STREAM.INFO.KV_live":                     nil,
		"$JS.us.API.STREAM.MSG.GET.KV_live":                  []byte(`{"seq":1}`),
		"$JS.us.API.CONSUMER.DELETE.EVT_us.mirror-ap":        nil,
		"$JS.us.API.CONSUMER.CREATE.EVT_us.mirror-ap":        nil,
		"$JS.us.API.CONSUMER.CREATE.EVT_us.other":            nil,
		"$JS.us.API.CONSUMER.CREATE.EVT_us":                  nil,
		"$JS.us.API.CONSUMER.DURABLE.CREATE.EVT_us.mirror-e": nil,
		"$JS.us.API.INFO":                                    nil,
		"$JS.API.STREAM.DELETE.EVT_us":                       nil,
		"$KV.live.key":                                       []byte("x"),
		"evt.us.order.1":                                     []byte("x"),
		"ctl.us.term":                                        []byte("x"),
		"$SYS.REQ.SERVER.PING":                               nil,
		"secret.x":                                           nil,
	} {
		if m, err := nc.Request(subject, payload, 250*time.Millisecond); err == nil && !strings.Contains(string(m.Data), "stream not found") {
			t.Errorf("%s is answered: %s", subject, m.Data) // the rogue's own JetStream does not know these streams
		}
	}
	ask(t, nc, "$JS.us.API.STREAM.INFO.EVT_us") // and the link is as it was
	s, err := js.Stream(t.Context(), "EVT_us")
	must(t, err)
	if st := s.CachedInfo().State; st.LastSeq != 1 || st.Msgs != 1 || st.Consumers != 0 {
		t.Errorf("the stream was touched: %+v", st)
	}
	if m, err := secret.NextMsg(50 * time.Millisecond); err == nil {
		t.Errorf("a message crossed: %s", m.Subject)
	}

	l := us.LinkFor("eu")
	if nc, err := nats.Connect(us.URL(), nats.UserInfo(l.User, l.Password), nats.MaxReconnects(0)); err == nil {
		nc.Close()
		t.Error("a link user connects as a client")
	}
}

// A server that speaks the protocol of links by hand, and ignores what it was told about its rights, is cut off.
func TestALinkThatOversteps(t *testing.T) {
	us := startTestNATS(t, NATSConfig{Region: "us", Dir: openDir(t, natstest.StoreDir(t)), Peers: []string{"eu"}})
	js := connect(t, us)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVT_us", Subjects: []string{"evt.us.*.*"}})
	must(t, err)
	l := us.LinkFor("eu")
	conn, err := net.Dial("tcp", l.Address)
	must(t, err)
	defer func() { _ = conn.Close() }()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "CONNECT {\"user\":%q,\"pass\":%q,\"name\":\"x\",\"domain\":\"eu\",\"headers\":true}\r\nLMSG evt.us.order.1 1\r\nx\r\n", l.User, l.Password)
	must(t, err)
	var said strings.Builder
	buf := make([]byte, 4096)
	for err == nil {
		var n int
		n, err = conn.Read(buf)
		said.Write(buf[:n])
	}
	if !strings.Contains(said.String(), "Permissions Violation") {
		t.Errorf("it was told: %s", said.String())
	}
	s, err := js.Stream(t.Context(), "EVT_us")
	must(t, err)
	if n := s.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

func TestTheClientUserOpensNoLink(t *testing.T) {
	us := startTestNATS(t, NATSConfig{Region: "us", Dir: openDir(t, natstest.StoreDir(t)), Peers: []string{"eu"}})
	l := us.LinkFor("eu")
	l.User, l.Password = us.User(), us.Password()
	var out logs
	eu := startTestNATS(t, NATSConfig{Region: "eu", Dir: openDir(t, natstest.StoreDir(t)), Links: []Link{l}, Logger: out.logger()})
	eventually(t, "the refusal is logged", func() bool { return strings.Contains(out.String(), "Authorization Violation") })
	if eu.srv.NumLeafNodes() != 0 {
		t.Error("the link is up")
	}
}

func TestLinksShowNoPassword(t *testing.T) {
	var out logs
	dir := openDir(t, natstest.StoreDir(t))
	us := startTestNATS(t, NATSConfig{Region: "us", Dir: dir, Peers: []string{"eu", "ap"}, Logger: out.logger()})
	l := us.LinkFor("eu")
	if l.Password == "" || l.Password == us.LinkFor("ap").Password || l.Password == us.Password() {
		t.Error("every peer has a password of its own")
	}
	if none := us.LinkFor("xx"); none != (Link{}) {
		t.Errorf("a stranger gets %v", none)
	}
	eu := startTestNATS(t, NATSConfig{Region: "eu", Dir: openDir(t, natstest.StoreDir(t)), Links: []Link{l}, Logger: out.logger()})
	wrong := us.LinkFor("ap")
	wrong.Password = "wrong" + wrong.Password
	startTestNATS(t, NATSConfig{Region: "ap", Dir: openDir(t, natstest.StoreDir(t)), Links: []Link{wrong}, Logger: out.logger()})
	eventually(t, "the wrong password is logged as such", func() bool { return strings.Contains(out.String(), "authentication error") })
	eventually(t, "the right one is not refused", func() bool { return us.srv.NumLeafNodes() == 1 && eu.srv.NumLeafNodes() == 1 })
	out.logger().Info("here", "link", l, "any", slog.AnyValue(l))
	text, err := json.Marshal(l)
	must(t, err)
	said := out.String() + string(text) + fmt.Sprintf("%v %+v %#v %s %v", l, l, l, l, &l)
	for _, p := range []string{l.Password, wrong.Password, us.LinkFor("ap").Password} {
		if strings.Contains(said, p) {
			t.Errorf("a password is shown:\n%s", said)
		}
	}
	wantMode(t, dir.Path()+"/nats/"+credentialsFile, 0o600)

	us.Shutdown()
	again := startTestNATS(t, NATSConfig{Region: "us", Dir: dir, Peers: []string{"eu", "ap"}, LinkListen: l.Address})
	if again.LinkFor("eu") != l {
		t.Error("the second start has another address or password")
	}
	eventually(t, "the link comes back by itself", func() bool { return again.srv.NumLeafNodes() == 1 })
}

func TestARegionThatIsDownIsLoggedOnce(t *testing.T) {
	var out logs
	us := startTestNATS(t, NATSConfig{Region: "us", Dir: openDir(t, natstest.StoreDir(t)), Peers: []string{"eu"}})
	eu := startTestNATS(t, NATSConfig{Region: "eu", Dir: openDir(t, natstest.StoreDir(t)), Links: []Link{us.LinkFor("eu")}, Logger: out.logger()})
	eventually(t, "the link is up", func() bool { return eu.srv.NumLeafNodes() == 1 })
	us.Shutdown()
	down := time.Now()
	eventually(t, "it was dialled a few times in vain", func() bool { return time.Since(down) > 8*linkReconnect })
	if n := strings.Count(out.String(), "trying to connect as leafnode"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, out.String())
	}
}

func TestLinksRefuseWhatCannotWork(t *testing.T) {
	dir := openDir(t, natstest.StoreDir(t))
	good := Link{Region: "us", Address: "127.0.0.1:1", User: "link-eu", Password: "made-up"}
	taken, err := net.Listen("tcp", DefaultListen)
	must(t, err)
	defer func() { _ = taken.Close() }()
	for name, c := range map[string]struct {
		cfg  NATSConfig
		code events.Code
	}{
		"itself":        {NATSConfig{Peers: []string{"eu"}}, ErrNATSFailed},
		"twice":         {NATSConfig{Peers: []string{"us"}, Links: []Link{good}}, ErrNATSFailed},
		"peer":          {NATSConfig{Peers: []string{"U S"}}, events.ErrInvalidEvent},
		"no link":       {NATSConfig{Links: []Link{{}}}, events.ErrInvalidEvent},
		"no password":   {NATSConfig{Links: []Link{{Region: "us", Address: "127.0.0.1:1", User: "x"}}}, ErrBadAddress},
		"no port":       {NATSConfig{Links: []Link{{Region: "us", Address: "127.0.0.1", User: "x", Password: "y"}}}, ErrBadAddress},
		"origin":        {NATSConfig{Origins: []string{"*"}}, events.ErrInvalidEvent},
		"listen":        {NATSConfig{Peers: []string{"us"}, LinkListen: "x"}, ErrBadAddress},
		"taken":         {NATSConfig{Peers: []string{"us"}, LinkListen: taken.Addr().String()}, ErrAddressInUse},
		"sync interval": {NATSConfig{SyncInterval: -1}, ErrNATSFailed},
	} {
		c.cfg.Region, c.cfg.Dir = "eu", dir
		n, err := StartNATS(context.Background(), c.cfg)
		if !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		if err == nil {
			n.Shutdown()
		}
	}
}

func TestLinkPermissionsNameNoRecordAndNobodyElse(t *testing.T) {
	publish, subscribe := LinkPermissions("us", "eu", "us", "eu")
	for _, s := range slices.Concat(publish, subscribe) {
		first, _, _ := strings.Cut(s, ".")
		if first == "evt" || first == "ctl" || first == ">" || first == "*" || strings.HasPrefix(s, "$JS.API") || strings.HasPrefix(s, "$KV") {
			t.Errorf("%s may cross", s)
		}
	}
	for _, want := range []string{"$JS.us.API.STREAM.INFO.EVT_us", "$JS.us.API.CONSUMER.CREATE.EVT_us.mirror-eu", "repl.us.EVT_eu"} {
		if !slices.Contains(publish, want) || slices.Contains(subscribe, want) {
			t.Errorf("%s must come from eu, and not go there", want)
		}
	}
	back, forth := LinkPermissions("eu", "us", "us", "eu")
	if !slices.Equal(publish, forth) || !slices.Equal(subscribe, back) {
		t.Error("the lists of the two ends differ")
	}
}

func TestAMirrorsServerSyncsInTheBackground(t *testing.T) {
	n := startTestNATS(t, NATSConfig{Dir: openDir(t, natstest.StoreDir(t)), SyncInterval: MirrorSyncInterval})
	if c := n.srv.JetStreamConfig(); c.SyncAlways || c.SyncInterval != time.Second {
		t.Errorf("it syncs always: %v, every %s", c.SyncAlways, c.SyncInterval)
	}
}
