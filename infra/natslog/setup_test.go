package natslog

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
)

// setUp sets the log up and returns the zero options.
func setUp(t *testing.T, nc *nats.Conn) Options {
	t.Helper()
	if err := Setup(within(t), nc, config); err != nil {
		t.Fatal(err)
	}
	return Options{}
}

func openError(t *testing.T, nc *nats.Conn, cfg Config) error {
	t.Helper()
	l, err := Open(within(t), nc, cfg, Options{})
	if err == nil {
		l.Close()
		t.Fatal("the log was opened")
	}
	return err
}

func TestSetupRace(t *testing.T) {
	onServers(t, func(t *testing.T, url string, replicas int) {
		nc := dial(t, url)
		for round := range 5 {
			cfg := Config{Origin: fmt.Sprint("us-", round), Replicas: replicas}
			var all sync.WaitGroup
			start := make(chan struct{})
			for i := range 8 {
				all.Go(func() {
					<-start
					if err := Setup(within(t), nc, cfg); err != nil {
						t.Errorf("setup %d: %v", i, err)
					}
				})
			}
			close(start)
			all.Wait()
			if info := streamInfo(t, nc, cfg.Origin); info.State.LastSeq != 1 || info.State.Msgs != 1 {
				t.Errorf("round %d: %+v", round, info.State)
			}
			reopen(t, nc, cfg, Options{}).Close()
		}
	})
}

// onServers runs a test against a lone server and a cluster.
func onServers(t *testing.T, run func(t *testing.T, url string, replicas int)) {
	t.Helper()
	t.Run("R1", func(t *testing.T) {
		t.Parallel()
		run(t, startServer(t, nil).ClientURL(), 1)
	})
	t.Run("R3", func(t *testing.T) {
		t.Parallel()
		run(t, natstest.Cluster(t, large)[0].ClientURL(), 3)
	})
}

func deleteStream(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(within(t), StreamName("us")); err != nil {
		t.Fatal(err)
	}
}

func TestSetupAgainChangesNothing(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	first := info(t, l)
	appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	if err := Setup(within(t), nc, config); err != nil {
		t.Fatal(err)
	}
	if again := info(t, l); again.Last != 2 || again.Terms.Lineage != first.Terms.Lineage {
		t.Errorf("%+v, then %+v", first, again)
	}
}

func TestSetupAfterACrashWritesTheGenesis(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(within(t), config.withDefaults().streamConfig()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, openError(t, nc, config), events.ErrNoLog) // whoever set it up may be about to
	if got := info(t, openLog(t, nc, config, Options{})); got.Last != 1 {
		t.Errorf("%+v", got)
	}
}

// TestAGenesisThatComesWhileALogIsOpenedIsNotMissed writes it after the leader has said that there is no first record, and before it says how many there are.
func TestAGenesisThatComesWhileALogIsOpenedIsNotMissed(t *testing.T) {
	s := startServer(t, nil)
	nc := dial(t, s.ClientURL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(within(t), config.withDefaults().streamConfig()); err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, s.ClientURL())
	var begun sync.Once
	missing := []byte("10037") // no such message
	begin := func(data []byte) {
		if bytes.Contains(data, missing) {
			begun.Do(func() {
				if err := Setup(within(t), nc, config); err != nil {
					t.Error(err)
				}
			})
		}
	}
	p.mangle.Store(&begin)
	if got := info(t, reopen(t, dial(t, p.url()), config, Options{})); got.Last != 1 || got.Terms.Lineage == "" {
		t.Errorf("%+v", got)
	}
	begun.Do(func() { t.Error("nothing came while it was opened") })
}

