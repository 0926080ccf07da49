package redisstore_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// between calls f once, after the keys of a page were read and before its documents are.
type between struct {
	redis.Hook
	once sync.Once
	f    func()
}

func (b *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == "zrangebylex" }) {
			b.once.Do(b.f)
		}
		return err
	}
}

// TestAPageOfAPartitionThatIsLostMeanwhileLeavesNothingOut: what an accident removed between two steps is not what was removed by the log.
func TestAPageOfAPartitionThatIsLostMeanwhileLeavesNothingOut(t *testing.T) {
	for name, c := range map[string]struct {
		accident func(ctx context.Context, c *redis.Client)
		state    projections.PartitionState
		found    int
	}{
		"emptied": {func(ctx context.Context, c *redis.Client) { must(t, c.FlushAll(ctx).Err()) }, projections.Absent, 0},
		"emptied and made anew, not built yet": {func(ctx context.Context, c *redis.Client) {
			must(t, c.FlushAll(ctx).Err())
			h := header(0, 0)
			h.State, h.Target = projections.Building, position(2)
			must(t, open(t, c).Create(ctx, generation(1), h))
		}, projections.Building, 0},
		"written to": {func(ctx context.Context, c *redis.Client) {
			must(t, open(t, c).Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 2, 3, document("a", 2, 3))})[0])
		}, projections.Live, 2},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			ctx := t.Context()
			reading := client(t, server, func(*redis.Options) {})
			reading.AddHook(&between{f: func() { c.accident(ctx, server.Client()) }})
			s := open(t, reading)
			must(t, s.Create(ctx, generation(1), header(0, 1)))
			must(t, s.Apply(ctx, generation(1), definition(), []projections.Commit{commit(0, 1, 2, document("a", 1, 2), document("b", 1, 2))})[0])
			h, docs, err := s.Page(ctx, generation(1), definition(), 0, "", 10)
			if err != nil || h.State != c.state || len(docs) != c.found {
				t.Errorf("the page is %+v with %d documents, %v", h, len(docs), err)
			}
		})
	}
}
