package redisstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Strays yields the documents that the lists of keys do not have. It walks through all keys of every server, one server after the other; what each step finds is looked at again,
// partition by partition, together with the list.
func (s *Store) Strays(ctx context.Context, g projections.Generation) iter.Seq2[projections.Ref, error] {
	return func(yield func(projections.Ref, error) bool) {
		nodes, err := s.masters(ctx)
		for _, node := range nodes {
			if err != nil {
				break
			}
			for page, failed := range scan(ctx, node, globEscape(s.names.of(g).tag)+"*"+docInfix+"*") {
				var refs []projections.Ref
				if err = failed; err == nil {
					refs, err = s.strays(ctx, g, page)
				}
				if err != nil {
					break
				}
				for _, ref := range refs {
					if !yield(ref, nil) {
						return
					}
				}
			}
		}
		if err != nil {
			yield(projections.Ref{}, failure(ctx, straysOp, err))
		}
	}
}

const straysOp = "look for stray documents"

// masters returns clients of all servers that hold keys.
func (s *Store) masters(ctx context.Context) ([]redis.Cmdable, error) {
	if s.cluster == nil {
		return []redis.Cmdable{s.client}, nil
	}
	var mu sync.Mutex
	var nodes []redis.Cmdable
	err := s.cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node)
		return nil
	})
	return nodes, err
}

// scan walks through the names of a server's keys that match a pattern, in bounded steps.
func scan(ctx context.Context, node redis.Cmdable, pattern string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for cursor := uint64(0); ; {
			err := ctx.Err()
			var page []string
			if err == nil {
				page, cursor, err = node.Scan(ctx, cursor, pattern, scanStep).Result()
			}
			if !yield(page, err) || err != nil || cursor == 0 {
				return
			}
		}
	}
}

// strays returns those of some names that are of documents which exist and are not listed.
func (s *Store) strays(ctx context.Context, g projections.Generation, found []string) ([]projections.Ref, error) {
	names := s.names.of(g)
	keys := make(map[int][]string)
	for _, name := range found {
		partition, suffix, ok := cutName(names.tag, name)
		key, isDoc := strings.CutPrefix(suffix, docInfix)
		if ok && isDoc && partition < g.Partitions && names.at(partition).doc+key == name {
			keys[partition] = append(keys[partition], key)
		}
	}
	partitions := slices.Sorted(maps.Keys(keys))
	groups := make([][]*redis.RawCmd, len(partitions))
	for n, p := range partitions {
		groups[n] = askListed(ctx, names.at(p), keys[p])
	}
	if err := s.transactEach(ctx, groups); err != nil {
		return nil, err
	}
	var refs []projections.Ref
	for n, p := range partitions {
		strays, err := unlisted(groups[n], keys[p])
		if err != nil {
			return nil, ofKey(failure(ctx, straysOp, err), straysOp, names.at(p).keys)
		}
		for _, key := range strays {
			refs = append(refs, projections.Ref{Partition: p, Key: key})
		}
	}
	return refs, nil
}

// askListed asks whether there is a header, whether the keys are listed, and whether there is something under each of them.
func askListed(ctx context.Context, names *partitionNames, keys []string) []*redis.RawCmd {
	listed := make([]any, 0, 2+len(keys))
	listed = append(listed, "zmscore", names.keys)
	cmds := make([]*redis.RawCmd, 2, 2+len(keys))
	for _, key := range keys {
		listed = append(listed, key)
		cmds = append(cmds, redis.NewRawCmd(ctx, "exists", names.doc+key))
	}
	cmds[0], cmds[1] = redis.NewRawCmd(ctx, "exists", names.head), redis.NewRawCmd(ctx, listed...)
	return cmds
}

// unlisted reads the answers.
func unlisted(cmds []*redis.RawCmd, keys []string) (strays []string, err error) {
	header, err := parseNumber(cmds[0].Val())
	if err != nil || header == 0 {
		return nil, err
	}
	listed, err := parseScores(cmds[1].Val(), len(keys))
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		there, err := parseNumber(cmds[2+i].Val())
		if err != nil {
			return nil, err
		}
		if there == 1 && !listed[i] {
			strays = append(strays, key)
		}
	}
	return strays, nil
}
