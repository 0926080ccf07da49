package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Marks returns the header and the recorded marks of every partition, each from one transaction; on one server all from the same.
func (s *Store) Marks(ctx context.Context, g projections.Generation) ([]projections.Header, [][]projections.PartitionMark, error) {
	const op = "read the marks"
	names := s.names.of(g)
	cmds := make([][]*redis.RawCmd, g.Partitions)
	for i := range cmds {
		cmds[i] = []*redis.RawCmd{redis.NewRawCmd(ctx, "hgetall", names.at(i).head), redis.NewRawCmd(ctx, "zrange", names.at(i).marks, "0", "-1")}
	}
	if err := s.transactEach(ctx, cmds); err != nil {
		return nil, nil, failure(ctx, op, err)
	}
	headers, marks := make([]projections.Header, g.Partitions), make([][]projections.PartitionMark, g.Partitions)
	for i := range headers {
		h, err := readHeader(i, cmds[i][0].Val())
		if err != nil {
			return nil, nil, failure(ctx, op, err)
		}
		if headers[i] = h; h.State == projections.Absent {
			continue
		}
		texts, err := parseStrings(nil, cmds[i][1].Val())
		if err != nil {
			return nil, nil, ofKey(failure(ctx, op, err), op, names.at(i).marks)
		}
		for _, text := range texts {
			if m, ok := projections.ParseMark(text); ok {
				marks[i] = append(marks[i], m)
			}
		}
	}
	return headers, marks, nil
}
