package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// tamper changes what is stored with plain commands, as an operator with redis-cli does.
type tamper struct{ client redis.UniversalClient }

func base(g projections.Generation, partition int) string {
	return fmt.Sprintf("tm:{%s.%d.%02d}", g.Projection, g.Number, partition)
}

func docKey(g projections.Generation, ref projections.Ref) string {
	return base(g, ref.Partition) + ":doc:" + ref.Key
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func changed(t testing.TB, n int64, err error) {
	t.Helper()
	if must(t, err); n == 0 {
		t.Fatal("there was nothing to change")
	}
}

func (x tamper) SetField(t testing.TB, g projections.Generation, ref projections.Ref, field, value string) {
	t.Helper()
	n, err := x.client.Exists(context.Background(), docKey(g, ref)).Result()
	changed(t, n, err)
	must(t, x.client.HSet(context.Background(), docKey(g, ref), field, value).Err())
}

func (x tamper) DropField(t testing.TB, g projections.Generation, ref projections.Ref, field string) {
	t.Helper()
	n, err := x.client.HDel(context.Background(), docKey(g, ref), field).Result()
	changed(t, n, err)
}

func (x tamper) RemoveDocument(t testing.TB, g projections.Generation, ref projections.Ref) {
	t.Helper()
	n, err := x.client.Del(context.Background(), docKey(g, ref)).Result()
	changed(t, n, err)
}

func (x tamper) PutDocument(t testing.TB, g projections.Generation, ref projections.Ref, fields map[string]string) {
	t.Helper()
	must(t, x.client.HSet(context.Background(), docKey(g, ref), fields).Err())
}

func (x tamper) SpoilKey(t testing.TB, g projections.Generation, ref projections.Ref) {
	t.Helper()
	must(t, x.client.Set(context.Background(), docKey(g, ref), "no hash", 0).Err())
}

func (x tamper) Unlist(t testing.TB, g projections.Generation, ref projections.Ref) {
	t.Helper()
	n, err := x.client.ZRem(context.Background(), base(g, ref.Partition)+":keys", ref.Key).Result()
	changed(t, n, err)
}

func (x tamper) LoseHeader(t testing.TB, g projections.Generation, partition int) {
	t.Helper()
	n, err := x.client.Del(context.Background(), base(g, partition)+":head").Result()
	changed(t, n, err)
	must(t, x.client.Del(context.Background(), base(g, partition)+":keys").Err())
}

func (x tamper) PutEntry(t testing.TB, g projections.Generation, partition int, index, entry string) {
	t.Helper()
	must(t, x.client.ZAdd(context.Background(), base(g, partition)+":idx:"+index, redis.Z{Member: entry}).Err())
}

func (x tamper) DropEntry(t testing.TB, g projections.Generation, partition int, index, entry string) {
	t.Helper()
	n, err := x.client.ZRem(context.Background(), base(g, partition)+":idx:"+index, entry).Result()
	changed(t, n, err)
}

func (x tamper) SpoilIndex(t testing.TB, g projections.Generation, partition int, index string) {
	t.Helper()
	must(t, x.client.Set(context.Background(), base(g, partition)+":idx:"+index, "no sorted set", 0).Err())
}

func (x tamper) SpoilChanges(t testing.TB, g projections.Generation, partition int) {
	t.Helper()
	must(t, x.client.Set(context.Background(), base(g, partition)+":changes", "no list", 0).Err())
}

func (x tamper) PutMark(t testing.TB, g projections.Generation, partition int, text string) {
	t.Helper()
	must(t, x.client.ZAdd(context.Background(), base(g, partition)+":marks", redis.Z{Member: text}).Err())
}

func (x tamper) SpoilMarks(t testing.TB, g projections.Generation, partition int) {
	t.Helper()
	must(t, x.client.Set(context.Background(), base(g, partition)+":marks", "no sorted set", 0).Err())
}

func (x tamper) TrimChanges(t testing.TB, g projections.Generation, partition, stay int) {
	t.Helper()
	key := base(g, partition) + ":changes"
	n, err := x.client.LLen(context.Background(), key).Result()
	changed(t, n-int64(stay), err)
	if stay == 0 {
		must(t, x.client.Del(context.Background(), key).Err())
	} else {
		must(t, x.client.LTrim(context.Background(), key, int64(-stay), -1).Err())
	}
}

func (x tamper) PutChange(t testing.TB, g projections.Generation, partition int, c projections.Change) {
	t.Helper()
	entry := fmt.Sprintf("%d %d:%s,", c.Sequence, len(c.Key), c.Key)
	must(t, x.client.RPush(context.Background(), base(g, partition)+":changes", entry).Err())
}

// dump returns everything that is stored under a prefix, readable.
func dump(t testing.TB, client redis.UniversalClient) map[string]string {
	t.Helper()
	ctx := context.Background()
	keys, err := client.Keys(ctx, "*").Result()
	must(t, err)
	out := make(map[string]string)
	for _, k := range keys {
		switch kind := client.Type(ctx, k).Val(); kind {
		case "hash":
			out[k] = fmt.Sprint(client.HGetAll(ctx, k).Val())
		case "zset":
			out[k] = strings.Join(client.ZRange(ctx, k, 0, -1).Val(), " ")
		case "list":
			out[k] = fmt.Sprint(client.LRange(ctx, k, 0, -1).Val())
		default:
			out[k] = kind
		}
	}
	return out
}

func sameDump(t testing.TB, got, want map[string]string) {
	t.Helper()
	for k := range got {
		if got[k] != want[k] {
			t.Errorf("%q holds %q, want %q", k, got[k], want[k])
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("%q is gone; it held %q", k, want[k])
		}
	}
}
