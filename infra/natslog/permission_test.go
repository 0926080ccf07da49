package natslog

import (
	"context"
	"log/slog"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// writerRights and readerRights are what DESIGN.md says the two roles need, and nothing more.
var (
	writerRights = []string{"evt.us.>", "$JS.API.STREAM.INFO.EVT_us", "$JS.API.STREAM.MSG.GET.EVT_us", "$JS.API.DIRECT.GET.EVT_us"}
	readerRights = []string{
		"$JS.API.STREAM.INFO.EVT_us", "$JS.API.STREAM.MSG.GET.EVT_us", "$JS.API.DIRECT.GET.EVT_us",
		"$JS.API.CONSUMER.CREATE.EVT_us.*", "$JS.API.CONSUMER.DELETE.EVT_us.*", "$JS.API.CONSUMER.MSG.NEXT.EVT_us.*",
	}
)

// restricted starts a server where admin may do everything and each other user may publish to the given subjects only, and hear
// only what comes to his own inbox.
func restricted(t *testing.T, rights map[string][]string) (connect func(user string) *nats.Conn) {
	t.Helper()
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "secret"}}
		for user, allow := range rights {
			o.Users = append(o.Users, &server.User{Username: user, Password: "secret", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: allow},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + user + ".>"}},
			}})
		}
	})
	connect = func(user string) *nats.Conn {
		o := []nats.Option{nats.UserInfo(user, "secret"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) { t.Error("the caller's handler was called") })}
		if user != "admin" && user != "deaf" {
			o = append(o, nats.CustomInboxPrefix("_INBOX_"+user))
		}
		return dial(t, s.ClientURL(), o...)
	}
	if err := Setup(within(t), connect("admin"), config); err != nil {
		t.Fatal(err)
	}
	return connect
}

// slowly gives an attempt more time than a test waits: an error that only comes after it comes too late.
var slowly = Options{AttemptTimeout: 2 * patience}

// promptly fails the test unless f returns ErrUnauthorized in time.
func promptly(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	err := f(within(t))
	if code, _ := events.CodeOf(err); code != events.ErrUnauthorized {
		t.Errorf("%s: got %v, want %s", what, err, events.ErrUnauthorized)
	}
}

func TestTheRolesSuffice(t *testing.T) {
	connect := restricted(t, map[string][]string{"writer": writerRights, "reader": readerRights})
	writer, reader := reopen(t, connect("writer"), config, Options{}), reopen(t, connect("reader"), config, Options{})
	b := events.One(about(entity(1), 1), events.ExpectNone())
	first, err := writer.Append(within(t), b)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := writer.Append(within(t), b); err != nil || !r.Duplicate || r.Last != first.Last {
		t.Errorf("a duplicate: %+v, %v", r, err)
	}
	_, err = writer.Append(within(t), events.One(about(entity(1), 2), events.ExpectNone()))
	wantCode(t, err, events.ErrConflict)
	if _, err := writer.Append(within(t), events.Batch{Events: []events.Event{about(entity(1), 3), about(entity(2), 3)}}); err != nil {
		t.Error(err)
	}
	for r, err := range writer.History(within(t), entity(2), 0) {
		if err != nil || number(t, r) != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	n := 0
	for batch, err := range reader.Read(within(t), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(batch)
	}
	if n != 4 {
		t.Errorf("%d records were read", n)
	}
	wantConsumers(t, connect("admin"), 0)
}

func TestMissingRightsAreNamedPromptly(t *testing.T) {
	without := func(rights []string, missing string) []string {
		var out []string
		for _, r := range rights {
			if r != missing {
				out = append(out, r)
			}
		}
		return out
	}
	all := append(append([]string{}, writerRights...), readerRights...)
	connect := restricted(t, map[string][]string{
		"noinfo": without(all, "$JS.API.STREAM.INFO.EVT_us"), "noget": without(all, "$JS.API.STREAM.MSG.GET.EVT_us"), "nodirect": without(all, "$JS.API.DIRECT.GET.EVT_us"),
		"nocreate": without(all, "$JS.API.CONSUMER.CREATE.EVT_us.*"), "nonext": without(all, "$JS.API.CONSUMER.MSG.NEXT.EVT_us.*"),
		"airports": append(without(all, "evt.us.>"), "evt.us.airport.*"), "deaf": all, "nosetup": all,
	})
	for _, user := range []string{"noinfo", "noget", "deaf"} {
		promptly(t, "opening as "+user, func(ctx context.Context) error {
			_, err := Open(ctx, connect(user), config, slowly)
			return err
		})
	}
	promptly(t, "setting up another log", func(ctx context.Context) error { return Setup(ctx, connect("nosetup"), Config{Origin: "eu"}) })
	promptly(t, "a wrong password", func(ctx context.Context) error {
		nc := connect("nosetup")
		nc.Opts.Password = "wrong"
		_, err := Open(ctx, nc, config, slowly)
		return err
	})
	for _, user := range []string{"nocreate", "nonext"} {
		l := reopen(t, connect(user), config, slowly)
		promptly(t, "reading as "+user, func(ctx context.Context) error {
			for _, err := range l.Read(ctx, events.Range{Follow: true}) {
				return err
			}
			return nil
		})
	}
	neverHears(t, connect("deaf"))
	l := reopen(t, connect("nodirect"), config, slowly)
	promptly(t, "a history", func(ctx context.Context) error {
		for _, err := range l.History(ctx, entity(1), 0) {
			return err
		}
		return nil
	})
	for _, mode := range []CommitMode{Pipelined, GroupCommit} {
		noGates(t, connect, mode)
	}
}

// noGates appends with the right to write about airports only.
func noGates(t *testing.T, connect func(string) *nats.Conn, mode CommitMode) {
	l := reopen(t, connect("airports"), config, Options{Commit: mode, AttemptTimeout: slowly.AttemptTimeout})
	gate := events.Entity{Type: "gate", ID: "B7"}
	promptly(t, "one append", func(ctx context.Context) error {
		_, err := l.Append(ctx, events.One(about(gate, 1), events.ExpectAny()))
		return err
	})
	promptly(t, "a batch", func(ctx context.Context) error {
		_, err := l.Append(ctx, events.Batch{Events: []events.Event{about(entity(1), 1), about(gate, 1), about(entity(2), 1)}})
		return err
	})
	promptly(t, "a batch, refused at its end", func(ctx context.Context) error {
		_, err := l.Append(ctx, events.Batch{Events: []events.Event{about(entity(1), 1), about(gate, 1)}})
		return err
	})
	var pending []*events.Pending
	for i := range 100 { // some of which share a batch with the one that is refused
		e := about(entity(i), i)
		if i == 50 {
			e.Entity = gate
		}
		p, err := l.Submit(within(t), events.One(e, events.ExpectAny()))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for i, p := range pending {
		_, err := p.Wait(within(t))
		if i == 50 {
			wantCode(t, err, events.ErrUnauthorized)
		} else if err != nil {
			t.Errorf("append %d: %v", i, err)
		}
	}
}

// neverHears asks twice: the servers refuse the subscription for answers only once.
func neverHears(t *testing.T, nc *nats.Conn) {
	l, err := natsapi.Connect(nc, "test", slog.New(slog.DiscardHandler), slowly.AttemptTimeout)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, which := range []string{"first", "second"} {
		promptly(t, "the "+which+" request", func(ctx context.Context) error {
			_, err := apiOf(l, config).StreamInfo(ctx)
			return err
		})
	}
}
