package redisstore

import (
	"bytes"
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// maxPipeline bounds the commands of one round trip, so that neither side has to hold an unbounded answer.
const maxPipeline = 5_000

// read executes raw commands of one key each, pipelined. The error is the first one that is not a server's answer to a single command;
// answers, errors among them, are in the commands.
func (s *Store) read(ctx context.Context, cmds []*redis.RawCmd) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for len(cmds) > 0 {
		n := min(len(cmds), maxPipeline)
		if err := s.readOnce(ctx, cmds[:n]); err != nil {
			return err
		}
		cmds = cmds[n:]
	}
	return nil
}

func (s *Store) readOnce(ctx context.Context, cmds []*redis.RawCmd) error {
	p := s.client.Pipeline()
	for _, c := range cmds {
		_ = p.Process(ctx, c) // only queues
	}
	if _, err := p.Exec(ctx); err != nil {
		return err
	}
	if s.cluster == nil {
		return nil
	}
	for i, c := range cmds {
		if redirected(c.Val()) {
			again := redis.NewRawCmd(ctx, c.Args()...)
			if err := s.transact(ctx, again); err != nil {
				return err
			}
			cmds[i] = again
		}
	}
	return nil
}

// redirected tells a cluster's answer that the key lives elsewhere. The client follows it only where it decodes the reply itself, and at
// the start of a transaction; so a redirected command is sent again as a transaction of its own.
func redirected(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte("-MOVED ")) || bytes.HasPrefix(raw, []byte("-ASK ")) || bytes.HasPrefix(raw, []byte("-TRYAGAIN"))
}

// transact executes raw commands that read, on keys of one partition, in one atomic step.
func (s *Store) transact(ctx context.Context, cmds ...*redis.RawCmd) error {
	return transact(ctx, s.client, cmds)
}

func transact(ctx context.Context, client redis.UniversalClient, cmds []*redis.RawCmd) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := client.TxPipeline()
	for _, c := range cmds {
		_ = p.Process(ctx, c) // only queues
	}
	_, err := p.Exec(ctx)
	if err = whyAborted(cmds, err); full(err) {
		return readFull(ctx, client, cmds)
	}
	return err
}

// whyAborted returns why a command was not even queued, where the transaction's own error only says that one was not.
func whyAborted(cmds []*redis.RawCmd, err error) error {
	if err == nil || !redis.HasErrorPrefix(err, "EXECABORT") {
		return err
	}
	for _, c := range cmds {
		if e := c.Err(); e != nil && !redis.HasErrorPrefix(e, "EXECABORT") {
			return e
		}
	}
	return err
}

// Load returns the documents of refs.
func (s *Store) Load(
	ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref,
) ([]*projections.Document, error) {
	cmds, err := s.hashes(ctx, g, refs)
	if err != nil {
		return nil, failure(ctx, loadOp, err)
	}
	docs := make([]*projections.Document, len(refs))
	var pairs []string
	for i, c := range cmds {
		var err error
		if pairs, err = parseStrings(pairs[:0], c.Val()); err != nil {
			return nil, ofKey(failure(ctx, loadOp, err), loadOp, refs[i].Key)
		}
		docs[i] = parseDocument(def, refs[i].Key, pairs)
	}
	return docs, nil
}

const loadOp = "load documents"

// hashes reads the hashes of documents.
func (s *Store) hashes(ctx context.Context, g projections.Generation, refs []projections.Ref) ([]*redis.RawCmd, error) {
	keys := documentNames(s.names.of(g), refs)
	cmds := make([]*redis.RawCmd, len(refs))
	for i := range keys {
		cmds[i] = redis.NewRawCmd(ctx, "hgetall", &keys[i])
	}
	return cmds, s.read(ctx, cmds)
}

// documentNames returns the keys of documents, cut from one text: that is two allocations instead of one for each.
func documentNames(names *generationNames, refs []projections.Ref) []string {
	size := 0
	for _, r := range refs {
		size += len(names.at(r.Partition).doc) + len(r.Key)
	}
	var all strings.Builder
	all.Grow(size)
	for _, r := range refs {
		all.WriteString(names.at(r.Partition).doc)
		all.WriteString(r.Key)
	}
	rest := all.String()
	keys := make([]string, len(refs))
	for i, r := range refs {
		n := len(names.at(r.Partition).doc) + len(r.Key)
		keys[i], rest = rest[:n], rest[n:]
	}
	return keys
}

// ofKey names the key in a complaint about its type.
func ofKey(err error, op, key string) error {
	if code, _ := events.CodeOf(err); code == projections.ErrWrongType {
		return wrongType(op, key)
	}
	return err
}
