package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Page returns documents in the order of their keys. It returns fewer than limit only at the end of the partition.
func (s *Store) Page(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int,
) (projections.Header, []projections.Document, error) {
	l := &listing{op: "read a page", store: s, g: g, def: def, partition: partition, limit: limit, set: s.names.of(g).at(partition).keys, from: "-", to: "+"}
	l.cut = func(member string) (value, key string, ok bool) { return "", member, true }
	if after != "" {
		l.goOn(after)
	}
	h, found, err := l.read(ctx)
	docs := make([]projections.Document, len(found))
	for i := range found {
		docs[i] = found[i].Document
	}
	return h, docs, err
}

// goesOn reports whether a partition that has the header now is the one that had the other before, and has not gone back.
func goesOn(before, now *projections.Header) bool {
	if now.State != before.State || !now.Target.Equal(before.Target) {
		return false
	}
	for _, pt := range before.Checkpoint.Points() {
		if at, ok := now.Checkpoint.Point(pt.Origin); !ok || at.Lineage != pt.Lineage || at.Sequence < pt.Sequence {
			return false
		}
	}
	return true
}

// header reads a partition's header.
func (s *Store) header(ctx context.Context, op string, g projections.Generation, partition int) (projections.Header, error) {
	head := redis.NewRawCmd(ctx, "hgetall", s.names.of(g).at(partition).head)
	if err := s.transact(ctx, head); err != nil {
		return projections.Header{}, failure(ctx, op, err)
	}
	h, err := readHeader(partition, head.Val())
	return h, failure(ctx, op, err)
}
