//go:build cluster

package clustertest_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// TestTheProjectorKeepsItsPromisesOnClusters has what the projector's own tests show on ports in memory and what real servers can be brought to: who
// takes over, what a replay finds, which definitions and histories are refused, what cannot be applied. Faults at a single call need the ports in memory.
func TestTheProjectorKeepsItsPromisesOnClusters(t *testing.T) {
	servers, redis := clustertest.StartNATS(t), clustertest.StartRedis(t, 1)
	nc, client := servers.Dial(t), redis.Client()
	for i, test := range []struct {
		name string
		run  func(*testing.T, *region, *nats.Conn, redisClient)
	}{
		{"projectors that take turns apply everything once", takeTurns},
		{"a transaction of a thousand events over all partitions is applied whole", wholeTransactions},
		{"a replay of a healthy read model is equal while it is written to", replayHealthy},
		{"a replay of a damaged read model is not equal and mends it", replayDamaged},
		{"a replay goes on where its projector ended", replayTakenOver},
		{"a higher version is built and a lower one refused", versions},
		{"a definition that changed without a version is refused", changedDefinition},
		{"what cannot be applied is parked, and parked again by a replay", parking},
		{"a log of another history is refused and a replay mends it", foreignHistory},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, openRegion(t, nc, client, fmt.Sprintf("origin-%d", i), clustertest.Nodes, natslog.Options{}), nc, client)
		})
	}
}

type redisClient = redis.UniversalClient

// count appends n events about some keys, each key's numbers going on from where they were.
func (r *region) count(from, n int) {
	r.t.Helper()
	var b events.Batch
	for i := range n {
		b.Events = append(b.Events, about(own(i%7), from+i))
	}
	_, err := r.log.Append(r.t.Context(), b)
	must(r.t, err)
}

// says waits until the projector of a projection says so.
func (r *region) says(name string, state projections.ProjectorState, code events.Code) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("the projector of %s says %s %s", name, state, code), func() bool {
		now, _, err := projections.ReadStatus(r.t.Context(), r.kv, name)
		return err == nil && now.State == state && now.Code == string(code)
	})
}

func takeTurns(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	stop := r.project(projection(t), "holder-0")
	for turn := range 5 {
		r.count(100*turn, 60)
		next := r.project(projection(t), fmt.Sprintf("holder-%d", turn+1)) // waits for the lease
		r.count(100*turn+60, 40)
		stop()
		stop = next
		r.equal()
	}
}

func wholeTransactions(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	r.project(projection(t), "one")
	for i := range 3 {
		var b events.Batch
		for n := range events.MaxBatch {
			b.Events = append(b.Events, about(fmt.Sprint("key-", n%97), i*events.MaxBatch+n))
		}
		_, err := r.log.Append(t.Context(), b)
		must(t, err)
	}
	if h := r.equal(); h.head != 3*events.MaxBatch+1 {
		t.Errorf("the log ends at %d", h.head)
	}
}

func replayHealthy(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	r.project(projection(t), "one")
	r.count(0, 500)
	r.equal()
	asked, err := projections.RequestReplay(t.Context(), r.kv, tallies, "test", time.Now())
	must(t, err)
	for i := range 20 {
		r.count(500+50*i, 50)
	}
	if job := r.replayed(asked); !job.Compared || !job.Equal || job.Generation != 2 {
		t.Errorf("the replay is %+v", job)
	}
	r.equal()
}

func replayDamaged(t *testing.T, r *region, _ *nats.Conn, client redisClient) {
	stop := r.project(projection(t), "one")
	r.count(0, 200)
	r.equal()
	stop() // a projector that runs knows its digests by heart
	const partitions = 8
	base := fmt.Sprintf("tm-%s:{%s.1.%02d}:", r.origin, tallies, projections.PartitionOf(own(3), partitions))
	for key, field := range map[string]string{base + "doc:" + own(3): "count", base + "head": "digest"} {
		if had, err := client.HExists(t.Context(), key, field).Result(); err != nil || !had {
			t.Fatalf("%s has no %s: %v", key, field, err)
		}
	}
	must(t, client.HSet(t.Context(), base+"doc:"+own(3), "count", "1000").Err())
	must(t, client.HSet(t.Context(), base+"head", "digest", projections.Digest{}.String()).Err())
	r.project(projection(t), "two")
	if job := r.replay(tallies); !job.Compared || job.Equal {
		t.Errorf("the replay of a damaged read model is %+v", job)
	}
	r.equal()
}

func replayTakenOver(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	stop := r.project(projection(t), "one")
	for i := range 20 {
		r.count(1_000*i, events.MaxBatch)
	}
	r.equal()
	asked, err := projections.RequestReplay(t.Context(), r.kv, tallies, "test", time.Now())
	must(t, err)
	eventually(t, "the replay has begun", func() bool {
		job, _, err := projections.ReadJSON[projections.Replay](t.Context(), r.kv, projections.ReplayKey(tallies))
		return err == nil && job.ID == asked.ID && job.State != projections.ReplayRequested
	})
	stop()
	r.project(projection(t), "two")
	if job := r.replayed(asked); !job.Equal {
		t.Errorf("the replay is %+v", job)
	}
	r.equal()
}

