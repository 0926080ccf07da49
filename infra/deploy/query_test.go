package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"tidemark.dev/events/memlog"
	dialer "tidemark.dev/infra/client"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

// inboxOfReaders is where the user reader hears answers.
const inboxOfReaders = "_INBOX.reader"

func TestReadersMayAskAndNothingElse(t *testing.T) {
	f := passwords(t)
	publish, subscribe := queryservice.ReaderRights(inboxOfReaders)
	for _, region := range regions() {
		u := user(t, f.conf(region), "reader")
		wantSame(t, region+": a reader publishes", u.Permissions.Publish, publish)
		wantSame(t, region+": a reader hears", u.Permissions.Subscribe, append(slices.Clone(subscribe), findings(region)))
		if u.Permissions.Response == nil || u.Account.Name != account || u.Password != f.read("kept/"+region+"-reader") {
			t.Errorf("%s: the reader is %+v", region, u)
		}
		services := user(t, f.conf(region), userOf)
		answers, hears := queryservice.ServerRights(region)
		answers = append(answers, findings(region), queryservice.Subject("*", queryservice.Marks))
		for _, subject := range answers {
			if !slices.Contains(services.Permissions.Publish.Allow, subject) {
				t.Errorf("%s: the services may not publish to %s", region, subject)
			}
		}
		for _, subject := range hears {
			if !slices.Contains(services.Permissions.Subscribe.Allow, subject) {
				t.Errorf("%s: the services may not hear %s", region, subject)
			}
		}
	}
}

// findings is where a region announces what its reconciler finds.
func findings(name string) string { return region.FindingsSubject(name, ">") }

// serve runs the query services of all regions, with the rights of the services.
func (m mesh) serve() {
	m.t.Helper()
	ctx, stop := context.WithCancel(m.t.Context())
	var running sync.WaitGroup
	m.t.Cleanup(func() {
		stop()
		running.Wait()
	})
	log := memlog.New(origin, memlog.Options{})
	m.t.Cleanup(log.Close)
	for _, region := range regions() {
		reader := query.New(region, memstore.New(), memstore.NewKV(), query.NewHeads(log))
		s, err := queryservice.New(m.connect(region), region, reader, queryservice.Options{})
		must(m.t, err)
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				m.t.Errorf("the query service of %s: %v", region, err)
			}
		})
	}
}

// reader returns how a reader connects to a region.
func (m mesh) reader(name string) region.Config {
	return region.Config{Name: name, NATS: m.servers[name].ClientURL(), User: "reader", Password: m.folder.read("kept/" + name + "-reader")}
}

func TestAReaderAsksEveryRegionFromItsOwn(t *testing.T) {
	m := startMesh(t)
	m.serve()
	defer m.refused.none(t)
	for _, home := range regions() {
		for _, asked := range regions() {
			at := []region.Config{{Name: asked}, m.reader(home)}
			if home == asked {
				at = at[1:]
			}
			c, err := dialer.Dial(t.Context(), dialer.Config{Inbox: inboxOfReaders, Regions: at})
			must(t, err)
			eventually(t, "in "+home+" a reader is answered by "+asked, func() bool {
				o, err := c.Overview(within(t))
				return err == nil && o.Region == asked
			})
			if _, err := c.Get(within(t), "airports", "ORD", query.Options{}); !errors.Is(err, projections.ErrUnknownProjection) {
				t.Errorf("%s asks %s: %v", home, asked, err)
			}
			must(t, c.Close())
		}
	}
}

// TestAReaderFindsTheQueryServicesOfItsRegion: a search does not cross links, where it would go round for ever.
func TestAReaderFindsTheQueryServicesOfItsRegion(t *testing.T) {
	m := startMesh(t)
	m.serve()
	defer m.refused.none(t)
	for _, home := range regions() {
		at := m.reader(home)
		nc := natstest.Dial(t, at.NATS, nats.UserInfo(at.User, at.Password), nats.CustomInboxPrefix(inboxOfReaders))
		found := func() (names []string) {
			inbox := nc.NewInbox()
			answers, err := nc.SubscribeSync(inbox)
			must(t, err)
			defer answers.Unsubscribe() //nolint:errcheck // the connection is closed next
			must(t, nc.PublishRequest("$SRV.INFO."+queryservice.Name, inbox, nil))
			for {
				answer, err := answers.NextMsg(200 * time.Millisecond)
				if err != nil {
					slices.Sort(names)
					return names
				}
				var info micro.Info
				must(t, json.Unmarshal(answer.Data, &info))
				names = append(names, info.Metadata["region"])
			}
		}
		eventually(t, "that of "+home+" is found there", func() bool { return slices.Equal(found(), []string{home}) })
	}
}

func TestAReaderMayDoNothingElse(t *testing.T) {
	m := startMesh(t)
	for _, home := range regions() {
		refused := make(chan error, 100)
		at := m.reader(home)
		nc := natstest.Dial(t, at.NATS, nats.UserInfo(at.User, at.Password), nats.CustomInboxPrefix(inboxOfReaders),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		expect := func(what string) {
			t.Helper()
			must(t, nc.FlushWithContext(within(t)))
			select {
			case err := <-refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("%s: %s: %v", home, what, err)
				}
			case <-time.After(patience):
				t.Errorf("%s: a reader may %s", home, what)
			}
		}
		for _, subject := range []string{
			"evt.us.airport.ORD", "ctl.us.genesis", "tm.append.us", "tm.floors.us", "$JS.API.STREAM.INFO.EVT_us", "$JS.us.API.STREAM.INFO.EVT_us", "$KV.tidemark-" + home + ".x",
			"_INBOX.somebody", "$SRV.PING", "tm.demand." + home + ".x",
		} {
			must(t, nc.Publish(subject, nil))
			expect("publish to " + subject)
		}
		for _, subject := range []string{"q." + home + ".get", "_INBOX.>", "evt.>", "$SRV.PING." + queryservice.Name, ">"} {
			_, err := nc.SubscribeSync(subject)
			must(t, err)
			expect("hear " + subject)
		}
	}
}
