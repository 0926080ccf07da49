package queryservice_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

func (f *fixture) caller(t testing.TB, options ...nats.Option) *queryservice.Caller {
	t.Helper()
	url := f.nats.ClientURL()
	c, err := queryservice.Dial("us", nil, append([]nats.Option{func(o *nats.Options) error { o.Url = url; return nil }}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func getting(key string, o query.Options) queryservice.GetRequest {
	return queryservice.GetRequest{Reading: queryservice.NewReading("airports", o), Key: key}
}

func TestACallerIsToldWhatTheServiceSays(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	c := f.caller(t)
	at := f.depart(t, "ORD")
	var a query.Answer
	told, err := c.Ask(t.Context(), "us", queryservice.Get, getting("ORD", query.Options{AtLeast: at, Wait: patience}), &a)
	if err != nil || a.Key != "ORD" || !a.Position.Equal(at) || told.Region != "us" || !told.Position.Equal(at) || told.Generation != 1 || told.Lag == nil || told.Lag.Events != 0 {
		t.Errorf("%+v, %+v, %v", a, told, err)
	}
	direct, err := f.reader.Get(t.Context(), "airports", "ORD", query.Options{})
	if err != nil || a.ETag != direct.ETag || len(a.Document.Values) != len(direct.Document.Values) {
		t.Errorf("%+v is not %+v, %v", a, direct, err)
	}
	for code, request := range map[events.Code]queryservice.GetRequest{
		projections.ErrNoDocument: getting("JFK", query.Options{}), projections.ErrInvalidKey: getting("", query.Options{}),
		projections.ErrNotReached: getting("ORD", query.Options{AtLeast: events.At(events.Point{Origin: "us", Lineage: "abcd", Term: 1, Sequence: 99}), Wait: -1}),
	} {
		told, err = c.Ask(t.Context(), "us", queryservice.Get, request, &a)
		if e, ok := errors.AsType[*events.Error](err); !ok || e.Code != code || e.What == "" || (code != projections.ErrInvalidKey) == told.Position.IsZero() {
			t.Errorf("%s: %+v, %v", code, told, err)
		}
	}
	if _, err = c.Ask(t.Context(), "us", queryservice.Get, getting(strings.Repeat("x", 17<<20), query.Options{}), &a); !errors.Is(err, events.ErrTooLarge) {
		t.Errorf("a request that is too large: %v", err)
	}
	strong := query.Options{Strong: true, Wait: patience}
	at = f.depart(t, "ORD")
	if _, err = c.Ask(t.Context(), "us", queryservice.Get, getting("ORD", strong), &a); err != nil || !a.Position.Equal(at) {
		t.Errorf("a strong read: %+v, %v", a, err)
	}
}

func TestACallerIsToldWhyThereIsNoAnswer(t *testing.T) {
	f := newFixture(t)
	c := f.caller(t)
	silence := func(what string, atOnce bool, err error) {
		t.Helper()
		var s *queryservice.Silence
		if !errors.Is(err, events.ErrUnreachable) || !errors.As(err, &s) || s.AtOnce != atOnce {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := c.Ask(t.Context(), "us", queryservice.Status, queryservice.StatusRequest{}, &query.Overview{})
	silence("nobody is there", true, err)
	deaf := f.connect(t)
	if _, err := deaf.Subscribe("q.us.*", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := deaf.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Ask(ctx, "us", queryservice.Status, queryservice.StatusRequest{}, &query.Overview{})
	silence("nobody answers", false, err)
	asked := make(chan error, 1)
	go func() {
		_, err := c.Ask(context.Background(), "us", queryservice.Status, queryservice.StatusRequest{}, &query.Overview{})
		asked <- err
	}()
	f.nats.Shutdown()
	select {
	case err := <-asked:
		silence("the servers are gone", true, err)
	case <-time.After(patience):
		t.Fatal("it waits for servers that are gone")
	}
	eventually(t, "it knows that it is not connected", func() bool { return !c.Connected() })
	_, err = c.Ask(t.Context(), "us", queryservice.Status, queryservice.StatusRequest{}, &query.Overview{})
	silence("the servers are gone since", true, err)
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := c.Wait(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// users are a service and readers with rights of their own.
func users(o *server.Options) {
	user := func(name string, publish, subscribe []string) *server.User {
		return &server.User{Username: name, Password: "secret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
			Response: &server.ResponsePermission{MaxMsgs: server.DEFAULT_ALLOW_RESPONSE_MAX_MSGS, Expires: server.DEFAULT_ALLOW_RESPONSE_EXPIRATION},
		}}
	}
	publish, subscribe := queryservice.ServerRights("us")
	asks, hears := queryservice.ReaderRights("_INBOX.app")
	o.Users = []*server.User{
		{Username: "admin", Password: "secret"}, user("service", publish, subscribe), user("reader", asks, hears),
		user("mute", []string{"x"}, hears), user("deaf", asks, []string{"x"}), user("other", []string{"_INBOX.>"}, []string{"_INBOX.>"}),
	}
	o.NoAuthUser = "admin"
}

func TestTheRightsSufficeAndMissingOnesAreNamed(t *testing.T) {
	f := newFixture(t, users)
	f.serve(t, queryservice.Options{}, nats.UserInfo("service", "secret"))
	as := func(name string) *queryservice.Caller {
		return f.caller(t, nats.UserInfo(name, "secret"), nats.CustomInboxPrefix("_INBOX.app"))
	}
	reader := as("reader")
	f.depart(t, "ORD")
	if _, err := reader.Ask(t.Context(), "us", queryservice.Status, queryservice.StatusRequest{}, &query.Overview{}); err != nil {
		t.Error(err)
	}
	n := 0
	for u, err := range reader.Updates(t.Context(), "us", "airports", query.WatchOptions{Heartbeat: 100 * time.Millisecond}, patience) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n > 5 && len(u.Changes) == 0 {
			break
		}
	}
	for _, name := range []string{"mute", "deaf"} {
		c := as(name)
		if _, err := c.Ask(t.Context(), "us", queryservice.Status, queryservice.StatusRequest{}, &query.Overview{}); !errors.Is(err, events.ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
		for _, err := range as(name).Updates(t.Context(), "us", "airports", query.WatchOptions{}, patience) {
			if !errors.Is(err, events.ErrUnauthorized) {
				t.Errorf("%s watches: %v", name, err)
			}
		}
	}
	s, err := queryservice.New(f.connect(t, nats.UserInfo("other", "secret")), "us", f.reader, queryservice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, events.ErrUnauthorized) || !strings.Contains(err.Error(), "$SRV") && !strings.Contains(err.Error(), "q.us.") {
		t.Errorf("a service without rights ended with %v", err)
	}
}
