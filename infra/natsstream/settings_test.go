package natsstream

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
)

func TestASourceThatCannotBeOneIsRefused(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	for _, source := range []projections.Source{
		{Stream: "EVT_us", Origin: "x"}, {Stream: "", Origin: "x"}, {Stream: "a.b", Origin: "x"}, {Stream: "a>", Origin: "x"}, {Stream: strings.Repeat("a", 256), Origin: "x"},
		{Stream: "ORDERS", Origin: ""}, {Stream: "ORDERS", Origin: "Orders"},
	} {
		_, err := New(nc, source, Options{})
		wantCode(t, err, projections.ErrInvalidProjection)
	}
}

// TestAStreamThatReadingWouldChangeIsRefused: with such a retention messages vanish once they are acknowledged.
func TestAStreamThatReadingWouldChangeIsRefused(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	for i, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.InterestPolicy} {
		name := fmt.Sprint("Q", i)
		o := makeStream(t, nc, func(c *jetstream.StreamConfig) {
			c.Name, c.Subjects, c.Retention = name, []string{name + ".>"}, retention
		})
		s := openSource(t, nc, projections.Source{Stream: name, Origin: "q"})
		_, err := s.Info(within(t))
		wantCode(t, err, events.ErrUnsafeLog)
		for _, r := range []events.Range{{}, {Follow: true}} {
			if got := read(t, s, r); got != " !unsafe-log" {
				t.Errorf("%s: got %q", retention, got)
			}
		}
		if n := o.state().Consumers; n != 0 {
			t.Errorf("%d consumers were made", n)
		}
	}
}

// TestAnyOtherStreamIsRead: in memory, compressed, with a time to live, sealed, a mirror, one with sources, one whose consumers are bounded.
func TestAnyOtherStreamIsRead(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	origin := makeStream(t, nc, func(c *jetstream.StreamConfig) { c.Name, c.Subjects = "FIRST", []string{"first.>"} })
	origin.fill(6)
	origin.remove(3)
	for i, c := range []struct {
		name   string
		config func(*jetstream.StreamConfig)
		work   func(o *theirs)
		want   string
	}{
		{"in memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, func(o *theirs) { o.fill(4); o.remove(2) }, " 1 d2-2 3 4"},
		{"compressed", func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression }, func(o *theirs) { o.fill(3) }, " 1 2 3"},
		{"sealed", nil, func(o *theirs) {
			o.fill(3)
			cfg := o.s.CachedInfo().Config
			cfg.Sealed = true
			if _, err := o.js.UpdateStream(within(o.t), cfg); err != nil {
				o.t.Fatal(err)
			}
		}, " 1 2 3"},
		{"a mirror, which has the sequences of its origin", func(c *jetstream.StreamConfig) { c.Subjects, c.Mirror = nil, &jetstream.StreamSource{Name: "FIRST"} },
			func(o *theirs) { eventually(o.t, "it is copied", func() bool { return o.state().LastSeq == 6 }) }, " 1 2 d3-3 4 5 6"},
		{"a copy of sources, which has sequences of its own", func(c *jetstream.StreamConfig) {
			c.Subjects, c.Sources = nil, []*jetstream.StreamSource{{Name: "FIRST"}}
		},
			func(o *theirs) { eventually(o.t, "it is copied", func() bool { return o.state().Msgs == 5 }) }, " 1 2 3 4 5"},
		{"with bounds for consumers", func(c *jetstream.StreamConfig) {
			c.ConsumerLimits, c.MaxConsumers = jetstream.StreamConsumerLimits{InactiveThreshold: time.Second, MaxAckPending: 5}, 1
		}, func(o *theirs) { o.fill(20) }, " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprint("S", i)
			o := makeStream(t, nc, func(cfg *jetstream.StreamConfig) {
				cfg.Name, cfg.Subjects = name, []string{name + ".>"}
				if c.config != nil {
					c.config(cfg)
				}
			})
			c.work(o)
			s := openSource(t, nc, projections.Source{Stream: name, Origin: "s"})
			if got := read(t, s, events.Range{}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// rights are what README.md says a reader needs, and nothing more.
var rights = []string{
	"$JS.API.STREAM.INFO.ORDERS", "$JS.API.STREAM.MSG.GET.ORDERS",
	"$JS.API.CONSUMER.CREATE.ORDERS.*", "$JS.API.CONSUMER.DELETE.ORDERS.*", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.*",
}

func TestTheRightsOfAReaderSufficeAndEachIsNamedWhenItIsMissing(t *testing.T) {
	server := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "owner", Password: "secret"}}
		for i := -1; i < len(rights); i++ {
			var allowed []string
			for j, r := range rights {
				if j != i {
					allowed = append(allowed, r)
				}
			}
			user := fmt.Sprint("reader", i+1)
			o.Users = append(o.Users, &server.User{Username: user, Password: "secret", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: allowed},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + user + ".>"}},
			}})
		}
	})
	connect := func(user string) *nats.Conn {
		return dial(t, server.ClientURL(), nats.UserInfo(user, "secret"), nats.CustomInboxPrefix("_INBOX_"+user))
	}
	o := makeStream(t, connect("owner"), nil)
	o.fill(9)
	o.remove(1, 4, 9)
	s := open(t, connect("reader0"))
	if got := read(t, s, events.Range{}); got != " e1-1 2 3 d4-4 5 6 7 8 d9-9" {
		t.Errorf("got %q", got)
	}
	if _, err := s.Record(within(t), 5); err != nil {
		t.Error(err)
	}
	s.Close()
	o.noConsumers()
	for i, right := range rights {
		if strings.Contains(right, "CONSUMER.DELETE") {
			continue // the consumer goes away by itself
		}
		// An attempt has more time than a test waits: an error that only comes after it comes too late.
		s, err := New(connect(fmt.Sprint("reader", i+1)), orders, Options{AttemptTimeout: 2 * patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		err = use(within(t), s)
		wantCode(t, err, events.ErrUnauthorized)
		if name := strings.TrimSuffix(right, "*"); !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", right, err)
		}
	}
}

