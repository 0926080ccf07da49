package redisstore_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// between calls f once, after a command was executed: with zrangebylex, after the keys of a page were read and before its documents are.
type between struct {
	redis.Hook
	once  sync.Once
	after string
	f     func()
}

func (b *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == b.after {
			b.once.Do(b.f)
		}
		return err
	}
}

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Name() == b.after }) {
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
			reading.AddHook(&between{after: "zrangebylex", f: func() { c.accident(ctx, server.Client()) }})
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

// inOrder is a definition with an index, and ordered a document and the write that makes it.
func inOrder() *projections.Definition {
	def := definition()
	def.Indexes = []projections.Index{{Name: "by_delay", Fields: []string{"delay"}}}
	return def
}

func ordered(key string, delay int, seq uint64) projections.Write {
	d := document(key, delay, seq)
	value, _ := inOrder().IndexValue("by_delay", &d)
	return projections.Write{Document: d, Index: []projections.IndexEntry{{Value: value}}}
}

func TestWhatHappensBetweenAnIndexAndItsDocumentsIsToldAsItIs(t *testing.T) {
	moved := ordered("a", 9, 3)
	moved.Unindex = ordered("a", 1, 2).Index
	gone := projections.Write{Document: projections.Document{Key: "a"}, Remove: true, Unindex: ordered("a", 1, 2).Index}
	for name, c := range map[string]struct {
		accident func(ctx context.Context, c *redis.Client)
		state    projections.PartitionState
		found    string
	}{
		"emptied": {func(ctx context.Context, c *redis.Client) { must(t, c.FlushAll(ctx).Err()) }, projections.Absent, ""},
		"moved": {func(ctx context.Context, c *redis.Client) { // it is newer than its entry, which the query leaves out
			must(t, open(t, c).Apply(ctx, generation(1), inOrder(), []projections.Commit{{Expect: position(2), Next: header(0, 3), Writes: []projections.Write{moved}}})[0])
		}, projections.Live, "a=9 b=2"},
		"removed": {func(ctx context.Context, c *redis.Client) { // the next one takes its place
			must(t, open(t, c).Apply(ctx, generation(1), inOrder(), []projections.Commit{{Expect: position(2), Next: header(0, 3), Writes: []projections.Write{gone}}})[0])
		}, projections.Live, "b=2 c=3"},
		"removed by hand": {func(ctx context.Context, c *redis.Client) {
			must(t, c.Del(ctx, docKey(generation(1), projections.Ref{Key: "a"})).Err())
		}, projections.Live, "a=damaged b=2"},
	} {
		for _, reverse := range []bool{false, true} {
			server := redistest.Start(t)
			ctx := t.Context()
			reading := client(t, server, func(*redis.Options) {})
			command, limit := "zrangebylex", 2
			if reverse {
				command, limit = "zrevrangebylex", 3
			}
			reading.AddHook(&between{after: command, f: func() { c.accident(ctx, server.Client()) }})
			s := open(t, reading)
			must(t, s.Create(ctx, generation(1), header(0, 1)))
			writes := []projections.Write{ordered("a", 1, 2), ordered("b", 2, 2), ordered("c", 3, 2)}
			must(t, s.Apply(ctx, generation(1), inOrder(), []projections.Commit{{Expect: position(1), Next: header(0, 2), Writes: writes}})[0])
			h, found, err := s.Find(ctx, generation(1), inOrder(), 0, projections.IndexQuery{Index: "by_delay", Limit: limit, Reverse: reverse})
			must(t, err)
			var got []string
			for _, f := range found {
				delay := "damaged"
				if f.Values != nil {
					delay = f.Values[3]
				}
				got = append(got, f.Key+"="+delay)
			}
			slices.Sort(got)
			want := c.found
			if reverse && want != "" && !strings.HasSuffix(want, "c=3") {
				want += " c=3"
			}
			if h.State != c.state || strings.Join(got, " ") != want {
				t.Errorf("%s, in reverse %t: found %v in a partition that is %q, want %s", name, reverse, got, h.State, want)
			}
		}
	}
}

// A log that is cut off between the search for a place and the reading from there is searched again.
func TestAChangeLogThatIsCutOffMeanwhileIsReadAgain(t *testing.T) {
	for _, stay := range []int{0, 1, 10, 250, 299} {
		server := redistest.Start(t)
		ctx := t.Context()
		reading := client(t, server, func(*redis.Options) {})
		reading.AddHook(&between{after: "llen", f: func() { tamper{server.Client()}.TrimChanges(t, generation(1), 0, stay) }})
		s := open(t, reading)
		must(t, s.Create(ctx, generation(1), header(0, 1)))
		var list []projections.Commit
		for seq := uint64(2); seq <= 300; seq++ {
			list = append(list, commit(0, seq-1, seq, document("a", 1, seq)))
		}
		for _, err := range s.Apply(ctx, generation(1), definition(), list) {
			must(t, err)
		}
		const after = 20
		h, got, floor, err := s.Changes(ctx, generation(1), 0, after, 1_000)
		must(t, err)
		oldest := uint64(301 - stay) //nolint:gosec // small
		switch {
		case stay == 0 && (floor != 300 || len(got) != 0), stay > 0 && floor != oldest, oldest > after && len(got) != 0, oldest <= after && len(got) != 300-after:
			t.Errorf("with %d entries left there are %d changes and the floor %d at %s", stay, len(got), floor, h.Checkpoint)
		}
	}
}
