package deploy

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natskv"
	"tidemark.dev/infra/natslog"
)

func user(t *testing.T, o *server.Options, name string) *server.User {
	t.Helper()
	i := slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == name })
	if i < 0 {
		t.Fatalf("there is no user %s", name)
	}
	return o.Users[i]
}

// wantSame compares two lists, whatever their order.
func wantSame(t *testing.T, what string, got *server.SubjectPermission, want []string) {
	t.Helper()
	if got == nil || len(got.Deny) != 0 {
		t.Errorf("%s: %+v", what, got)
		return
	}
	a, b := slices.Sorted(slices.Values(got.Allow)), slices.Sorted(slices.Values(want))
	if !slices.Equal(a, b) {
		t.Errorf("%s:\n got %q\nwant %q", what, a, b)
	}
}

func TestLinksMayDoWhatTheEmbeddedOnesMay(t *testing.T) {
	f := passwords(t)
	for _, region := range regions() {
		o := f.conf(region)
		_, dialling := peers(region)
		if len(o.Users) != 1+len(dialling) {
			t.Errorf("%s has %d users, not one for the services and one for each region that dials", region, len(o.Users))
		}
		for _, remote := range dialling {
			u := user(t, o, "link-"+remote)
			publish, subscribe := rights(region, remote)
			wantSame(t, region+": from "+remote, u.Permissions.Publish, publish)
			wantSame(t, region+": to "+remote, u.Permissions.Subscribe, subscribe)
			if _, leaf := u.AllowedConnectionTypes["LEAFNODE"]; !leaf || len(u.AllowedConnectionTypes) != 1 || u.Account.Name != account {
				t.Errorf("%s: %s may connect as %v in the account %s", region, u.Username, u.AllowedConnectionTypes, u.Account.Name)
			}
			if u.Password != f.read("kept/link-"+region+"-"+remote) {
				t.Errorf("%s: %s has another password than was made", region, u.Username)
			}
		}
	}
}

func TestServersAreSetUpLikeTheEmbeddedOnes(t *testing.T) {
	f := passwords(t)
	for _, region := range regions() {
		o := f.conf(region)
		if o.ServerName != "tidemark-"+region || o.JetStreamDomain != region || !o.JetStream || o.StoreDir != "/data" {
			t.Errorf("%s: %s, domain %s, store %s", region, o.ServerName, o.JetStreamDomain, o.StoreDir)
		}
		if o.MaxPayload != embedded.DefaultMaxPayload || o.HTTPHost != "127.0.0.1" || o.SystemAccount != "SYS" {
			t.Errorf("%s: max payload %d, monitoring on %q, system account %q", region, o.MaxPayload, o.HTTPHost, o.SystemAccount)
		}
		if o.SyncAlways != (region == leader) || region != leader && o.SyncInterval != embedded.MirrorSyncInterval {
			t.Errorf("%s: syncs always: %v, every %s", region, o.SyncAlways, o.SyncInterval)
		}
		if !o.LeafNode.IsolateLeafnodeInterest || !o.LeafNode.NoAdvertise || o.PingInterval != 3*time.Second || o.MaxPingsOut != 2 {
			t.Errorf("%s: isolated %v, not advertised %v, ping every %s, %d out", region,
				o.LeafNode.IsolateLeafnodeInterest, o.LeafNode.NoAdvertise, o.PingInterval, o.MaxPingsOut)
		}
		_, dialling := peers(region)
		if listens := o.LeafNode.Port != 0; listens != (len(dialling) > 0) {
			t.Errorf("%s listens for links: %v", region, listens)
		}
		if want := len(regions()) - 1 - len(dialling); len(o.LeafNode.Remotes) != want {
			t.Errorf("%s dials %d regions, want %d", region, len(o.LeafNode.Remotes), want)
		}
		for _, r := range o.LeafNode.Remotes {
			records := []string{"evt.>", "ctl.>"}
			if !r.LocalIsolation || !r.IgnoreDiscoveredServers || r.LocalAccount != account || !slices.Equal(r.DenyImports, records) || !slices.Equal(r.DenyExports, records) {
				t.Errorf("%s: its link is %+v", region, r)
			}
		}
	}
}