// TestTheDocumentsNameTheRights: an operator goes by them.
func TestTheDocumentsNameTheRights(t *testing.T) {
	for name, stream := range map[string]string{"README.md": "<s>", "../deploy/README.md": "ORDERS"} {
		text, err := os.ReadFile(name) //nolint:gosec // of the repository
		if err != nil {
			t.Fatal(err)
		}
		for _, right := range rights {
			if right = strings.Replace(right, "ORDERS", stream, 1); !strings.Contains(string(text), right) {
				t.Errorf("%s does not name %s", name, right)
			}
		}
	}
}

// use does everything that a reader can do.
func use(ctx context.Context, s *Stream) error {
	if _, err := s.Info(ctx); err != nil {
		return err
	}
	if _, err := s.Record(ctx, 5); err != nil {
		return err
	}
	for _, err := range s.Read(ctx, events.Range{}) {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestServersThatAreAwayAreWaitedFor: a reader can be made while nobody answers, and a follower goes on when somebody does again.
func TestServersThatAreAwayAreWaitedFor(t *testing.T) {
	server := natstest.Start(t)
	nc := dial(t, server.ClientURL())
	o, early := makeStream(t, nc, nil), open(t, nc)
	o.fill(3)
	f := follow(t, early, events.Range{})
	f.reads(t, " 1 2 3")
	late := open(t, nc)
	server.Stop()
	for range 2 {
		_, err := late.Info(within(t))
		wantCode(t, err, events.ErrUnreachable)
	}
	server.Restart()
	o.back()
	o.fill(2)
	f.reads(t, " 1 2 3 4 5")
	if got := read(t, late, events.Range{From: 4}); got != " 4 5" {
		t.Errorf("got %q", got)
	}
}
