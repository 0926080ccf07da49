package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/forward"
	"tidemark.dev/infra/natskv"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/natsobjects"
	"tidemark.dev/infra/natssignals"
	"tidemark.dev/infra/replica"
	"tidemark.dev/projections"
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
		if len(o.Users) != 2+len(dialling) {
			t.Errorf("%s has %d users, not one for the services, one for readers, and one for each region that dials", region, len(o.Users))
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
	us, log := m.lead(t)
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
	info, err := log.Info(within(t))
	must(t, err)
	if info.Last != 1 {
		t.Errorf("the log has %d records, and only its genesis was written", info.Last)
	}
}

// lead sets the log up at the leader and opens it.
func (m mesh) lead(t *testing.T) (*nats.Conn, *natslog.Log) {
	t.Helper()
	nc := m.connect(leader)
	must(t, natslog.Setup(within(t), nc, natslog.Config{Origin: origin}))
	log, err := natslog.Open(within(t), nc, natslog.Config{Origin: origin}, natslog.Options{Commit: natslog.GroupCommit})
	must(t, err)
	t.Cleanup(log.Close)
	return nc, log
}

// landed returns an event about an airport.
func landed(id string) events.Event {
	return events.Event{
		ID: id, Source: "urn:test", Type: "FlightLanded", Entity: events.Entity{Type: "airport", ID: "ORD"}, Data: []byte("{}"), ContentType: "application/json",
	}
}

// history returns how many events of the airport a copy of the log has.
func history(t *testing.T, log *natslog.Log) int {
	t.Helper()
	count := 0
	for _, err := range log.History(within(t), landed("").Entity, 0) {
		must(t, err)
		count++
	}
	return count
}

func TestTheServicesOfTheLeaderMayDoWhatTheyMust(t *testing.T) {
	m := startMesh(t)
	defer m.refused.none(t)
	_, log := m.lead(t)
	first, err := log.Append(within(t), events.One(landed("1"), events.ExpectNone()))
	must(t, err)
	if again, err := log.Append(within(t), events.One(landed("1"), events.ExpectNone())); err != nil || !again.Duplicate || again.Last != first.Last {
		t.Errorf("again: %+v, %v", again, err)
	}
	if n := history(t, log); n != 1 {
		t.Errorf("the entity has %d events", n)
	}
	for _, region := range regions() {
		kv, leases, err := natskv.Open(within(t), m.connect(region), natskv.Config{Bucket: "tidemark-" + region, Create: true})
		must(t, err)
		_, err = kv.Put(within(t), "live.airports", []byte("1"), 0)
		must(t, err)
		lease, err := leases.Acquire(within(t), "projector-airports", "test")
		must(t, err)
		must(t, lease.Release(within(t)))
		keepSnapshot(t, m.connect(region), region)
	}
}

// keepSnapshot sets the bucket up, and does all that can be done with a snapshot.
func keepSnapshot(t *testing.T, nc *nats.Conn, region string) {
	t.Helper()
	s, err := natsobjects.Open(within(t), nc, natsobjects.Config{Bucket: "tidemark-snapshots-" + region, Create: true})
	must(t, err)
	defer s.Close()
	const text = "a snapshot of region "
	_, err = s.Put(within(t), projections.Snapshot{Projection: "airports", ID: "a"}, strings.NewReader(text+region))
	must(t, err)
	if list, err := s.List(within(t), "airports"); err != nil || len(list) != 1 {
		t.Errorf("%s: %d are listed, %v", region, len(list), err)
	}
	r, err := s.Open(within(t), "airports", "a")
	must(t, err)
	if got, err := io.ReadAll(r); err != nil || string(got) != text+region {
		t.Errorf("%s: %q, %v", region, got, err)
	}
	must(t, s.Delete(within(t), "airports", "a"))
}

