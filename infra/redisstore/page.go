package redisstore

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// pageTries bounds how often a page is begun anew because the partition went back, or was made anew, under its eyes.
const pageTries = 3

// Page returns documents in the order of their keys. It returns fewer than limit only at the end of the partition. Keys and documents are read one after the
// other, and the header before and after them: a partition that was emptied or went back in between is read again, and one that goes on doing so
// answers as if it were not there.
func (s *Store) Page(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int,
) (projections.Header, []projections.Document, error) {
	for range pageTries {
		h, docs, err := s.page(ctx, g, def, partition, after, limit)
		if err != nil || h.State == projections.Absent {
			return h, docs, err
		}
		now, err := s.header(ctx, g, partition)
		if err != nil {
			return h, nil, err
		}
		if goesOn(&h, &now) {
			return h, docs, nil
		}
	}
	return projections.Header{Partition: partition}, nil, nil
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
func (s *Store) header(ctx context.Context, g projections.Generation, partition int) (projections.Header, error) {
	const op = "read a page"
	head := redis.NewRawCmd(ctx, "hgetall", s.names.of(g).at(partition).head)
	if err := s.transact(ctx, head); err != nil {
		return projections.Header{}, failure(ctx, op, err)
	}
	h, err := readHeader(partition, head.Val())
	return h, failure(ctx, op, err)
}

// page reads keys and documents once.
func (s *Store) page(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int,
) (projections.Header, []projections.Document, error) {
	const op = "read a page"
	h, keys, err := s.keys(ctx, g, partition, after, limit)
	if err != nil || h.State == projections.Absent {
		return h, nil, failure(ctx, op, err)
	}
	var out []projections.Document
	for want := limit; len(keys) > 0; {
		docs, err := s.pageDocuments(ctx, g, def, partition, keys)
		if err != nil {
			return h, nil, err
		}
		out = append(out, docs...)
		if len(keys) < want || len(out) >= limit {
			break
		}
		// Some of them were removed in the meantime: read on behind them. What is found now is newer than the header, which is allowed.
		want = limit - len(out)
		if _, keys, err = s.keys(ctx, g, partition, keys[len(keys)-1], want); err != nil {
			return h, nil, failure(ctx, op, err)
		}
	}
	return h, out, nil
}

// keys returns the header and up to limit keys above after, from one transaction.
func (s *Store) keys(ctx context.Context, g projections.Generation, partition int, after string, limit int) (projections.Header, []string, error) {
	names := s.names.of(g).at(partition)
	from := "-"
	if after != "" {
		// From the first key above it, rather than above it without itself: miniredis reads "(+" and "(-" as the ends of all keys.
		from = "[" + after + "\x00"
	}
	head := redis.NewRawCmd(ctx, "hgetall", names.head)
	list := redis.NewRawCmd(ctx, "zrangebylex", names.index, from, "+", "limit", "0", strconv.Itoa(max(limit, 0)))
	if err := s.transact(ctx, head, list); err != nil {
		return projections.Header{}, nil, err
	}
	h, err := readHeader(partition, head.Val())
	if err != nil {
		return h, nil, err
	}
	keys, err := parseStrings(nil, list.Val())
	return h, keys, err
}

// pageDocuments reads the documents of listed keys. One that is not there was either removed since, then it is left out, or it is still
// listed, then it is damaged: the caller is told of it, by a document without values.
func (s *Store) pageDocuments(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, keys []string,
) ([]projections.Document, error) {
	refs := make([]projections.Ref, len(keys))
	for i, k := range keys {
		refs[i] = projections.Ref{Partition: partition, Key: k}
	}
	docs, err := s.Load(ctx, g, def, refs)
	if err != nil {
		return nil, err
	}
	out := make([]projections.Document, 0, len(docs))
	for i, d := range docs {
		if d == nil {
			if d, err = s.listedDocument(ctx, g, def, refs[i]); err != nil {
				return nil, err
			}
		}
		if d != nil {
			out = append(out, *d)
		}
	}
	return out, nil
}

// listedDocument reads whether the key is listed, and its document, in one transaction.
func (s *Store) listedDocument(
	ctx context.Context, g projections.Generation, def *projections.Definition, ref projections.Ref,
) (*projections.Document, error) {
	const op = "read a page"
	names := s.names.of(g).at(ref.Partition)
	listed := redis.NewRawCmd(ctx, "zscore", names.index, ref.Key)
	doc := redis.NewRawCmd(ctx, "hgetall", names.doc+ref.Key)
	if err := s.transact(ctx, listed, doc); err != nil {
		return nil, failure(ctx, op, err)
	}
	pairs, err := parseStrings(nil, doc.Val())
	if err != nil {
		return nil, ofKey(failure(ctx, op, err), op, ref.Key)
	}
	if d := parseDocument(def, ref.Key, pairs); d != nil || isNull(listed.Val()) {
		return d, nil
	}
	return &projections.Document{Key: ref.Key}, nil
}
