package redisstore

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Inspect returns what a partition has under some keys, from one transaction.
func (s *Store) Inspect(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, asked []projections.Inspected,
) (projections.Header, []projections.Inspected, error) {
	if err := projections.CheckInspected(def, asked); err != nil {
		return projections.Header{}, nil, err
	}
	x := newInspection(ctx, s.names.of(g).at(partition), def, asked)
	if err := s.transact(ctx, x.cmds...); err != nil {
		return projections.Header{}, nil, failure(ctx, inspectOp, err)
	}
	h, err := readHeader(partition, x.cmds[0].Val())
	if err != nil || h.State == projections.Absent {
		return h, nil, failure(ctx, inspectOp, err)
	}
	out, err := x.answers(ctx)
	return h, out, err
}

const inspectOp = "inspect documents"

// inspection is one Inspect: the header, the documents in order, and each sorted set once, with everything that is asked of it.
type inspection struct {
	def   *projections.Definition
	asked []projections.Inspected
	cmds  []*redis.RawCmd
	sets  []membership // the list of keys first
}

// membership asks one sorted set for members.
type membership struct {
	key     string
	members []string
	// asked are the places of the questions: a key's, and that of its entry.
	asked [][2]int
}

func newInspection(ctx context.Context, names *partitionNames, def *projections.Definition, asked []projections.Inspected) *inspection {
	x := &inspection{def: def, asked: asked, cmds: make([]*redis.RawCmd, 0, 2+len(asked))}
	x.cmds = append(x.cmds, redis.NewRawCmd(ctx, "hgetall", names.head))
	sets := make([]membership, 1+projections.MaxIndexes-projections.FirstIndex)
	sets[0].key = names.keys
	for i := range asked {
		q := &asked[i]
		x.cmds = append(x.cmds, redis.NewRawCmd(ctx, "hgetall", names.doc+q.Key))
		sets[0].ask(q.Key, i, 0)
		for j, e := range q.Entries {
			set := &sets[1+e.Index-projections.FirstIndex]
			set.key = names.index + indexName(def, e.Index)
			set.ask(e.Value+q.Key, i, j)
		}
	}
	for _, set := range sets {
		if len(set.asked) > 0 {
			x.sets = append(x.sets, set)
			x.cmds = append(x.cmds, askScores(ctx, set.key, set.members))
		}
	}
	return x
}

func (m *membership) ask(member string, i, j int) {
	m.members, m.asked = append(m.members, member), append(m.asked, [2]int{i, j})
}

// answers reads the replies.
func (x *inspection) answers(ctx context.Context) ([]projections.Inspected, error) {
	out := make([]projections.Inspected, len(x.asked))
	var pairs []string
	for i, q := range x.asked {
		out[i] = projections.Inspected{Key: q.Key, Entries: q.Entries, Has: make([]bool, len(q.Entries))}
		var err error
		pairs, err = parseStrings(pairs[:0], x.cmds[1+i].Val())
		switch {
		case err == nil:
			out[i].Document = parseDocument(x.def, q.Key, pairs)
		case strings.HasPrefix(err.Error(), "WRONGTYPE"):
			out[i].Foreign = true
		default:
			return nil, failure(ctx, inspectOp, err)
		}
	}
	for n, set := range x.sets {
		has, err := parseScores(x.cmds[1+len(x.asked)+n].Val(), len(set.asked))
		if err != nil {
			return nil, ofKey(failure(ctx, inspectOp, err), inspectOp, set.key)
		}
		for k, at := range set.asked {
			if n == 0 {
				out[at[0]].Listed = has[k]
			} else {
				out[at[0]].Has[at[1]] = has[k]
			}
		}
	}
	return out, nil
}

// Sizes returns how many keys and entries of indexes a partition has, from one transaction.
func (s *Store) Sizes(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int,
) (projections.Header, uint64, map[string]uint64, error) {
	const op = "count keys and entries"
	names, indexes := s.names.of(g).at(partition), def.IndexNames()
	keys := make([]string, 1, 1+len(indexes))
	keys[0] = names.keys
	for _, name := range indexes {
		keys = append(keys, names.index+name)
	}
	cmds := make([]*redis.RawCmd, 1, 1+len(keys))
	cmds[0] = redis.NewRawCmd(ctx, "hgetall", names.head)
	for _, key := range keys {
		cmds = append(cmds, redis.NewRawCmd(ctx, "zcard", key))
	}
	if err := s.transact(ctx, cmds...); err != nil {
		return projections.Header{}, 0, nil, failure(ctx, op, err)
	}
	h, err := readHeader(partition, cmds[0].Val())
	if err != nil || h.State == projections.Absent {
		return h, 0, nil, failure(ctx, op, err)
	}
	sizes := make([]uint64, len(keys))
	for i, key := range keys {
		if sizes[i], err = parseNumber(cmds[1+i].Val()); err != nil {
			return h, 0, nil, ofKey(failure(ctx, op, err), op, key)
		}
	}
	entries := make(map[string]uint64, len(indexes))
	for i, name := range indexes {
		entries[name] = sizes[1+i]
	}
	return h, sizes[0], entries, nil
}
