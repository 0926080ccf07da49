package redisstore_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

// A server over its maxmemory refuses what is written, and every transaction. What is read is read all the same, and is the same.
func TestAFullServerIsRead(t *testing.T) {
	server := redistest.Start(t)
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			must(t, server.Client().FlushAll(t.Context()).Err())
			fullServerIsRead(t, client(t, server, func(o *redis.Options) { o.Protocol = protocol }), func(bound string) {
				must(t, server.Client().ConfigSet(t.Context(), "maxmemory", bound).Err())
			})
		})
	}
}

func TestAFullClusterIsRead(t *testing.T) {
	cluster := clustertest.StartRedis(t, 0)
	fullServerIsRead(t, cluster.Client(), func(bound string) {
		for node := range 3 {
			must(t, cluster.Node(node).ConfigSet(t.Context(), "maxmemory", bound).Err())
		}
	})
}

func fullServerIsRead(t *testing.T, client redis.UniversalClient, limit func(bound string)) {
	ctx, g, def, s := t.Context(), generation(4), definition(), open(t, client)
	def.Indexes = []projections.Index{{Name: "by_status", Fields: []string{"status"}}}
	entry, err := projections.EncodeIndex([]projections.Kind{projections.KindString}, "departed")
	must(t, err)
	for i := range g.Partitions {
		must(t, s.Create(ctx, g, header(i, 1)))
		c := commit(i, 1, 2, document("a", 1, 2), document("b\x00\r\n", 2, 2), document("", 3, 2))
		for w := range c.Writes {
			c.Writes[w].Create = true
			c.Writes[w].Index = []projections.IndexEntry{{Index: 0, Value: entry}}
		}
		c.Next.Documents = 3
		must(t, s.Apply(ctx, g, def, []projections.Commit{c})[0])
	}
	everything := func() (all []string) {
		for i := range g.Partitions {
			for _, key := range []string{"a", "b\x00\r\n", "", "none"} {
				h, d, err := s.Get(ctx, g, def, projections.Ref{Partition: i, Key: key})
				all = append(all, fmt.Sprintf("%+v %+v %v", h, d, err))
			}
			h, page, err := s.Page(ctx, g, def, i, "", 10)
			all = append(all, fmt.Sprintf("%+v %+v %v", h, page, err))
			h, found, err := s.Find(ctx, g, def, i, projections.IndexQuery{Index: "by_status", From: entry, Limit: 10})
			all = append(all, fmt.Sprintf("%+v %+v %v", h, found, err))
			h, n, err := s.Count(ctx, g, def, i, "by_status", "", "")
			all = append(all, fmt.Sprintf("%+v %d %v", h, n, err))
			h, changes, last, err := s.Changes(ctx, g, i, 0, 10)
			all = append(all, fmt.Sprintf("%+v %+v %d %v", h, changes, last, err))
			h, keys, sizes, err := s.Sizes(ctx, g, def, i)
			all = append(all, fmt.Sprintf("%+v %d %v %v", h, keys, sizes, err))
			h, inspected, err := s.Inspect(ctx, g, def, i, []projections.Inspected{{Key: "a"}, {Key: "none"}})
			all = append(all, fmt.Sprintf("%+v %v", h, err))
			for j := range inspected {
				all = append(all, fmt.Sprintf("%+v %v %v", inspected[j].Document, inspected[j].Foreign, inspected[j].Listed))
			}
		}
		headers, docs, err := s.Lookup(ctx, g, def, []projections.Ref{{Partition: 0, Key: "a"}, {Partition: 1, Key: "none"}, {Partition: 1, Key: ""}})
		all = append(all, fmt.Sprintf("%+v %v", headers, err))
		for _, d := range docs {
			all = append(all, fmt.Sprintf("%+v", d))
		}
		headers, marks, err := s.Marks(ctx, g)
		return append(all, fmt.Sprintf("%+v %+v %v", headers, marks, err))
	}
	before := everything()
	limit("1")
	defer limit("0")
	wantCode(t, s.Apply(ctx, g, def, []projections.Commit{commit(0, 2, 3, document("c", 4, 3))})[0], projections.ErrStoreFull)
	after := everything()
	for i := range before {
		if before[i] != after[i] {
			t.Errorf("read was\n%s\nand on a full server it is\n%s", before[i], after[i])
		}
	}
	atOnce(t, s, g, def)
}

// atOnce reads from many at the same time, so that reads are gathered.
func atOnce(t *testing.T, s *redisstore.Store, g projections.Generation, def *projections.Definition) {
	t.Helper()
	var all sync.WaitGroup
	for n := range 200 {
		all.Go(func() {
			if _, d, err := s.Get(t.Context(), g, def, projections.Ref{Partition: n % g.Partitions, Key: "a"}); err != nil || d == nil || d.Values[1] != "31" {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
	all.Wait()
}
