package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
)

// mark writes a mark with the client's own region.
func mark(t *testing.T, c *client.Regions) events.Position {
	t.Helper()
	log, err := c.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := marks.New(log, marks.Options{}).Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// misremembers lets a region have recorded another digest of a partition at its newest mark.
func (s *side) misremembers(t *testing.T, projection string, partition int) {
	t.Helper()
	ctx := context.Background()
	pointer, _, err := projections.ReadPointer(ctx, s.region.KV(), projection)
	if err != nil {
		t.Fatal(err)
	}
	o, err := redis.ParseURL(s.region.Address().Redis)
	if err != nil {
		t.Fatal(err)
	}
	r := redis.NewClient(o)
	defer r.Close()
	keys, err := r.Keys(ctx, fmt.Sprintf("tm:{%s.%d.*%02x}:marks", projection, pointer.Generation, partition)).Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("the marks of the partition are in %v, %v", keys, err)
	}
	newest, err := r.ZRange(ctx, keys[0], -1, -1).Result()
	if err != nil || len(newest) != 1 {
		t.Fatalf("the newest mark is %v, %v", newest, err)
	}
	m, ok := projections.ParseMark(newest[0])
	if !ok {
		t.Fatalf("%q is no mark", newest[0])
	}
	m.Documents++
	if err := r.ZRem(ctx, keys[0], newest[0]).Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.ZAdd(ctx, keys[0], redis.Z{Member: m.String()}).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestRegionsAreVerifiedWhileTheyAreWrittenTo: equal under writes, unknown while one does not answer, different where one recorded something else.
func TestRegionsAreVerifiedWhileTheyAreWrittenTo(t *testing.T) {
	m := newMesh(t)
	c, err := client.Dial(t.Context(), client.Config{
		Regions: []region.Config{m.address("us", true), m.address("eu", true), m.address("ap", false)}, Source: "urn:test", AttemptTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	eventually(t, "all regions know their projections", func() bool {
		all := c.Overviews(t.Context())
		return slices.Equal(client.Known(all), []string{"airports", "routes"}) && !slices.ContainsFunc(all, func(o client.Overseen) bool { return o.Err != nil || len(o.Overview.Projections) < 2 })
	})
	x := m.drive(t, c)
	now := func(projection string) reconcile.Verdict {
		return c.Verify(t.Context(), projection, query.Options{AtLeast: mark(t, c), Wait: time.Minute})
	}
	for i := range 5 {
		for _, projection := range []string{"airports", "routes"} {
			if v := now(projection); v.Result != reconcile.Equal || len(v.Regions) != 3 || !v.Healthy() {
				t.Fatalf("the verdict on %s is %+v", projection, v)
			} else if i == 4 && projection == "airports" && v.Regions[0].Here.Documents == 0 {
				t.Error("nothing was compared")
			}
		}
	}

	t.Log("a region that does not answer, or has not come so far, is unknown")
	m.at["ap"].stop()
	if v := c.Verify(t.Context(), "airports", query.Options{}); v.Result != reconcile.Unknown || v.Number == 0 || v.Regions[0].Unknown == nil || v.Regions[0].Unknown.Code != "unreachable" {
		t.Errorf("the verdict is %+v", v)
	}
	m.at["ap"].serve()
	eventually(t, "ap answers again", func() bool { return c.Verify(t.Context(), "airports", query.Options{}).Result == reconcile.Equal })
	x.end()
	last := mark(t, c)
	point, _ := last.Point("us")
	point.Sequence += 100
	if v := c.Verify(t.Context(), "airports", query.Options{AtLeast: events.At(point), Wait: -1}); v.Result != reconcile.Unknown || v.Regions[1].Unknown == nil ||
		v.Regions[1].Unknown.Code != "not-reached" || v.Regions[1].Position.IsZero() {
		t.Errorf("the verdict is %+v", v)
	}

	t.Log("a region that recorded something else is different, and its partition is named")
	if v := c.Verify(t.Context(), "airports", query.Options{AtLeast: last, Wait: time.Minute}); v.Result != reconcile.Equal {
		t.Fatalf("the verdict is %+v", v)
	}
	const partition = 3
	m.at["eu"].misremembers(t, "airports", partition)
	v := c.Verify(t.Context(), "airports", query.Options{})
	if v.Result != reconcile.Different || v.Sequence != last.Points()[0].Sequence || len(v.Partitions) != 1 || v.Partitions[0].Partition != partition || v.Whole != nil {
		t.Fatalf("the verdict is %+v", v)
	}
	if had := v.Partitions[0].Regions; len(had) != 3 || had[1].Region != "eu" || had[0].Sum != had[2].Sum || had[1].Documents != had[0].Documents+1 {
		t.Errorf("the partition was %+v", had)
	}
	if v := c.Verify(t.Context(), "routes", query.Options{}); v.Result != reconcile.Equal {
		t.Errorf("the verdict on routes is %+v", v)
	}
	if v := now("airports"); v.Result != reconcile.Equal { // it only misremembered
		t.Errorf("the verdict is %+v", v)
	}
	if v := c.Verify(t.Context(), "ships", query.Options{}); v.Result != reconcile.Unknown || v.Projection != "ships" || v.Regions[0].Unknown.Code != "unknown-projection" {
		t.Errorf("the verdict is %+v", v)
	}
}

// TestARegionWhoseServersDieIsUnknownAndTheOthersAreCompared: also when it is the one that is asked over.
func TestARegionWhoseServersDieIsUnknownAndTheOthersAreCompared(t *testing.T) {
	m := newMesh(t)
	c, err := client.Dial(t.Context(), client.Config{Regions: []region.Config{m.address("us", true), m.address("eu", true), m.address("ap", true)}, Source: "urn:test", AttemptTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	at := mark(t, c)
	eventually(t, "all three are equal", func() bool {
		return c.Verify(t.Context(), "airports", query.Options{AtLeast: at, Wait: time.Minute}).Result == reconcile.Equal
	})
	m.at["eu"].nats.Shutdown()
	v := c.Verify(t.Context(), "airports", query.Options{})
	if v.Result != reconcile.Unknown || v.Sequence != at.Points()[0].Sequence || len(v.Regions) != 3 || v.Regions[1].Region != "eu" || v.Regions[1].Unknown == nil || v.Regions[1].Unknown.Code != "unreachable" ||
		v.Regions[0].Here == nil || v.Regions[2].Here == nil {
		t.Errorf("the verdict is %+v", v)
	}
	m.at["ap"].misremembers(t, "airports", 0)
	if v := c.Verify(t.Context(), "airports", query.Options{}); v.Result != reconcile.Different || len(v.Partitions) != 1 || len(v.Partitions[0].Regions) != 2 {
		t.Errorf("the verdict is %+v", v)
	}
	m.at["eu"].startNATS() // it ends sooner
}

func TestARegionIsAskedForMarksAsItIsToldTo(t *testing.T) {
	s := newScript(t, "us", "eu")
	heard := func(a asked) *nats.Msg {
		if a.At != 7.0 || a.Projection != "airports" || a.Wait != "3s" || !strings.HasPrefix(a.AtLeast, "us.") {
			t.Errorf("asked %+v", a)
		}
		return fails(events.ErrNotFound, 0)(a)
	}
	s.tell("us", heard)
	s.tell("eu", heard)
	c, err := client.Dial(t.Context(), client.Config{Regions: []region.Config{{Name: "us", NATS: s.server.ClientURL()}, {Name: "eu"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, said := range c.Standings(t.Context(), "airports", query.MarksOptions{At: 7, Options: query.Options{AtLeast: position(4), Wait: 3 * time.Second}}) {
		if said.Region != c.Names()[i] || said.Unknown == nil || said.Unknown.Code != "not-found" || strings.HasPrefix(said.Unknown.Message, "not-found") {
			t.Errorf("it is %+v", said)
		}
	}
}
