package natskv

import (
	"context"
	"encoding/json"
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
// neither tells a refusal (10071) from "somebody else's write is under way" (10164), which a replicated bucket answers. How it reads depends on what
// the bucket's settings were when it was opened: with direct gets it asks any replica, also one that has not yet got what was written a moment ago, and it
// asks in vain, for ever, once they are switched off.

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

// streamName is the name of the stream that a bucket is.
func streamName(bucket string) string { return "KV_" + bucket }

// lastQuery asks for the last message of a subject.
type lastQuery struct {
	Subject string `json:"last_by_subj"`
}

// lastAnswer is the answer of the stream's leader.
type lastAnswer struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Sequence uint64    `json:"seq"`
		Headers  []byte    `json:"hdrs"`
		Data     []byte    `json:"data"`
		Time     time.Time `json:"time"`
	} `json:"message"`
}

// last returns the last message of a key, from the bucket's leader.
func (b *bucket) last(ctx context.Context, key string) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now, err := b.ask(ctx, b.subject(key))
	if err != nil {
		return stored{}, b.failed(ctx, "read "+key, err)
	}
	return now, nil
}

// ask asks the leader for the last message of a subject. It never asks for a direct get, which the settings may forbid.
func (b *bucket) ask(ctx context.Context, subject string) (stored, error) {
	request, err := json.Marshal(lastQuery{Subject: subject})
	if err != nil {
		return stored{}, err
	}
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+streamName(b.name), request)
	if err != nil {
		return stored{}, err
	}
	var a lastAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return stored{}, err
	}
	switch {
	case a.Error != nil && a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return stored{}, nil
	case a.Error != nil:
		return stored{}, a.Error
	case a.Message == nil:
		return stored{}, jetstream.ErrInvalidJetStreamResponse
	}
	if len(a.Message.Headers) > 0 {
		header, err := nats.DecodeHeadersMsg(a.Message.Headers)
		if err != nil {
			return stored{}, err
		}
		if header.Get(operationHeader) != "" || header.Get(jetstream.MarkerReasonHeader) != "" {
			return stored{revision: a.Message.Sequence}, nil
		}
	}
	return stored{value: append([]byte{}, a.Message.Data...), revision: a.Message.Sequence, at: a.Message.Time}, nil // an empty value is not nil
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
	if errors.Is(err, nats.ErrMaxPayload) {
		return events.Errorf(events.ErrTooLarge, "%s: the value is larger than the servers take; nothing was written", what)
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
	return errors.Is(last, nats.ErrPermissionViolation) && (strings.Contains(last.Error(), "KV."+name) || strings.Contains(last.Error(), streamName(name)))
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
