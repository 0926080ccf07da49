package redisstore

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Find returns entries of an index with their documents.
func (s *Store) Find(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, q projections.IndexQuery,
) (projections.Header, []projections.Found, error) {
	_, kinds, err := def.FindIndex(q.Index)
	if err != nil {
		return projections.Header{}, nil, err
	}
	l := &listing{op: "find by an index", store: s, g: g, def: def, partition: partition, limit: q.Limit, reverse: q.Reverse, bare: q.Bare}
	l.set = s.names.of(g).at(partition).index + q.Index
	l.from, l.to = bounds(q.From, q.To)
	l.cut = func(member string) (value, key string, ok bool) { return projections.CutIndexEntry(kinds, member) }
	switch after := q.After + q.AfterKey; {
	case q.AfterKey == "":
	case q.Reverse && q.To != "" && after >= q.To, !q.Reverse && after < q.From: // it is outside of the range
	default:
		l.goOn(after)
	}
	return l.read(ctx)
}

// bounds returns a range of texts, the second one not included, as ZRANGEBYLEX has it. An empty text stands for the end.
func bounds(from, to string) (first, last string) {
	first, last = "-", "+"
	if from != "" {
		first = "[" + from
	}
	if to != "" {
		last = "(" + to
	}
	return first, last
}

// Count returns the number of entries of an index, or of all documents.
func (s *Store) Count(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, index, from, to string,
) (projections.Header, uint64, error) {
	const op = "count"
	if index == "" {
		h, err := s.header(ctx, op, g, partition)
		return h, h.Documents, err
	}
	if _, _, err := def.FindIndex(index); err != nil {
		return projections.Header{}, 0, err
	}
	names := s.names.of(g).at(partition)
	first, last := bounds(from, to)
	head, count := redis.NewRawCmd(ctx, "hgetall", names.head), redis.NewRawCmd(ctx, "zlexcount", names.index+index, first, last)
	if err := s.transact(ctx, head, count); err != nil {
		return projections.Header{}, 0, failure(ctx, op, err)
	}
	h, err := readHeader(partition, head.Val())
	if err != nil || h.State == projections.Absent {
		return h, 0, failure(ctx, op, err)
	}
	n, err := parseNumber(count.Val())
	return h, n, failure(ctx, op, err)
}

// parseNumber reads a raw reply that is a number.
func parseNumber(raw []byte) (uint64, error) {
	kind, line, _, ok := cutLine(string(raw))
	if ok && kind == '-' {
		return 0, replyError(line)
	}
	n, err := strconv.ParseUint(line, 10, 64)
	if !ok || kind != ':' || err != nil {
		return 0, errReply
	}
	return n, nil
}
