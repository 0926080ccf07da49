package natsobjects

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/projections"
)

// errClosed is what reading returns after Close.
var errClosed = errors.New("natsobjects: the snapshot was closed")

// reader reads an object part by part. It never has more than one of them.
type reader struct {
	ctx     context.Context //nolint:containedctx // an io.Reader has no other way
	of      *Snapshots
	what    string
	object  jetstream.ObjectInfo
	subject string

	mu     sync.Mutex
	digest hash.Hash
	part   []byte // what is left of the last one
	parts  uint32 // how many were read
	bytes  uint64
	last   uint64 // where the last one is
	end    error  // how it ended
}

func newReader(ctx context.Context, s *Snapshots, what string, o jetstream.ObjectInfo) *reader {
	return &reader{ctx: ctx, of: s, what: what, object: o, subject: s.subject("C." + o.NUID), digest: sha256.New()}
}

// Read reads what is there, or the next part. Nothing of the last part is returned before the digest of all of them was compared.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.part) == 0 && r.end == nil {
		r.end = r.next()
	}
	if len(p) == 0 || len(r.part) == 0 {
		return 0, r.end
	}
	n := copy(p, r.part)
	r.part = r.part[n:]
	return n, nil
}

// Close ends the reading.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.part, r.end = nil, errClosed
	return nil
}

// next gets the next part.
func (r *reader) next() error {
	switch {
	case r.ctx.Err() != nil:
		return r.of.failed(r.ctx, r.what, r.ctx.Err())
	case r.object.Chunks == 0 && !r.whole():
		return r.damaged("it is not what was put")
	case r.parts == r.object.Chunks:
		return io.EOF
	}
	part, at, err := r.of.readPart(r.ctx, r.subject, r.last+1)
	switch {
	case errors.Is(err, natsapi.ErrNoMessage):
		return r.damaged("part " + strconv.FormatUint(uint64(r.parts)+1, 10) + " of " + strconv.FormatUint(uint64(r.object.Chunks), 10) + " is missing; perhaps it was deleted meanwhile")
	case err != nil:
		return r.of.failed(r.ctx, r.what, err)
	}
	_, _ = r.digest.Write(part) // never fails
	r.parts, r.last, r.bytes = r.parts+1, at, r.bytes+uint64(len(part))
	if r.bytes > r.object.Size || r.parts == r.object.Chunks && !r.whole() {
		return r.damaged("it is not what was put")
	}
	r.part = part
	return nil
}

// whole reports whether what was read is what was put.
func (r *reader) whole() bool {
	return r.bytes == r.object.Size && jetstream.GetObjectDigestValue(r.digest) == r.object.Digest
}

func (r *reader) damaged(how string) error {
	return events.Errorf(projections.ErrSnapshotDamaged, "%s: %s", r.what, how).Hint("Delete it, and use another one.")
}

// readPart returns the first part of a subject from a sequence on. Any replica may answer, with the bytes as they are. What none says it has the leader is asked for: a replica may
// lag, and the settings may forbid such questions.
func (s *Snapshots) readPart(ctx context.Context, subject string, from uint64) (part []byte, at uint64, err error) {
	query := natsapi.Query{Sequence: from, NextOf: subject}
	text, err := json.Marshal(query)
	if err != nil {
		return nil, 0, err
	}
	m, _, err := s.link.Request(ctx, &nats.Msg{Subject: s.api.Prefix + "DIRECT.GET." + s.api.Stream, Data: text})
	switch {
	case err == nil && m.Header.Get("Nats-Subject") == subject:
		if at, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err == nil && at >= from {
			return m.Data, at, nil
		}
	case errors.Is(err, events.ErrUnauthorized):
		return nil, 0, err
	}
	stored, err := s.api.Message(ctx, query)
	if err != nil {
		return nil, 0, err
	}
	return stored.Data, stored.Sequence, nil
}
