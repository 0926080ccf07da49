package redisstore_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// recorder notes every command and every pipeline that a client sends.
type recorder struct {
	mu        sync.Mutex
	commands  map[string]int
	arguments int // of the largest command
	pipeline  int // commands of the largest pipeline
}

func record(client *redis.Client) *recorder {
	r := &recorder{commands: make(map[string]int)}
	client.AddHook(r)
	return r
}

func (r *recorder) note(cmds ...redis.Cmder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pipeline = max(r.pipeline, len(cmds))
	for _, c := range cmds {
		r.commands[c.Name()]++
		r.arguments = max(r.arguments, len(c.Args()))
	}
}

func (r *recorder) count(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commands[name]
}

// DialHook changes nothing.
func (r *recorder) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook notes a command.
func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.note(cmd)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook notes a pipeline.
func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.note(cmds...)
		return next(ctx, cmds)
	}
}

func fill(t testing.TB, s projections.Store, g projections.Generation, partition, documents int) {
	t.Helper()
	var docs []projections.Document
	for i := range documents {
		docs = append(docs, document(fmt.Sprint("k", i), i, 2))
	}
	must(t, s.Apply(t.Context(), g, definition(), []projections.Commit{commit(partition, 1, 2, docs...)})[0])
}

func TestDropWorksInBoundedSteps(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		s, g := open(t, client), generation(2)
		for i := range g.Partitions {
			must(t, s.Create(t.Context(), g, header(i, 1)))
			fill(t, s, g, i, 5_500)
		}
		must(t, client.Del(t.Context(), "tm:{flights.1.01}:keys").Err()) // these are found by the walk
		r := record(client)
		must(t, s.Drop(t.Context(), g))
		if left := dump(t, client); len(left) != 0 {
			t.Fatalf("%d keys are left", len(left))
		}
		const step = 1_000
		if r.arguments > 3+2+2*step || r.pipeline > 1 {
			t.Errorf("the largest command has %d arguments, the largest pipeline %d commands", r.arguments, r.pipeline)
		}
	})
}

func TestAWalkForLeftoversServesAllPartitionsOfAGeneration(t *testing.T) {
	server := redistest.Start(t)
	ctx, s, g := t.Context(), open(t, server.Client()), generation(4)
	for i := range g.Partitions {
		must(t, server.Client().HSet(ctx, docKey(g, projections.Ref{Partition: i, Key: "left over"}), "n", "1").Err())
	}
	r := record(server.Client())
	for i := range g.Partitions {
		must(t, s.Create(ctx, g, header(i, 1)))
	}
	if n := r.count("scan"); n != 1 {
		t.Errorf("%d walks were made for a generation, want 1", n)
	}
	for i := range g.Partitions {
		if d, err := s.Load(ctx, g, definition(), []projections.Ref{{Partition: i, Key: "left over"}}); err != nil || d[0] != nil {
			t.Errorf("the partition %d has the left-over %v, %v", i, d, err)
		}
	}
	// A partition that was lost and is created again was not walked for.
	must(t, server.Client().Del(ctx, "tm:{flights.1.02}:head").Err())
	must(t, server.Client().HSet(ctx, docKey(g, projections.Ref{Partition: 2, Key: "left over"}), "n", "1").Err())
	must(t, s.Create(ctx, g, header(2, 1)))
	if n := r.count("scan"); n != 2 {
		t.Errorf("%d walks were made, want 2", n)
	}
	if d, err := s.Load(ctx, g, definition(), []projections.Ref{{Partition: 2, Key: "left over"}}); err != nil || d[0] != nil {
		t.Errorf("the new partition has the left-over %v, %v", d, err)
	}
}