func TestAStreamThatDoesNotBeginWithOurGenesisIsForeign(t *testing.T) {
	control := func(name, data string) *nats.Msg {
		return &nats.Msg{Subject: "ctl.us." + name, Data: []byte(data)}
	}
	for name, first := range map[string]*nats.Msg{
		"an event":            {Subject: "evt.us.airport.ORD", Data: []byte(`{}`)},
		"another control":     control("mark", `{}`),
		"not JSON":            control("genesis", `hello`),
		"no lineage":          control("genesis", `{"format":1,"origin":"us"}`),
		"of another origin":   control("genesis", `{"format":1,"origin":"eu","lineage":"7f3a"}`),
		"of a later version":  control("genesis", `{"format":2,"origin":"us","lineage":"7f3a"}`),
		"of a different kind": control("genesis", `[]`),
	} {
		t.Run(name, func(t *testing.T) {
			nc := dial(t, startServer(t, nil).ClientURL())
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(within(t), config.withDefaults().streamConfig()); err != nil {
				t.Fatal(err)
			}
			if _, err := js.PublishMsg(within(t), first); err != nil {
				t.Fatal(err)
			}
			wantCode(t, openError(t, nc, config), events.ErrForeignHistory)
			wantCode(t, Setup(within(t), nc, config), events.ErrForeignHistory)
			if got := streamInfo(t, nc, "us").State.LastSeq; got != 1 {
				t.Errorf("the stream has %d records", got)
			}
		})
	}
}

func TestOpenAndSetupNameWhatIsMissing(t *testing.T) {
	s := startServer(t, nil)
	nc := dial(t, s.ClientURL())
	wantCode(t, openError(t, nc, config), events.ErrNoLog)
	for _, cfg := range []Config{{}, {Origin: "US"}, {Origin: "a.b"}, {Origin: strings.Repeat("x", 33)}} {
		wantCode(t, openError(t, nc, cfg), events.ErrInvalidEvent)
		wantCode(t, Setup(within(t), nc, cfg), events.ErrInvalidEvent)
	}
	for _, cfg := range []Config{{Origin: "us", Replicas: 6}, {Origin: "us", Replicas: -1}, {Origin: "us", DuplicateWindow: -1}} {
		wantCode(t, openError(t, nc, cfg), events.ErrUnsafeLog)
		wantCode(t, Setup(within(t), nc, cfg), events.ErrUnsafeLog)
	}
	wantCode(t, Setup(within(t), nc, Config{Origin: "us", Mirror: true}), events.ErrUnsafeLog)
	wantCode(t, Setup(within(t), nc, Config{Origin: "us", ReadOnly: true}), events.ErrUnsafeLog)
	wantCode(t, Setup(within(t), nc, Config{Origin: "us", Replicas: 3}), events.ErrUnsafeLog) // on a lone server
	wantCode(t, openError(t, nc, Config{Origin: "us", Domain: "mars"}), events.ErrUnreachable)
	wantCode(t, Setup(within(t), nc, Config{Origin: "us", Domain: "mars"}), events.ErrUnreachable)
	s.Stop()
	wantCode(t, openError(t, nc, config), events.ErrUnreachable)
	wantCode(t, Setup(within(t), nc, config), events.ErrUnreachable)
}

func TestDomain(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.JetStreamDomain = "us-east" })
	nc := dial(t, s.ClientURL())
	for _, domain := range []string{"us-east", ""} {
		t.Run(fmt.Sprintf("domain %q", domain), func(t *testing.T) {
			l := openLog(t, nc, Config{Origin: "us", Domain: domain}, Options{})
			head := info(t, l).Last
			if r := appendOne(t, l, about(entity(1), 1), events.ExpectAny()); r.Last != head+1 {
				t.Errorf("%+v", r)
			}
			n := 0
			for batch, err := range l.Read(within(t), events.Range{}) {
				if err != nil {
					t.Fatal(err)
				}
				n += len(batch)
			}
			if n != int(head)+1 {
				t.Errorf("read %d records of %d", n, head+1)
			}
			for r, err := range l.History(within(t), entity(1), 0) {
				if err != nil || r.Event.Entity != entity(1) {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
}
