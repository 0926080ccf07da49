package natskv

import (
	"context"
	"errors"
	"fmt"
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
	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

func TestABucketIsMadeOnceAndOpenedByAll(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	ctx := t.Context()
	if _, _, err := Open(ctx, nc, Config{Bucket: region}); !errors.Is(err, events.ErrNoLog) {
		t.Fatalf("a missing bucket was opened: %v", err)
	}
	one, _ := open(t, nc, Config{})
	_, err := one.Put(ctx, "a", []byte("1"), 0)
	must(t, err)
	for _, create := range []bool{true, false} {
		kv, _, err := Open(ctx, nc, Config{Bucket: region, Create: create})
		must(t, err)
		if e, err := kv.Get(ctx, "a"); err != nil || string(e.Value) != "1" {
			t.Fatalf("the bucket that was opened holds %q, %v", e.Value, err)
		}
	}
	c := stream(t, nc).CachedInfo().Config
	if c.Storage != jetstream.FileStorage || c.MaxMsgsPerSubject != 1 || !c.AllowMsgTTL || c.SubjectDeleteMarkerTTL != markerTTL ||
		c.MaxAge != 0 || c.MaxBytes > 0 || c.MaxMsgs > 0 {
		t.Errorf("the bucket's stream is %+v", c)
	}
}

// TestABucketStaysReadableWhateverIsSetForDirectGets: the client decides how to read by the settings that it saw when the bucket was opened. Whoever opened it
// before they changed must not be left without an answer for ever.
func TestABucketStaysReadableWhateverIsSetForDirectGets(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	ctx := t.Context()
	open(t, nc, Config{}) // sets it up
	var revision uint64
	for i, opened := range []bool{true, false} {
		allowDirect(t, nc, opened)
		kv, leases, err := Open(ctx, nc, Config{Bucket: region})
		must(t, err)
		allowDirect(t, nc, !opened)
		revision, err = kv.Put(ctx, "a", []byte{byte(i)}, revision)
		must(t, err)
		if e, err := kv.Get(ctx, "a"); err != nil || e.Revision != revision {
			t.Errorf("opened with direct gets %t, read with %t: %+v, %v", opened, !opened, e, err)
		}
		for e, err := range kv.Watch(ctx, "a") {
			if err != nil || e.Revision != revision {
				t.Errorf("opened with direct gets %t, watched with %t: %+v, %v", opened, !opened, e, err)
			}
			break
		}
		for range 2 { // the second time there is the marker of the first
			must(t, acquire(t, leases, "n", "a").Release(ctx))
		}
	}
}

func allowDirect(t *testing.T, nc *nats.Conn, allow bool) {
	t.Helper()
	config := stream(t, nc).CachedInfo().Config
	config.AllowDirect = allow
	_, err := jetStream(t, nc).UpdateStream(t.Context(), config)
	must(t, err)
}

// stream returns the bucket's stream as it is now.
func stream(t *testing.T, nc *nats.Conn) jetstream.Stream {
	t.Helper()
	s, err := jetStream(t, nc).Stream(t.Context(), streamName(region))
	must(t, err)
	return s
}

func TestABucketWithoutTimesToLiveIsUnsafe(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	_, err := jetStream(t, nc).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: region})
	must(t, err)
	if _, _, err := Open(t.Context(), nc, Config{Bucket: region, Create: true}); !errors.Is(err, events.ErrUnsafeLog) {
		t.Fatalf("it was opened: %v", err)
	}
}

func TestWhatIsDeletedOrRunsOutLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	nc := dial(t, natstest.Start(t).ClientURL())
	ctx := t.Context()
	_, err := jetStream(t, nc).CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: region, History: 1, LimitMarkerTTL: time.Second})
	must(t, err)
	kv, leases := open(t, nc, Config{LeaseTTL: shortTTL})
	rev, err := kv.Put(ctx, "a", []byte("1"), 0)
	must(t, err)
	must(t, kv.Delete(ctx, "a", rev))
	must(t, acquire(t, leases, "released", "a").Release(ctx))
	_, _, err = leases.take(ctx, leasePrefix+"killed", claim{Holder: "killed"})
	must(t, err)
	eventually(t, "the bucket is empty", func() bool {
		return stream(t, nc).CachedInfo().State.Msgs == 0
	})
	again, err := kv.Put(ctx, "a", []byte("2"), 0)
	must(t, err)
	if again <= rev {
		t.Fatalf("the revision %d follows %d", again, rev)
	}
}

