package memstore

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// KV keeps the region's small values in memory. It is safe for concurrent use. A key that is not made of tokens of [a-z0-9-] joined by dots
// is projections.ErrInvalidKey.
type KV struct {
	Faults

	mu       sync.Mutex
	revision uint64
	entries  map[string]projections.Entry // deleted ones too, with a nil value
	changed  chan struct{}                // closed and replaced at every change
}

var _ projections.KV = (*KV)(nil)

// NewKV returns an empty KV.
func NewKV() *KV {
	return &KV{entries: make(map[string]projections.Entry), changed: make(chan struct{})}
}

// Get returns an entry.
func (k *KV) Get(ctx context.Context, key string) (projections.Entry, error) {
	before, after := k.call(ctx, OpKVGet, key)
	if before != nil {
		return projections.Entry{}, before
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.entries[key]
	if e.Value == nil {
		return projections.Entry{}, events.Errorf(projections.ErrNoKey, "there is no key %q", key)
	}
	return lose(copyOf(e), after)
}

// Put writes a value.
func (k *KV) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	before, after := k.call(ctx, OpKVPut, key)
	if before != nil {
		return 0, before
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.expect(key, revision); err != nil {
		return 0, err
	}
	return lose(k.set(key, append([]byte{}, value...)), after)
}

// Delete removes a key.
func (k *KV) Delete(ctx context.Context, key string, revision uint64) error {
	before, after := k.call(ctx, OpKVDelete, key)
	if before != nil {
		return before
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entries[key].Value == nil {
		return after
	}
	if err := k.expect(key, revision); err != nil {
		return err
	}
	k.set(key, nil)
	return after
}

func (k *KV) expect(key string, revision uint64) error {
	e := k.entries[key]
	if e.Value == nil {
		e.Revision = 0
	}
	if e.Revision != revision {
		return events.Errorf(projections.ErrRevision, "the key %q is at revision %d, expected %d; nothing was written", key, e.Revision, revision)
	}
	return nil
}

func (k *KV) set(key string, value []byte) uint64 {
	k.revision++
	k.entries[key] = projections.Entry{Key: key, Value: value, Revision: k.revision, Stored: time.Now()}
	close(k.changed)
	k.changed = make(chan struct{})
	return k.revision
}

// Watch yields the current entry and every change.
func (k *KV) Watch(ctx context.Context, key string) iter.Seq2[projections.Entry, error] {
	return func(yield func(projections.Entry, error) bool) {
		before, _ := k.call(ctx, OpKVWatch, key)
		if before != nil {
			if ctx.Err() == nil {
				yield(projections.Entry{}, before)
			}
			return
		}
		for first, last := true, uint64(0); ; first = false {
			e, changed := k.peek(key)
			now := e.Revision
			if e.Value == nil {
				e.Revision = 0 // so that it can be used for a Put
			}
			if (first || now != last) && !yield(e, nil) {
				return
			}
			last = now
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (k *KV) peek(key string) (projections.Entry, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := copyOf(k.entries[key])
	e.Key = key
	return e, k.changed
}

// Keys returns the keys with a prefix.
func (k *KV) Keys(ctx context.Context, prefix string) ([]string, error) {
	before, after := k.call(ctx, OpKVKeys, prefix)
	if before != nil {
		return nil, before
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var keys []string
	for key, e := range k.entries {
		if e.Value != nil && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return lose(keys, after)
}

// call enters a call; a context that ended is an unreachable log's kind of error here.
func (k *KV) call(ctx context.Context, op Op, key string) (before, after error) {
	before, after = k.enter(ctx, Call{Op: op, Key: key})
	if before == nil && op != OpKVKeys {
		before = validKey(key)
	}
	return reachable(before), reachable(after)
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

// reachable turns the store's code into the one that the ports of the region's key-value store name.
func reachable(err error) error {
	if e, ok := err.(*events.Error); ok && e.Code == projections.ErrStoreUnreachable { //nolint:errorlint // made by enter, never wrapped
		return &events.Error{Code: events.ErrUnreachable, What: e.What, Next: e.Next, Err: e.Err}
	}
	return err
}

func copyOf(e projections.Entry) projections.Entry {
	if e.Value != nil {
		e.Value = append([]byte{}, e.Value...)
	}
	return e
}