func TestRegionsMeetAndRecordsStayAtHome(t *testing.T) {
	m := startMesh(t)
	us := m.connect(leader)
	must(t, natslog.Setup(within(t), us, natslog.Config{Origin: origin}))
	for _, region := range regions()[1:] {
		nc := m.connect(region, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		// The leader's stream is seen over the link,
		eventually(t, region+" sees the leader's stream", func() bool {
			answer, err := nc.Request("$JS.us.API.STREAM.INFO.EVT_us", nil, time.Second)
			return err == nil && len(answer.Data) > 0
		})
		// a record published here goes nowhere,
		if answer, err := nc.Request("evt.us.airport.ORD", []byte("{}"), time.Second); err == nil {
			t.Errorf("%s: a record is answered: %s", region, answer.Data)
		}
		// and what the services of the leader answer arrives.
		sub, err := us.QueueSubscribe("tm.append.us", "writers", func(msg *nats.Msg) { _ = msg.Respond([]byte("here")) })
		must(t, err)
		eventually(t, region+" reaches the leader's writer", func() bool {
			answer, err := nc.Request("tm.append.us", nil, time.Second)
			return err == nil && string(answer.Data) == "here"
		})
		must(t, sub.Unsubscribe())
	}
	log, err := natslog.Open(within(t), us, natslog.Config{Origin: origin}, natslog.Options{Commit: natslog.GroupCommit})
	must(t, err)
	defer log.Close()
	info, err := log.Info(within(t))
	must(t, err)
	if info.Last != 1 {
		t.Errorf("the log has %d records, and only its genesis was written", info.Last)
	}
}

func TestTheServicesMayDoWhatTheyMust(t *testing.T) {
	m := startMesh(t)
	refused := make(chan error, 100)
	us := m.connect(leader, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	must(t, natslog.Setup(within(t), us, natslog.Config{Origin: origin}))
	log, err := natslog.Open(within(t), us, natslog.Config{Origin: origin}, natslog.Options{Commit: natslog.GroupCommit})
	must(t, err)
	defer log.Close()
	e := events.Event{ID: "1", Source: "urn:test", Type: "FlightLanded", Entity: events.Entity{Type: "airport", ID: "ORD"}, Data: []byte("{}"), ContentType: "application/json"}
	first, err := log.Append(within(t), events.One(e, events.ExpectNone()))
	must(t, err)
	if again, err := log.Append(within(t), events.One(e, events.ExpectNone())); err != nil || !again.Duplicate || again.Last != first.Last {
		t.Errorf("again: %+v, %v", again, err)
	}
	count := 0
	for _, err := range log.History(within(t), e.Entity, 0) {
		must(t, err)
		count++
	}
	if count != 1 {
		t.Errorf("the entity has %d events", count)
	}
	for _, region := range regions() {
		nc := m.connect(region, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		kv, leases, err := natskv.Open(within(t), nc, natskv.Config{Bucket: "tidemark-" + region, Create: true})
		for len(refused) > 0 {
			t.Error(<-refused)
		}
		must(t, err)
		_, err = kv.Put(within(t), "live.airports", []byte("1"), 0)
		must(t, err)
		lease, err := leases.Acquire(within(t), "projector-airports", "test")
		must(t, err)
		must(t, lease.Release(within(t)))
	}
	select {
	case err := <-refused:
		t.Errorf("a right is missing: %v", err)
	default:
	}
}

func TestTheServicesMayDoNothingElse(t *testing.T) {
	m := startMesh(t)
	for _, region := range regions() {
		refused := make(chan error, 100)
		nc := m.connect(region, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		for _, subject := range []string{
			"$JS.API.STREAM.DELETE.EVT_us", "$JS.API.STREAM.PURGE.EVT_us", "$JS.API.STREAM.MSG.DELETE.EVT_us", "$JS.API.STREAM.CREATE.other",
			"$JS.API.STREAM.DELETE.KV_tidemark-" + region, "$SYS.REQ.SERVER.PING",
		} {
			must(t, nc.Publish(subject, nil))
			must(t, nc.FlushWithContext(within(t)))
			select {
			case err := <-refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("%s: %s: %v", region, subject, err)
				}
			case <-time.After(patience):
				t.Errorf("%s: %s is allowed", region, subject)
			}
		}
	}
	if nc, err := nats.Connect(m.servers[leader].ClientURL(), nats.UserInfo("link-eu", m.folder.read("kept/link-us-eu"))); err == nil {
		nc.Close()
		t.Error("the user of a link connects as a client")
	}
	if nc, err := nats.Connect(m.servers[leader].ClientURL()); err == nil {
		nc.Close()
		t.Error("nobody needs a password")
	}
}