func TestTheServicesOfAMirrorMayDoWhatTheyMust(t *testing.T) {
	m := startMesh(t)
	defer m.refused.none(t)
	us, log := m.lead(t)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	at := forward.Config{Origin: origin, Region: leader, Leader: leader}
	floors := replica.NewFloors(us, origin, leader)
	s, err := forward.NewServer(us, at, log, floors, forward.ServerOptions{Head: headOf{log}})
	must(t, err)
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("the leader's server: %v", err)
		}
	})
	for i, region := range regions()[1:] {
		nc := m.connect(region)
		mirror, err := replica.Follow(within(t), nc, replica.Config{Origin: origin, Region: region, Leader: leader}, replica.Options{})
		must(t, err)
		running.Go(func() {
			if err := mirror.Run(ctx); err != nil {
				t.Errorf("the mirror of %s: %v", region, err)
			}
		})
		at.Region = region
		a, err := forward.NewAppender(nc, at, forward.Options{})
		must(t, err)
		defer a.Close()
		receipt, err := a.Append(within(t), events.One(landed(region), events.ExpectAny()))
		must(t, err)
		eventually(t, region+" follows", func() bool {
			r := mirror.Replication()
			return r.State == events.CopyFollows && r.Lag != nil && r.Lag.Events == 0 && !r.Head.IsZero()
		})
		ask, err := forward.NewFloors(nc, at, forward.Options{})
		must(t, err)
		defer ask.Close()
		eventually(t, "the leader knows that "+region+" holds it", func() bool {
			all, err := ask.Floors(within(t))
			return err == nil && slices.ContainsFunc(all, func(f events.Floor) bool { return f.Region == region && f.Connected && f.Sequence >= receipt.Last })
		})
		if head, err := ask.Head(within(t)); err != nil || head.IsZero() {
			t.Errorf("%s is told the head %s, %v", region, head, err)
		}
		copied, err := natslog.Open(within(t), nc, natslog.Config{Origin: origin, Mirror: true}, natslog.Options{})
		must(t, err)
		defer copied.Close()
		eventually(t, region+" has the event", func() bool { return history(t, copied) == i+1 })
		// The leader asks a mirror what it holds, and a mirror that is damaged is made anew, after it has read all of the leader's log.
		for conn, domain := range map[*nats.Conn]string{us: region, nc: leader} {
			other, err := natslog.Open(within(t), conn, natslog.Config{Origin: origin, Domain: domain, ReadOnly: true}, natslog.Options{})
			must(t, err)
			defer other.Close()
			if n := walk(t, other); n < i+2 {
				t.Errorf("%d records of region %s are read from another", n, domain)
			}
			if _, err := other.LastControl(within(t), events.ControlGenesis); err != nil {
				t.Error(err)
			}
		}
		eventually(t, "the copy of "+region+" is made anew", func() bool { // a server that still removes the old one cannot yet
			err := mirror.Remake(within(t))
			if err != nil && !errors.Is(err, events.ErrUnreachable) {
				t.Fatal(err)
			}
			return err == nil
		})
		eventually(t, region+" has the event again", func() bool {
			r := mirror.Replication()
			return r.State == events.CopyFollows && r.Lag != nil && r.Lag.Events == 0 && history(t, copied) == i+1
		})
	}
}

// walk counts the records of a log.
func walk(t *testing.T, log *natslog.Log) (n int) {
	t.Helper()
	for _, err := range log.Walk(within(t), 1) {
		must(t, err)
		n++
	}
	return n
}

// headOf is a Leader that asks a log.
type headOf struct{ log events.Reader }

func (h headOf) Head(ctx context.Context) (events.Position, error) {
	info, err := h.log.Info(ctx)
	return info.Head(), err
}

func TestTheServicesOfARegionSignalToEachOtherAndToNoOther(t *testing.T) {
	m := startMesh(t)
	defer m.refused.none(t)
	heard := make(map[string]chan string)
	all := make(map[string]*natssignals.Signals)
	for _, region := range regions() {
		for range 2 { // two processes
			s, err := natssignals.Open(m.connect(region), region, natssignals.Options{})
			must(t, err)
			defer s.Close()
			all[region] = s
			heard[region] = make(chan string, 1_000)
			defer s.Demands("airports", func(d projections.Demand) { heard[region] <- "demand " + d.Position.String() })()
			defer s.Notices("airports", func(n projections.Notice) { heard[region] <- fmt.Sprint("notice ", n.Sequence) })()
		}
	}
	for i, region := range regions() {
		sequence := uint64(i + 1) //nolint:gosec // small
		at := events.At(events.Point{Origin: "us", Lineage: "abcd", Term: 1, Sequence: sequence})
		got := map[string]bool{}
		eventually(t, region+" hears itself", func() bool {
			all[region].Demand(projections.Demand{Projection: "airports", Position: at})
			all[region].Notify(projections.Notice{Projection: "airports", Sequence: sequence})
			for len(heard[region]) > 0 {
				got[<-heard[region]] = true
			}
			return got["demand "+at.String()] && got[fmt.Sprint("notice ", sequence)]
		})
		if len(got) != 2 {
			t.Errorf("%s heard %v", region, got)
		}
	}
}

func TestTheServicesMayDoNothingElse(t *testing.T) {
	m := startMesh(t)
	for _, region := range regions() {
		refused := make(chan error, 100)
		nc := m.connect(region, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		own := "$JS.API.STREAM.UPDATE.EVT_us"
		if region == leader { // a mirror may be made anew
			own = "$JS.API.STREAM.DELETE.EVT_us"
		}
		for _, subject := range []string{
			own, "$JS.us.API.STREAM.DELETE.EVT_us", "$JS.API.STREAM.DELETE.EVT_other", "$JS.API.STREAM.PURGE.EVT_us", "$JS.API.STREAM.MSG.DELETE.EVT_us", "$JS.API.STREAM.CREATE.other",
			"$JS.API.STREAM.DELETE.KV_tidemark-" + region, "$JS.API.STREAM.UPDATE.KV_tidemark-" + region, "$JS.API.STREAM.PURGE.KV_tidemark-" + region,
			"$JS.API.STREAM.DELETE.OBJ_tidemark-snapshots-" + region, "$JS.API.STREAM.UPDATE.OBJ_tidemark-snapshots-" + region, "$JS.API.CONSUMER.CREATE.OBJ_tidemark-snapshots-" + region, "$SYS.REQ.SERVER.PING",
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
