package redisstore_test

import (
	"errors"
	"fmt"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

func memory(t testing.TB, s *redisstore.Store) projections.Memory {
	t.Helper()
	m, err := s.Memory(t.Context())
	must(t, err)
	return m
}

func TestAServerTellsItsMemoryAndItsBound(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client())
	if m := memory(t, s); m.Used == 0 || m.Max != 0 || m.Share() != 0 {
		t.Errorf("without a bound: %+v, %v", m, m.Share())
	}
	bound := 2 * memory(t, s).Used
	must(t, server.Client().ConfigSet(t.Context(), "maxmemory", fmt.Sprint(bound)).Err())
	if m := memory(t, s); m.Used == 0 || m.Max != bound || m.Share() < 0.25 || m.Share() > 0.75 {
		t.Errorf("with the bound %d: %+v, %v", bound, m, m.Share())
	}
}

func TestMiniredisDoesNotKnowItsMemory(t *testing.T) {
	if m := memory(t, open(t, redistest.Mini(t))); m != (projections.Memory{}) {
		t.Errorf("it says %+v", m)
	}
}

func TestOfAClusterTheMasterClosestToItsBoundCounts(t *testing.T) {
	cluster := clustertest.StartRedis(t, 0)
	s := open(t, cluster.Client())
	if m := memory(t, s); m.Used == 0 || m.Max != 0 {
		t.Errorf("without a bound: %+v", m)
	}
	for node, bound := range []string{"4gb", "64mb", "0"} {
		must(t, cluster.Node(node).ConfigSet(t.Context(), "maxmemory", bound).Err())
	}
	if m := memory(t, s); m.Max != 64<<20 || m.Share() == 0 {
		t.Errorf("with bounds of 4 GiB, 64 MiB and none: %+v", m)
	}
}

// A server that fills up by and by refuses one commit, whole; what was written before is there, and what is removed makes room again.
func TestAServerThatFillsUpRefusesWholeCommits(t *testing.T) {
	server := redistest.Start(t)
	ctx, g := t.Context(), generation(1)
	s := open(t, server.Client())
	must(t, s.Create(ctx, g, header(0, 1)))
	must(t, server.Client().ConfigSet(ctx, "maxmemory", fmt.Sprint(memory(t, s).Used+2<<20)).Err())
	const commits, documents = 1_000, 100
	at := uint64(1)
	var err error
	for err == nil && at < commits {
		docs := make([]projections.Document, documents)
		for i := range docs {
			docs[i] = document(fmt.Sprintf("%d-%d", at, i), i, at+1)
		}
		if err = s.Apply(ctx, g, definition(), []projections.Commit{commit(0, at, at+1, docs...)})[0]; err == nil {
			at++
		}
	}
	wantCode(t, err, projections.ErrStoreFull)
	if errors.Is(err, projections.ErrStoreUnreachable) || errors.Is(err, events.ErrUnreachable) {
		t.Errorf("it is unreachable too: %v", err)
	}
	headers, err := s.Headers(ctx, g)
	must(t, err)
	listed := server.Client().ZCard(ctx, "tm:{flights.1.00}:keys").Val()
	if !headers[0].Checkpoint.Equal(position(at)) || listed != int64(at-1)*documents { //nolint:gosec // small
		t.Errorf("after %d commits the checkpoint is %s, with %d documents", at-1, headers[0].Checkpoint, listed)
	}
	if share := memory(t, s).Share(); share < 0.9 {
		t.Errorf("it is full, and says that it uses %v of its bound", share)
	}
	must(t, s.Drop(ctx, g))
	must(t, s.Create(ctx, g, header(0, 1)))
	must(t, s.Apply(ctx, g, definition(), []projections.Commit{commit(0, 1, 2, document("a", 1, 2))})[0])
}