// widened returns the projection of these tests with another definition.
func widened(t testing.TB, version int) projections.Projection {
	t.Helper()
	type wide struct {
		Count int64 `json:"count"`
		More  int64 `json:"more"`
	}
	p, err := projections.New(tallies, version, projections.On(tallyType, counted, func(d wide, _ projections.Event[struct{ N int64 }]) (wide, error) {
		d.Count, d.More = d.Count+1, d.More+2
		return d, nil
	}))
	must(t, err)
	return p
}

func versions(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	stop := r.project(projection(t), "one")
	r.count(0, 70)
	r.equal()
	stop()
	stop = r.project(widened(t, 2), "two")
	eventually(t, "the higher version answers", func() bool {
		a, err := r.reader.Get(t.Context(), tallies, own(1), query.Options{})
		more, has := a.Document.Field("more")
		return err == nil && has && more == "20" && a.Generation == 2
	})
	stop()
	stop = r.project(projection(t), "three")
	r.says(tallies, projections.ProjectorRefused, projections.ErrVersionLowered)
	if a, err := r.reader.Get(t.Context(), tallies, own(1), query.Options{}); err != nil || a.Generation != 2 {
		t.Errorf("while a lower version is refused, a query is answered %+v, %v", a, err)
	}
	stop()
}

func changedDefinition(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	stop := r.project(projection(t), "one")
	r.count(0, 70)
	h := r.equal()
	stop()
	r.project(widened(t, 1), "two")
	r.says(tallies, projections.ProjectorRefused, projections.ErrDefinitionChanged)
	a, err := r.reader.Get(t.Context(), tallies, own(1), query.Options{})
	must(t, err)
	doc, err := projections.Decode[tally](a.Document.Fields, a.Document.Values)
	if want, _ := h.at(own(1), h.head); err != nil || doc != want {
		t.Errorf("the document is %+v, %v, expected %+v", doc, err, want)
	}
}

func parking(t *testing.T, r *region, _ *nats.Conn, _ redisClient) {
	p, err := projections.New("fussy", 1, projections.On(tallyType, counted, func(d tally, e projections.Event[struct{ N int64 }]) (tally, error) {
		switch e.Data.N {
		case 3:
			return d, errors.New("three is not liked")
		case 4:
			panic("four is not liked")
		}
		d.Count++
		return d, nil
	}))
	must(t, err)
	r.project(p, "one")
	for n := range 5 {
		for _, add := range []int{1, 1, n} { // the third event of some keys cannot be applied
			_, err := r.log.Append(t.Context(), events.One(about(fmt.Sprint("key-", n), add), events.ExpectAny()))
			must(t, err)
		}
		_, err := r.log.Append(t.Context(), events.One(about(fmt.Sprint("key-", n), 1), events.ExpectAny()))
		must(t, err)
	}
	info, err := r.log.Info(t.Context())
	must(t, err)
	read := func() (out [5]query.Answer) {
		t.Helper()
		for n := range out {
			eventually(t, "it is projected", func() bool {
				var err error
				out[n], err = r.reader.Get(t.Context(), "fussy", fmt.Sprint("key-", n), query.Options{AtLeast: info.Head()})
				return err == nil
			})
		}
		return out
	}
	before := read()
	for n, a := range before {
		count, _ := a.Document.Field("count")
		if stops := n == 3 || n == 4; stops != (a.Parked != "") || stops && count != "2" || !stops && count != "4" {
			t.Errorf("key-%d has the count %s and is parked: %q", n, count, a.Parked)
		}
	}
	if job := r.replay("fussy"); !job.Compared || !job.Equal {
		t.Errorf("the replay is %+v", job)
	}
	for n, a := range read() {
		if a.Parked != before[n].Parked {
			t.Errorf("key-%d was parked as %q and is now as %q", n, before[n].Parked, a.Parked)
		}
	}
}

func foreignHistory(t *testing.T, r *region, nc *nats.Conn, _ redisClient) {
	stop := r.project(projection(t), "one")
	r.count(0, 70)
	r.equal()
	stop()
	js, err := jetstream.New(nc)
	must(t, err)
	must(t, js.DeleteStream(t.Context(), natslog.StreamName(r.origin)))
	r.log.Close()
	cfg := natslog.Config{Origin: r.origin, Replicas: clustertest.Nodes}
	must(t, natslog.Setup(t.Context(), nc, cfg))
	r.log, err = natslog.Open(t.Context(), nc, cfg, natslog.Options{})
	must(t, err)
	t.Cleanup(r.log.Close)
	r.reader = query.New(r.origin, r.store, r.kv, query.NewHeads(r.log))
	r.count(0, 7)
	r.project(projection(t), "two")
	r.says(tallies, projections.ProjectorRefused, events.ErrForeignHistory)
	if _, err := r.reader.Get(t.Context(), tallies, own(1), query.Options{}); !errors.Is(err, events.ErrForeignHistory) {
		t.Errorf("a query of a read model of another history: %v", err)
	}
	r.replay(tallies)
	if h := r.equal(); h.head != 8 {
		t.Errorf("the log ends at %d", h.head)
	}
}
