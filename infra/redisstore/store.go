package redisstore

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultPrefix begins every key unless Options say otherwise.
	DefaultPrefix = "tm:"
	// maxPrefix bounds a prefix: it is repeated in every key.
	maxPrefix = 64
)

// Options of a Store. The zero value works.
type Options struct {
	// Prefix begins every key: 1 to 64 of A-Z a-z 0-9 : _ . - (default DefaultPrefix).
	Prefix string
}

// Store keeps read models in Redis. It is safe for concurrent use. It does not own its client.
type Store struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // the client, when it is one of a cluster
	names   *names
	scripts *scripts
	buffers sync.Pool // of *applyBuffer
	gets    gatherer
	swept   sweptPartitions
}

var _ projections.Store = (*Store)(nil)

// New returns a Store on a client of one server or of a cluster. Nothing is sent. It returns ErrInvalidOptions.
//
// The client's timeouts bound every call, so they should fit the largest commit; a commit is never sent twice.
func New(client redis.UniversalClient, o Options) (*Store, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if len(o.Prefix) > maxPrefix || strings.Trim(o.Prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_.-") != "" {
		return nil, events.Errorf(ErrInvalidOptions, "the prefix %q is not 1 to %d characters of A-Z a-z 0-9 : _ . -", clip(o.Prefix), maxPrefix)
	}
	s := &Store{client: client, names: newNames(o.Prefix), scripts: newScripts()}
	s.buffers.New = func() any { return new(applyBuffer) }
	switch c := client.(type) {
	case *redis.Client:
		s.gets.client = c
	case *redis.ClusterClient:
		if c.Options().ReadOnly {
			return nil, events.Errorf(ErrInvalidOptions, "the cluster client reads from replicas, which lag: a document could be folded from an old state").
				Hint("Leave ReadOnly, RouteByLatency and RouteRandomly off.")
		}
		s.cluster = c
	default:
		return nil, events.Errorf(ErrInvalidOptions, "a client of type %T cannot be used: partitions need one server, or a Redis Cluster", client)
	}
	return s, nil
}

// Headers returns the header of every partition.
func (s *Store) Headers(ctx context.Context, g projections.Generation) ([]projections.Header, error) {
	const op = "read the headers"
	names := s.names.of(g)
	cmds := make([]*redis.RawCmd, g.Partitions)
	for i := range cmds {
		cmds[i] = redis.NewRawCmd(ctx, "hgetall", names.at(i).head)
	}
	if err := s.read(ctx, cmds); err != nil {
		return nil, failure(ctx, op, err)
	}
	headers := make([]projections.Header, len(cmds))
	for i, c := range cmds {
		h, err := readHeader(i, c.Val())
		if err != nil {
			return nil, failure(ctx, op, err)
		}
		headers[i] = h
	}
	return headers, nil
}

func readHeader(partition int, raw []byte) (projections.Header, error) {
	pairs, err := parseStrings(make([]string, 0, 2*headerFields), raw)
	if err != nil {
		return projections.Header{}, err
	}
	return parseHeader(partition, pairs)
}

// Claim makes owner the owner of every partition that exists, one after the other.
func (s *Store) Claim(ctx context.Context, g projections.Generation, owner uint64) ([]projections.Header, error) {
	const op = "claim the partitions"
	names := s.names.of(g)
	headers := make([]projections.Header, g.Partitions)
	for i := range headers {
		answer, err := s.run(ctx, s.scripts.claim, []string{names.at(i).head}, decimal(owner))
		if err != nil {
			return nil, failure(ctx, op, err)
		}
		switch answer.code {
		case codeOwner:
			return nil, events.Errorf(projections.ErrFenced, "partition %d of %s generation %d is owned by %s, which is newer than %d",
				i, g.Projection, g.Number, answer.text(), owner).
				Hint("Another projector has taken over; this one must stop.")
		case codeAbsent:
			headers[i].Partition = i
		default:
			if headers[i], err = parseHeader(i, answer.strings()); err != nil {
				return nil, err
			}
		}
	}
	return headers, nil
}

// SetState changes the state of every partition that owner owns.
func (s *Store) SetState(ctx context.Context, g projections.Generation, owner uint64, state projections.PartitionState) error {
	const op = "change the state"
	if state == projections.Live {
		return s.makeLive(ctx, g, owner)
	}
	names := s.names.of(g)
	calls := make([]*call, g.Partitions)
	for i := range calls {
		calls[i] = newCall(ctx, s.scripts.state, []string{names.at(i).head}, decimal(owner), string(state))
	}
	s.execute(ctx, calls)
	_, err := s.stateChanged(ctx, g, owner, op, calls)
	return err
}

// liveTries bounds how often makeLive looks again at partitions that moved on meanwhile.
const liveTries = 3

// makeLive makes every partition live that owner owns. Where its change log begins is the checkpoint, which is read before and compared.
func (s *Store) makeLive(ctx context.Context, g projections.Generation, owner uint64) error {
	const op = "make the partitions live"
	names := s.names.of(g)
	for range liveTries {
		headers, err := s.Headers(ctx, g)
		if err != nil {
			return err
		}
		calls := make([]*call, g.Partitions)
		for i := range calls {
			n := names.at(i)
			calls[i] = newCall(ctx, s.scripts.live, []string{n.head, n.changes},
				decimal(owner), headers[i].Checkpoint.String(), string(projections.Live), changeBegin(&headers[i]))
		}
		s.execute(ctx, calls)
		moved, err := s.stateChanged(ctx, g, owner, op, calls)
		if err != nil || !moved {
			return err
		}
	}
	return events.Errorf(projections.ErrMoved, "%s generation %d is being written; not all of it was made live", g.Projection, g.Number)
}

// stateChanged reads the answers of scripts that change the state, and reports whether one found another checkpoint.
func (s *Store) stateChanged(ctx context.Context, g projections.Generation, owner uint64, op string, calls []*call) (moved bool, fenced error) {
	for i, c := range calls {
		answer, err := c.answer()
		if err != nil {
			return moved, failure(ctx, op, err)
		}
		switch answer.code {
		case codeMoved:
			moved = true
		case codeWrongType:
			return moved, wrongType(op, c.keyAt(answer.number()))
		case codeOwner:
			fenced = events.Errorf(projections.ErrFenced, "partition %d of %s generation %d is owned by %s, not by %d; its state was not changed",
				i, g.Projection, g.Number, answer.text(), owner)
		}
	}
	return moved, fenced
}
