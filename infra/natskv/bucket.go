package natskv

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// The client's own reads and writes of a bucket are not used: its update drops a key's time to live, its delete leaves a marker for ever, and
// neither tells a refusal (10071) from "somebody else's write is under way" (10164), which a replicated bucket answers.

const (
	// requestTimeout bounds one request when the caller's context has no earlier deadline.
	requestTimeout = 5 * time.Second
	// undecidedWait is the pause before a write is tried again that met another one under way.
	undecidedWait = 5 * time.Millisecond
	// codeUndecided is the server's answer to such a write; nothing was stored.
	codeUndecided = jetstream.ErrorCode(10164)

	operationHeader = "KV-Operation"
	purgeOperation  = "PURGE"
)

// bucket is a key-value bucket as a stream with one message for each key.
type bucket struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	kv        jetstream.KeyValue // for watches and lists
	stream    jetstream.Stream
	name      string
	markerTTL time.Duration
}

// stored is the last message of a key. Without a value, it is the marker of a key that was deleted or ran out; at revision 0 there is none.
type stored struct {
	value    []byte
	revision uint64
	at       time.Time // when it was stored, by the server's clock
}

func (b *bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// last returns the last message of a key, from the bucket's leader.
func (b *bucket) last(ctx context.Context, key string) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := b.stream.GetLastMsgForSubject(ctx, b.subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, b.failed(ctx, "read "+key, err)
	}
	if m.Header.Get(operationHeader) != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "" {
		return stored{revision: m.Sequence}, nil
	}
	return stored{value: append([]byte{}, m.Data...), revision: m.Sequence, at: m.Time}, nil // an empty value is not nil
}

// write stores a value if the key's last message has a revision. With a time to live the key runs out by itself. A nil value removes the key.
// It returns projections.ErrRevision when the key is elsewhere, and events.ErrUnreachable when the outcome is not known.
func (b *bucket) write(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m := nats.NewMsg(b.subject(key))
	m.Data = value
	if value == nil {
		m.Header.Set(operationHeader, purgeOperation)
		m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		ttl = b.markerTTL // markers of keys that will never be used again should not pile up
	}
	if ttl > 0 {
		m.Header.Set(jetstream.MsgTTLHeader, ttl.String())
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	for {
		ack, err := b.js.PublishMsg(ctx, m)
		api, answered := errors.AsType[*jetstream.APIError](err)
		switch {
		case err == nil:
			return ack.Sequence, nil
		case answered && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
			return 0, wrongRevision(key, revision)
		case answered && api.ErrorCode == codeUndecided && wait(ctx, undecidedWait):
			continue
		}
		return 0, b.failed(ctx, "write "+key, err)
	}
}

// create stores a value under a key that does not exist. It returns projections.ErrRevision, and what it found, when it does.
func (b *bucket) create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, stored, error) {
	var found stored
	for {
		revision, err := b.write(ctx, key, value, found.revision, ttl)
		if !errors.Is(err, projections.ErrRevision) {
			return revision, stored{}, err
		}
		now, readErr := b.last(ctx, key)
		switch {
		case readErr != nil:
			return 0, stored{}, readErr
		case now.value != nil:
			return 0, now, err
		}
		found = now // the marker of a key that is gone has a revision of its own
	}
}

// wait reports whether the time went by before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func wrongRevision(key string, revision uint64) error {
	return events.Errorf(projections.ErrRevision, "%s is not at revision %d; nothing was written", key, revision)
}

// failed turns a client's error into one with a code.
func (b *bucket) failed(ctx context.Context, what string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return events.Errorf(events.ErrUnreachable, "%s: %w", what, context.Cause(ctx))
	}
	if forbidden(b.nc, b.name, err) {
		return events.Errorf(events.ErrUnauthorized, "%s: the NATS user has no right to use the bucket %s: %w", what, b.name, err).
			Hint("Compare the user's permissions with those in infra/natskv/README.md.")
	}
	return unreachable(what, err)
}

func unreachable(what string, err error) error {
	return events.Errorf(events.ErrUnreachable, "%s: %w", what, err).Hint("Is NATS reachable, and does JetStream have a leader?")
}

// forbidden reports whether a request failed for want of a right. The server answers such a request to the connection, not to who asked.
func forbidden(nc *nats.Conn, name string, err error) bool {
	if errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrAuthorization) {
		return true
	}
	last := nc.LastError()
	return errors.Is(last, nats.ErrPermissionViolation) && (strings.Contains(last.Error(), "KV."+name) || strings.Contains(last.Error(), "KV_"+name))
}

// validKey returns projections.ErrInvalidKey unless key is tokens of [a-z0-9-] joined by dots.
func validKey(key string) error {
	for token := range strings.SplitSeq(key, ".") {
		if token == "" || strings.Trim(token, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return events.Errorf(projections.ErrInvalidKey, "the key %q is not made of a-z 0-9 - and dots between them", key)
		}
	}
	return nil
}
