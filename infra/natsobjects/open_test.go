package natsobjects

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections/storetest"
)

func TestABucketIsMadeOnceAndOpenedByAll(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	early := reopen(t, nc, Config{Bucket: bucket})
	for name, err := range everyCall(within(t), early) {
		if !errors.Is(err, events.ErrNoLog) || !strings.Contains(err.Error(), "set it up") {
			t.Errorf("%s without a bucket returned %v", name, err)
		}
	}
	one := open(t, nc, Config{})
	_, err := one.Put(within(t), describing("a", 1), body(10))
	must(t, err)
	for _, s := range []*Snapshots{early, open(t, nc, Config{}), open(t, nc, Config{Replicas: 3}), reopen(t, nc, Config{Bucket: bucket})} {
		if got := list(t, s); got != "a" {
			t.Errorf("the bucket that was opened holds %q", got)
		}
	}
	c := stream(t, nc, one).CachedInfo().Config
	if c.Storage != jetstream.FileStorage || c.Replicas != 1 || c.MaxAge != 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 || !c.AllowDirect || !c.AllowRollup || c.Discard != jetstream.DiscardNew {
		t.Errorf("the bucket's stream is %+v", c)
	}
}

// everyCall calls every method and returns its error by name.
func everyCall(ctx context.Context, s *Snapshots) map[string]error {
	_, put := s.Put(ctx, describing("b", 2), body(10))
	_, list := s.List(ctx, "flights")
	_, open := s.Open(ctx, "flights", "a")
	return map[string]error{"put": put, "list": list, "open": open, "delete": s.Delete(ctx, "flights", "a")}
}

// TestOtherClientsReadWhatIsPut: it is an object like any other, and objects of others are no snapshots.
func TestOtherClientsReadWhatIsPut(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc, Config{})
	const size = 3*maxPart + 5
	_, err := s.Put(within(t), describing("a", 1), body(size))
	must(t, err)
	theirs, err := jetStream(t, nc).ObjectStore(within(t), bucket)
	must(t, err)
	got, err := theirs.GetBytes(within(t), "flights/a")
	must(t, err)
	want, err := io.ReadAll(body(size))
	must(t, err)
	if string(got) != string(want) {
		t.Errorf("%d bytes are read, want %d", len(got), len(want))
	}
	for _, name := range []string{"flights/b", "flights/", "note", "flights/a/b", "FLIGHTS/a", "flights/c"} {
		_, err := theirs.PutString(within(t), name, "theirs")
		must(t, err)
	}
	must(t, theirs.Delete(within(t), "flights/c"))
	if got := list(t, s); got != "a" {
		t.Errorf("listed: %q", got)
	}
	_, err = s.Put(within(t), describing("b", 1), body(1))
	wantCode(t, err, events.ErrConflict)
	// A name that another client has given free is free, and one that ours has is unknown to all.
	_, err = s.Put(within(t), describing("c", 1), body(1))
	must(t, err)
	must(t, theirs.Delete(within(t), "flights/a"))
	must(t, s.Delete(within(t), "flights", "b"))
	if got := list(t, s); got != "c" {
		t.Errorf("listed: %q", got)
	}
	if _, err := theirs.GetInfo(within(t), "flights/b"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
}

func wantCode(t testing.TB, err error, code events.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("error = %v, want %s", err, code)
	}
}

func TestAServerThatDoesNotAnswerIsUnreachable(t *testing.T) {
	server := natstest.Start(t)
	s := open(t, dial(t, server.ClientURL()), Config{})
	_, err := s.Put(within(t), describing("a", 1), body(3*maxPart))
	must(t, err)
	r, err := s.Open(within(t), "flights", "a")
	must(t, err)
	_, err = io.ReadFull(r, make([]byte, 10))
	must(t, err)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	calls := everyCall(ctx, s)
	_, calls["read"] = io.Copy(io.Discard, r)
	for name, err := range calls {
		if !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	s.Close()
	for name, err := range everyCall(within(t), s) {
		if !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("%s after the close returned %v", name, err)
		}
	}
}

func TestAMissingRightIsToldApartAndAtOnce(t *testing.T) {
	all := &server.Permissions{}
	none := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$O.>", "$JS.API.>"}}}
	address := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "all", Password: "x", Permissions: all}, {Username: "none", Password: "x", Permissions: none}}
	}).ClientURL()
	open(t, dial(t, address, nats.UserInfo("all", "x")), Config{})
	nc := dial(t, address, nats.UserInfo("none", "x"))
	_, err := Open(within(t), nc, Config{Bucket: bucket, Create: true})
	wantCode(t, err, events.ErrUnauthorized)
	began := time.Now()
	for name, err := range everyCall(within(t), reopen(t, nc, Config{Bucket: bucket})) {
		if !errors.Is(err, events.ErrUnauthorized) || !strings.Contains(err.Error(), "natsobjects/README.md") {
			t.Errorf("%s returned %v", name, err)
		}
	}
	if took := time.Since(began); took > 3*requestTimeout { // of which every call would take one
		t.Errorf("that took %s", took)
	}
}

// The users of README.md can do everything that they should.
func TestTheReadmesUsersSuffice(t *testing.T) {
	text, err := os.ReadFile("README.md")
	must(t, err)
	m := regexp.MustCompile("(?s)```subjects\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(m) != 2 {
		t.Fatalf("the README has %d lists of subjects, want 2", len(m))
	}
	users := []*server.User{{Username: "all", Password: "x", Permissions: &server.Permissions{}}}
	user := func(name string, lists ...string) {
		var publish []string
		for _, l := range lists {
			publish = append(publish, strings.Fields(strings.ReplaceAll(l, "BUCKET", bucket))...)
		}
		users = append(users, &server.User{Username: name, Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + name + ".>"}},
		}})
	}
	reading, writing := m[0][1], m[1][1]
	user("reader", reading)
	user("writer", reading, writing)
	user("setter", "$JS.API.STREAM.INFO.OBJ_BUCKET", "$JS.API.STREAM.CREATE.OBJ_BUCKET")
	address := natstest.Start(t, func(o *server.Options) { o.Users = users }).ClientURL()
	login := func(name string) *nats.Conn {
		return dial(t, address, nats.UserInfo(name, "x"), nats.CustomInboxPrefix("_INBOX_"+name))
	}
	open(t, login("setter"), Config{})
	all, writer, reader := dial(t, address, nats.UserInfo("all", "x")), reopen(t, login("writer"), Config{Bucket: bucket}), reopen(t, login("reader"), Config{Bucket: bucket})
	storetest.RunSnapshots(t, func(t *testing.T) storetest.SnapshotSubject {
		must(t, stream(t, all, writer).Purge(within(t)))
		return subject(t, all, writer)
	})
	must(t, stream(t, all, writer).Purge(within(t)))
	_, err = writer.Put(within(t), describing("a", 1), body(3*maxPart))
	must(t, err)
	r, err := reader.Open(within(t), "flights", "a")
	must(t, err)
	n, err := io.Copy(io.Discard, r)
	if err != nil || n != 3*maxPart || list(t, reader) != "a" {
		t.Errorf("the reader reads %d bytes, %v", n, err)
	}
	_, err = reader.Put(within(t), describing("b", 1), body(1))
	wantCode(t, err, events.ErrUnauthorized)
	wantCode(t, reader.Delete(within(t), "flights", "a"), events.ErrUnauthorized)
}
