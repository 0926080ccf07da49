package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// Get returns a document and its partition's header from one transaction.
func (s *Store) Get(
	ctx context.Context, g projections.Generation, def *projections.Definition, ref projections.Ref,
) (projections.Header, *projections.Document, error) {
	const op = "get a document"
	all := s.names.of(g)
	names := all.at(ref.Partition)
	head, doc, err := s.fetch(ctx, names.head, names.doc+ref.Key)
	if err != nil {
		return projections.Header{}, nil, failure(ctx, op, err)
	}
	h, err := all.header(ref.Partition, head)
	if err != nil || h.State == projections.Absent {
		return h, nil, failure(ctx, op, err)
	}
	pairs, err := parseStrings(nil, doc)
	if err != nil {
		return h, nil, ofKey(failure(ctx, op, err), op, ref.Key)
	}
	if len(pairs) > 0 {
		return h, parseDocument(def, ref.Key, pairs), nil
	}
	h, found, err := s.absent(ctx, names, ref, def)
	return h, found, failure(ctx, op, err)
}

// absent looks again at a document that was not there, this time together with the index: what an accident or a person removed is not what the log never
// made. A document that the index lists, or that may be among those that the index lost, is returned without values.
func (s *Store) absent(
	ctx context.Context, names *partitionNames, ref projections.Ref, def *projections.Definition,
) (projections.Header, *projections.Document, error) {
	head, doc := redis.NewRawCmd(ctx, "hgetall", names.head), redis.NewRawCmd(ctx, "hgetall", names.doc+ref.Key)
	count, score := redis.NewRawCmd(ctx, "zcard", names.keys), redis.NewRawCmd(ctx, "zscore", names.keys, ref.Key)
	if err := s.transact(ctx, head, doc, count, score); err != nil {
		return projections.Header{}, nil, err
	}
	h, err := readHeader(ref.Partition, head.Val())
	if err != nil || h.State == projections.Absent {
		return h, nil, err
	}
	pairs, err := parseStrings(nil, doc.Val())
	if err != nil {
		return h, nil, err
	}
	if len(pairs) > 0 { // made in between
		return h, parseDocument(def, ref.Key, pairs), nil
	}
	keys, err := parseNumber(count.Val())
	if err != nil {
		return h, nil, err
	}
	if !isNull(score.Val()) || keys != h.Documents {
		return h, &projections.Document{Key: ref.Key}, nil
	}
	return h, nil, nil
}

func (s *Store) fetch(ctx context.Context, head, doc string) (rawHead, rawDoc []byte, err error) {
	if s.cluster == nil {
		return s.gets.get(ctx, head, doc)
	}
	h, d := redis.NewRawCmd(ctx, "hgetall", head), redis.NewRawCmd(ctx, "hgetall", doc)
	err = s.transact(ctx, h, d)
	return h.Val(), d.Val(), err
}

const (
	// maxFlights is how many transactions of gathered reads are under way at once. One more would make each smaller, not the whole faster.
	maxFlights = 2
	// crowd is how many reads must wait for a second one to depart: fewer are served cheaper, and hardly later, by the first one's next.
	crowd = 16
	// maxGathered bounds the documents of one.
	maxGathered = 128
)

// gatherer lets reads that are waiting at the same time share one transaction, on one server. A read that comes alone goes alone and at
// once; under load, whatever has come while the flights were out goes with the next one. It costs an idle reader nothing and makes a busy
// one twice as fast, because a round trip costs more than reading a document does.
type gatherer struct {
	client *redis.Client

	mu      sync.Mutex
	waiting []*gathered
	flights int
}

type gathered struct {
	head, doc       string
	rawHead, rawDoc []byte
	err             error
	done            chan struct{} // nil for a read that goes alone
}

func (x *gatherer) get(ctx context.Context, head, doc string) (rawHead, rawDoc []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	r := &gathered{head: head, doc: doc}
	free := context.WithoutCancel(ctx) // no caller's context may end the reads of others
	if x.depart(r) {
		x.read(ctx, []*gathered{r})
		x.land(free)
		return r.rawHead, r.rawDoc, r.err
	}
	if x.crowded() {
		x.land(free)
	}
	select {
	case <-r.done:
		return r.rawHead, r.rawDoc, r.err
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// depart reports whether r may go at once; otherwise it waits with the others.
func (x *gatherer) depart(r *gathered) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flights == 0 {
		x.flights++
		return true
	}
	r.done = make(chan struct{})
	x.waiting = append(x.waiting, r)
	return false
}

// crowded reports whether so many wait that one more flight is opened, for the caller to land at once.
func (x *gatherer) crowded() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.flights == 0 || x.flights == maxFlights || len(x.waiting) < crowd {
		return false
	}
	x.flights++
	return true
}

// land ends a flight, unless somebody waits: then it goes on without its first passenger, until nobody does. The client's timeouts bound
// each of its steps.
func (x *gatherer) land(ctx context.Context) {
	if batch := x.take(); batch != nil {
		go func() {
			for ; batch != nil; batch = x.take() {
				x.read(ctx, batch)
			}
		}()
	}
}

// take returns those who wait, or ends the flight.
func (x *gatherer) take() []*gathered {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.waiting) == 0 {
		x.flights--
		return nil
	}
	n := min(len(x.waiting), maxGathered)
	batch := x.waiting[:n:n]
	x.waiting = x.waiting[n:]
	return batch
}

// read executes one transaction: each header once, and every document.
func (x *gatherer) read(ctx context.Context, batch []*gathered) {
	heads := make([]*redis.RawCmd, len(batch))
	docs := make([]*redis.RawCmd, len(batch))
	all := make([]*redis.RawCmd, 0, 2*len(batch))
	for i, r := range batch {
		if heads[i] = sameHead(batch[:i], heads, r.head); heads[i] == nil {
			heads[i] = redis.NewRawCmd(ctx, "hgetall", r.head)
			all = append(all, heads[i])
		}
		docs[i] = redis.NewRawCmd(ctx, "hgetall", &r.doc)
		all = append(all, docs[i])
	}
	err := transact(ctx, x.client, all)
	for i, r := range batch {
		r.rawHead, r.rawDoc, r.err = heads[i].Val(), docs[i].Val(), err
		if r.done != nil {
			close(r.done)
		}
	}
}

// sameHead returns the command that reads the same header already.
func sameHead(before []*gathered, heads []*redis.RawCmd, head string) *redis.RawCmd {
	for i, r := range before {
		if r.head == head {
			return heads[i]
		}
	}
	return nil
}