func TestCreateLeavesPartitionsWithAHeaderAndOtherKeysAlone(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s, g := t.Context(), open(t, client), generation(3)
		must(t, s.Create(ctx, g, header(0, 1)))
		fill(t, s, g, 0, 10)
		for _, k := range []string{
			"tm:{flights.1.01}:other", "tm:{flights.1.x}:doc:a", "tm:{flights.1.999}:doc:a", "tm:{flights.10.01}:doc:a", "tm:{flights.2.01}:doc:a",
			"xtm:{flights.1.01}:doc:a", "tm:flights.1.01:doc:a",
		} {
			must(t, client.HSet(ctx, k, "n", "1").Err())
		}
		before := dump(t, client)
		must(t, client.HSet(ctx, "tm:{flights.1.01}:doc:a", "n", "1").Err())
		must(t, open(t, client).Create(ctx, g, header(1, 1))) // another process, which has not walked yet
		after := dump(t, client)
		delete(after, "tm:{flights.1.01}:head")
		delete(after, "tm:{flights.1.01}:changes")
		sameDump(t, after, before)
	})
}

func TestDropRemovesWhateverItsKeysHold(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s, g := t.Context(), open(t, client), generation(2)
		must(t, s.Create(ctx, g, header(0, 1)))
		fill(t, s, g, 0, 10)
		for _, k := range []string{
			"tm:{flights.1.00}:keys", "tm:{flights.1.00}:doc:k1", "tm:{flights.1.01}:head", "tm:{flights.1.07}:head", "tm:{flights.1.07}:doc:a",
			"tm:{flights.1.08}:keys", "tm:{flights.1.00}:changes", "tm:{flights.1.01}:changes", "tm:{flights.1.00}:idx:by_delay", "tm:{flights.1.01}:idx:_parked",
			"tm:{flights.1.09}:idx:by_delay", "tm:{flights.1.09}:changes",
		} {
			must(t, client.Set(ctx, k, "no hash", 0).Err())
		}
		must(t, s.Drop(ctx, g))
		if left := dump(t, client); len(left) != 0 {
			t.Fatalf("left are %v", left)
		}
	})
}

// What no list of keys names is found by the walk: an index of whatever name, of a partition that has nothing else.
func TestCreateRemovesIndexesAndTheChangeLogOfAnEarlierPartition(t *testing.T) {
	each(t, func(t *testing.T, client *redis.Client) {
		ctx, s, g := t.Context(), open(t, client), generation(2)
		must(t, s.Create(ctx, g, header(0, 1)))
		must(t, client.ZAdd(ctx, "tm:{flights.1.00}:idx:by_delay", redis.Z{Member: "p0000000000000000001a"}).Err())
		before := dump(t, client)
		for _, k := range []string{"tm:{flights.1.01}:idx:by_delay", "tm:{flights.1.01}:idx:of_a_version_before", "tm:{flights.1.01}:idx:_parked"} {
			must(t, client.ZAdd(ctx, k, redis.Z{Member: "p0000000000000000001a"}).Err())
		}
		must(t, client.RPush(ctx, "tm:{flights.1.01}:changes", "1", "2 1:a,").Err())
		must(t, client.Set(ctx, "tm:{flights.1.01}:idx:spoilt", "no sorted set", 0).Err())
		h := header(1, 1)
		h.State = projections.Building
		must(t, open(t, client).Create(ctx, g, h)) // another process, which has not walked yet
		after := dump(t, client)
		delete(after, "tm:{flights.1.01}:head")
		sameDump(t, after, before)
	})
}

func TestReadsThatWaitTogetherShareTransactions(t *testing.T) {
	server := redistest.Start(t)
	ctx, s, g := t.Context(), open(t, server.Client()), generation(1)
	must(t, s.Create(ctx, g, header(0, 1)))
	fill(t, s, g, 0, 100)
	r := record(server.Client())
	must(t, server.Client().Do(ctx, "client", "pause", "200").Err())
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			_, d, err := s.Get(ctx, g, definition(), projections.Ref{Key: fmt.Sprint("k", i)})
			if err != nil || d == nil || d.Key != fmt.Sprint("k", i) || !strings.HasPrefix(d.Values[0], fmt.Sprint("Flight ", i)) {
				t.Errorf("the read of k%d returned %v, %v", i, d, err)
			}
		})
	}
	wg.Wait()
	if r.pipeline < 20 {
		t.Errorf("100 reads at once shared transactions of %d commands at most", r.pipeline)
	}
}
