package redisstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Strays yields the documents that the lists of keys do not have. It walks through all keys of every server, one server after the other; what each step finds is looked at again,
// partition by partition, together with the list.
func (s *Store) Strays(ctx context.Context, g projections.Generation, listed func(projections.Ref) bool) iter.Seq2[projections.Ref, error] {
	return func(yield func(projections.Ref, error) bool) {
		nodes, err := s.masters(ctx)
		for _, node := range nodes {
			if err != nil {
				break
			}
			for page, failed := range scan(ctx, node, globEscape(s.names.of(g).tag)+"*"+docInfix+"*") {
				var refs []projections.Ref
				if err = failed; err == nil {
					refs, err = s.strays(ctx, g, page, listed)
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
				page, cursor, err = scanned(ctx, node, cursor, pattern)
			}
			if !yield(page, err) || err != nil || cursor == 0 {
				return
			}
		}
	}
}

// scanned is one step of scan. Its reply is cut here, as those of documents are.
func scanned(ctx context.Context, node redis.Cmdable, cursor uint64, pattern string) (names []string, next uint64, err error) {
	cmd := redis.NewRawCmd(ctx, "scan", strconv.FormatUint(cursor, 10), "match", pattern, "count", scanStep)
	p := node.Pipeline()
	_ = p.Process(ctx, cmd) // only queues
	if _, err := p.Exec(ctx); err != nil {
		return nil, 0, err
	}
	kind, line, rest, ok := cutLine(string(cmd.Val()))
	switch {
	case ok && kind == '-':
		return nil, 0, replyError(line)
	case !ok || kind != '*' || line != "2":
		return nil, 0, errReply
	}
	number, rest, ok := cutString(rest)
	if next, err = strconv.ParseUint(number, 10, 64); !ok || err != nil {
		return nil, 0, errReply
	}
	names, err = cutStrings(nil, rest)
	return names, next, err
}

// strays returns those of some names that are of documents which exist and are not listed. Nearly all of them are listed, so the list is asked first, alone.
func (s *Store) strays(ctx context.Context, g projections.Generation, found []string, listed func(projections.Ref) bool) ([]projections.Ref, error) {
	names := s.names.of(g)
	keys := make(map[int][]string)
	for _, name := range found {
		partition, suffix, ok := cutName(names.tag, name)
		key, isDoc := strings.CutPrefix(suffix, docInfix)
		switch {
		case !ok, !isDoc, partition >= g.Partitions, !strings.HasPrefix(name, names.at(partition).doc):
		case listed == nil || !listed(projections.Ref{Partition: partition, Key: key}):
			keys[partition] = append(keys[partition], key)
		}
	}
	partitions := slices.Sorted(maps.Keys(keys))
	cmds := make([]*redis.RawCmd, len(partitions))
	for n, p := range partitions {
		cmds[n] = askScores(ctx, names.at(p).keys, keys[p])
	}
	if err := s.read(ctx, cmds); err != nil {
		return nil, err
	}
	suspects := make(map[int][]string)
	for n, p := range partitions {
		listed, err := parseScores(cmds[n].Val(), len(keys[p]))
		for i, key := range keys[p] {
			if err != nil || !listed[i] { // what is wrong with the list is told when it is asked again
				suspects[p] = append(suspects[p], key)
			}
		}
	}
	return s.confirm(ctx, names, suspects)
}

// confirm returns the suspects, by partition, that are strays.
func (s *Store) confirm(ctx context.Context, names *generationNames, suspects map[int][]string) (refs []projections.Ref, err error) {
	for _, p := range slices.Sorted(maps.Keys(suspects)) {
		keys := suspects[p]
		cmds := askListed(ctx, names.at(p), keys)
		if err := s.transact(ctx, cmds...); err != nil {
			return nil, err
		}
		strays, err := unlisted(cmds, keys)
		if err != nil {
			return nil, ofKey(failure(ctx, straysOp, err), straysOp, names.at(p).keys)
		}
		for _, key := range strays {
			refs = append(refs, projections.Ref{Partition: p, Key: key})
		}
	}
	return refs, nil
}

func askScores(ctx context.Context, set string, members []string) *redis.RawCmd {
	args := make([]any, 0, 2+len(members))
	args = append(args, "zmscore", set)
	for i := range members {
		args = append(args, &members[i])
	}
	return redis.NewRawCmd(ctx, args...)
}

// askListed asks whether there is a header, whether the keys are listed, and whether there is something under each of them.
func askListed(ctx context.Context, names *partitionNames, keys []string) []*redis.RawCmd {
	cmds := make([]*redis.RawCmd, 0, 2+len(keys))
	cmds = append(cmds, redis.NewRawCmd(ctx, "exists", names.head), askScores(ctx, names.keys, keys))
	for _, key := range keys {
		cmds = append(cmds, redis.NewRawCmd(ctx, "exists", names.doc+key))
	}
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
