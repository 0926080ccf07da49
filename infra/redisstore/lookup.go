package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Lookup returns the documents of refs, each with its partition's header.
//
// One server reads all of them in one transaction. A cluster has no transaction over several partitions, so there each node gets one pipeline, with the headers before and after the
// documents: a partition that was emptied or went back in between is read again, and one that goes on doing so answers as if it were not there.
func (s *Store) Lookup(
	ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref,
) ([]projections.Header, []*projections.Document, error) {
	x := &lookup{
		store: s, names: s.names.of(g), def: def, refs: refs,
		headers: make([]projections.Header, len(refs)), documents: make([]*projections.Document, len(refs)),
	}
	groups := x.group()
	for try := 0; len(groups) > 0 && try < pageTries; try++ {
		var err error
		if groups, err = x.read(ctx, groups); err != nil {
			return nil, nil, err
		}
	}
	for _, of := range groups {
		for _, i := range of {
			x.headers[i], x.documents[i] = projections.Header{Partition: refs[i].Partition}, nil
		}
	}
	if err := x.readAbsent(ctx); err != nil {
		return nil, nil, err
	}
	return x.headers, x.documents, nil
}

const lookupOp = "look documents up"

// lookup is one reading of several documents.
type lookup struct {
	store     *Store
	names     *generationNames
	def       *projections.Definition
	refs      []projections.Ref
	headers   []projections.Header
	documents []*projections.Document
}

// group returns the places of the references, those of one partition together.
func (x *lookup) group() [][]int {
	var groups [][]int
	at := make(map[int]int)
	for i, ref := range x.refs {
		n, known := at[ref.Partition]
		if !known {
			n = len(groups)
			at[ref.Partition] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], i)
	}
	return groups
}

// read reads headers and documents once, and returns the groups that have to be read again.
func (x *lookup) read(ctx context.Context, groups [][]int) (again [][]int, err error) {
	var cmds []*redis.RawCmd
	heads := make([]int, len(groups)) // where each group begins
	for n, of := range groups {
		names := x.names.at(x.refs[of[0]].Partition)
		heads[n] = len(cmds)
		cmds = append(cmds, redis.NewRawCmd(ctx, "hgetall", names.head))
		for _, i := range of {
			cmds = append(cmds, redis.NewRawCmd(ctx, "hgetall", names.doc+x.refs[i].Key))
		}
		if x.store.cluster != nil {
			cmds = append(cmds, redis.NewRawCmd(ctx, "hgetall", names.head))
		}
	}
	if x.store.cluster == nil {
		err = x.store.transact(ctx, cmds...)
	} else {
		err = x.store.read(ctx, cmds)
	}
	if err != nil {
		return nil, failure(ctx, lookupOp, err)
	}
	for n, of := range groups {
		mine := cmds[heads[n]:]
		h, err := x.names.header(x.refs[of[0]].Partition, mine[0].Val())
		if err != nil {
			return nil, failure(ctx, lookupOp, err)
		}
		if x.store.cluster != nil {
			now, err := x.names.header(h.Partition, mine[1+len(of)].Val())
			if err != nil {
				return nil, failure(ctx, lookupOp, err)
			}
			if !goesOn(&h, &now) {
				again = append(again, of)
				continue
			}
		}
		for j, i := range of {
			if err := x.take(ctx, i, h, mine[1+j]); err != nil {
				return nil, err
			}
		}
	}
	return again, nil
}

// take keeps a header and a document.
func (x *lookup) take(ctx context.Context, i int, h projections.Header, raw *redis.RawCmd) error {
	x.headers[i], x.documents[i] = h, nil
	if h.State == projections.Absent {
		return nil
	}
	pairs, err := parseStrings(nil, raw.Val())
	if err != nil {
		return ofKey(failure(ctx, lookupOp, err), lookupOp, x.refs[i].Key)
	}
	x.documents[i] = parseDocument(x.def, x.refs[i].Key, pairs)
	return nil
}

// readAbsent looks again at the documents that were not there, this time together with the index, in one transaction of each partition: see absent.
func (x *lookup) readAbsent(ctx context.Context) error {
	var groups [][]int
	for _, of := range x.group() {
		var missing []int
		for _, i := range of {
			if x.documents[i] == nil && x.headers[i].State != projections.Absent {
				missing = append(missing, i)
			}
		}
		if len(missing) > 0 {
			groups = append(groups, missing)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	cmds := make([][]*redis.RawCmd, len(groups))
	for n, of := range groups {
		names := x.names.at(x.refs[of[0]].Partition)
		cmds[n] = append(cmds[n], redis.NewRawCmd(ctx, "hgetall", names.head), redis.NewRawCmd(ctx, "zcard", names.keys))
		for _, i := range of {
			cmds[n] = append(cmds[n], redis.NewRawCmd(ctx, "hgetall", names.doc+x.refs[i].Key), redis.NewRawCmd(ctx, "zscore", names.keys, x.refs[i].Key))
		}
	}
	if err := x.store.transactEach(ctx, cmds); err != nil {
		return failure(ctx, lookupOp, err)
	}
	for n, of := range groups {
		h, err := x.names.header(x.refs[of[0]].Partition, cmds[n][0].Val())
		if err != nil {
			return failure(ctx, lookupOp, err)
		}
		listed, err := parseNumber(cmds[n][1].Val())
		if err != nil {
			return failure(ctx, lookupOp, err)
		}
		for j, i := range of {
			if err := x.take(ctx, i, h, cmds[n][2+2*j]); err != nil {
				return err
			}
			if x.documents[i] == nil && h.State != projections.Absent && (!isNull(cmds[n][3+2*j].Val()) || listed != h.Documents) {
				x.documents[i] = &projections.Document{Key: x.refs[i].Key}
			}
		}
	}
	return nil
}

// transactEach executes groups of commands, each group on keys of one partition in one atomic step.
func (s *Store) transactEach(ctx context.Context, groups [][]*redis.RawCmd) error {
	if s.cluster == nil {
		var all []*redis.RawCmd
		for _, cmds := range groups {
			all = append(all, cmds...)
		}
		return s.transact(ctx, all...)
	}
	errs := make([]error, len(groups))
	var working sync.WaitGroup
	for n, cmds := range groups {
		working.Go(func() { errs[n] = s.transact(ctx, cmds...) })
	}
	working.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
