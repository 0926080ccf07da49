package region_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
)

// natsServer starts a server, with users if there are any.
func natsServer(t *testing.T, users ...*server.User) string {
	t.Helper()
	return natstest.Start(t, func(o *server.Options) { o.Users, o.MaxPayload = users, 2<<20 }).ClientURL()
}

// TestWhoReadsHasTheRegionsSnapshots: a writer sets the bucket up, and a projector and a client find each other's snapshots.
func TestWhoReadsHasTheRegionsSnapshots(t *testing.T) {
	t.Parallel()
	address, mini := natsServer(t), redistest.Mini(t).Options()
	role := func(r region.Role) *region.Region {
		return open(t, region.Config{Name: "us", Role: r, NATS: address, RedisOptions: &redis.UniversalOptions{Addrs: []string{mini.Addr}, Username: mini.Username, Password: mini.Password}})
	}
	writer, projector, client, publisher := role(region.Writer), role(region.Projector), role(region.Client), role(region.Publisher)
	if writer.Snapshots() != nil || publisher.Snapshots() != nil {
		t.Error("a writer or a publisher has snapshots")
	}
	put(t, projector, "a")
	wantSnapshot(t, client, "a")
	put(t, client, "b")
	wantSnapshot(t, projector, "b")
}

func TestTheWholeRegionKeepsItsSnapshotsOverRestarts(t *testing.T) {
	t.Parallel()
	c := region.Config{Name: "us", DataDir: natstest.StoreDir(t), Redis: "mini", LazySync: true}
	first, err := region.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	put(t, first, "a")
	if err := first.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantSnapshot(t, open(t, c), "a")
}

func put(t *testing.T, r *region.Region, id string) {
	t.Helper()
	if _, err := r.Snapshots().Put(t.Context(), projections.Snapshot{Projection: "flights", ID: id}, strings.NewReader("content of "+id)); err != nil {
		t.Fatal(err)
	}
}

func wantSnapshot(t *testing.T, r *region.Region, id string) {
	t.Helper()
	content, err := r.Snapshots().Open(t.Context(), "flights", id)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if text, err := io.ReadAll(content); err != nil || string(text) != "content of "+id {
		t.Errorf("%s is %q, %v", id, text, err)
	}
}

// TestARegionWithoutTheRightToSnapshotsWorks: one that was set up before there were any, with the rights of then.
func TestARegionWithoutTheRightToSnapshotsWorks(t *testing.T) {
	t.Parallel()
	old := &server.User{Username: "old", Password: "x", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Deny: []string{"$O.>", "$JS.API.STREAM.*.OBJ_tidemark-snapshots-us", "$JS.API.STREAM.MSG.GET.OBJ_tidemark-snapshots-us", "$JS.API.DIRECT.GET.OBJ_tidemark-snapshots-us"}},
	}}
	address := natsServer(t, old)
	c := region.Config{Name: "us", Role: region.Writer, NATS: address, User: "old", Password: "x"}
	writer := open(t, c)
	if notes := strings.Join(writer.Notes(), ""); !strings.Contains(notes, "natsobjects/README.md") {
		t.Errorf("the notes are %q", notes)
	}
	if _, err := writer.Log().Append(t.Context(), events.One(event("a", "1"), events.ExpectAny())); err != nil {
		t.Error(err)
	}
	c.Role, c.Redis = region.Projector, "mini"
	projector := open(t, c)
	if _, err := projector.Snapshots().List(t.Context(), "flights"); !errors.Is(err, events.ErrUnauthorized) {
		t.Errorf("list: %v", err)
	}
}