func TestLeasesAreNotAmongTheKeys(t *testing.T) {
	kv, leases := open(t, dial(t, natstest.Start(t).ClientURL()), Config{})
	acquire(t, leases, "n", "a")
	_, err := kv.Put(t.Context(), "leased", nil, 0)
	must(t, err)
	for _, prefix := range []string{"", "lease"} {
		if keys, err := kv.Keys(t.Context(), prefix); err != nil || len(keys) != 1 || keys[0] != "leased" {
			t.Errorf("the keys with the prefix %q are %q, %v", prefix, keys, err)
		}
	}
	if _, err := leases.Acquire(t.Context(), "a b", "a"); !errors.Is(err, projections.ErrInvalidKey) {
		t.Errorf("a lease with a bad name: %v", err)
	}
}

func TestAServerThatDoesNotAnswerIsUnreachable(t *testing.T) {
	s := natstest.Start(t)
	kv, leases := open(t, dial(t, s.ClientURL()), Config{})
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, get := kv.Get(ctx, "a")
	_, put := kv.Put(ctx, "a", nil, 0)
	_, keys := kv.Keys(ctx, "")
	for name, err := range map[string]error{"get": get, "put": put, "keys": keys, "delete": kv.Delete(ctx, "a", 1)} {
		if !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("%s returned %v", name, err)
		}
	}
	if _, err := leases.Acquire(ctx, "n", "a"); err == nil {
		t.Error("a lease was acquired")
	}
}

func TestAMissingRightIsToldApart(t *testing.T) {
	t.Parallel()
	all := &server.Permissions{}
	none := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$KV.>", "$JS.API.STREAM.MSG.GET.>"}}}
	address := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "all", Password: "x", Permissions: all}, {Username: "none", Password: "x", Permissions: none}}
	}).ClientURL()
	open(t, dial(t, address, nats.UserInfo("all", "x")), Config{})
	kv, leases, err := Open(t.Context(), dial(t, address, nats.UserInfo("none", "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})),
		Config{Bucket: region})
	must(t, err)
	short := func() context.Context { // the server answers nothing at all
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	_, get := kv.Get(short(), "a")
	_, put := kv.Put(short(), "a", nil, 0)
	_, _, take := leases.take(short(), "lease.n", claim{})
	for name, err := range map[string]error{"get": get, "put": put, "lease": take} {
		if !errors.Is(err, events.ErrUnauthorized) {
			t.Errorf("%s returned %v", name, err)
		}
	}
}

// The user of README.md can do everything, and nothing else.
func TestTheReadmesUserSuffices(t *testing.T) {
	text, err := os.ReadFile("README.md")
	must(t, err)
	m := regexp.MustCompile("(?s)```subjects\n(.*?)```").FindStringSubmatch(string(text))
	if m == nil {
		t.Fatal("the README has no subjects")
	}
	publish := strings.Fields(strings.ReplaceAll(m[1], "BUCKET", region))
	address := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "x", Permissions: &server.Permissions{}},
			{Username: "some", Password: "x", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_some.>"}},
			}},
		}
	}).ClientURL()
	open(t, dial(t, address, nats.UserInfo("all", "x")), Config{})
	violations := make(chan error, 100)
	nc := dial(t, address, nats.UserInfo("some", "x"), nats.CustomInboxPrefix("_INBOX_some"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	n := 0
	storetest.RunKV(t, func(t *testing.T) projections.KV {
		kv, leases, err := Open(t.Context(), nc, Config{Bucket: region, LeaseTTL: patience}) // no renewal but the one below
		must(t, err)
		n++
		held := acquire(t, leases, fmt.Sprint("n", n), "a")
		must(t, held.renewOnce(time.Now().Add(patience)))
		must(t, held.Release(t.Context()))
		keys, err := kv.Keys(t.Context(), "")
		must(t, err)
		for _, key := range keys {
			e, err := kv.Get(t.Context(), key)
			must(t, err)
			must(t, kv.Delete(t.Context(), key, e.Revision))
		}
		return kv
	})
	select {
	case err := <-violations:
		t.Errorf("a right is missing: %v", err)
	default:
	}
}
