package natskv

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// lookAgain is how often a watch reads its key by itself, in case a notice was lost.
const lookAgain = 2 * time.Second

// KV implements projections.KV. A key that is not made of tokens of [a-z0-9-] joined by dots is projections.ErrInvalidKey.
type KV struct {
	bucket *bucket
}

var _ projections.KV = (*KV)(nil)

// Get returns an entry, or projections.ErrNoKey.
func (k *KV) Get(ctx context.Context, key string) (projections.Entry, error) {
	if err := validKey(key); err != nil {
		return projections.Entry{}, err
	}
	now, err := k.bucket.last(ctx, key)
	if err != nil {
		return projections.Entry{}, err
	}
	if now.value == nil {
		return projections.Entry{}, events.Errorf(projections.ErrNoKey, "the region has no value under %s", key)
	}
	return projections.Entry{Key: key, Value: now.value, Revision: now.revision, Stored: now.at}, nil
}

// Put writes value if the key is at revision.
func (k *KV) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := validKey(key); err != nil {
		return 0, err
	}
	if value == nil {
		value = []byte{}
	}
	if revision == 0 {
		next, _, err := k.bucket.create(ctx, key, value, 0)
		return next, err
	}
	return k.bucket.write(ctx, key, value, revision, 0)
}

// Delete removes the key if it is at revision.
func (k *KV) Delete(ctx context.Context, key string, revision uint64) error {
	if err := validKey(key); err != nil {
		return err
	}
	for {
		now, err := k.bucket.last(ctx, key)
		switch {
		case err != nil:
			return err
		case now.value == nil:
			return nil
		case now.revision != revision:
			return wrongRevision(key, revision)
		}
		if _, err = k.bucket.write(ctx, key, nil, revision, 0); !errors.Is(err, projections.ErrRevision) {
			return err
		}
		// It changed, or went, this very moment: look again.
	}
}

// Watch yields the current entry of the key, then the newest after every change. The Revision of an entry without a value is 0, so that
// it can be used for a Put. A server that is out of reach does not end it.
func (k *KV) Watch(ctx context.Context, key string) iter.Seq2[projections.Entry, error] {
	return func(yield func(projections.Entry, error) bool) {
		if err := validKey(key); err != nil {
			yield(projections.Entry{}, err)
			return
		}
		// The watcher would outlive an early return if it had only the caller's context.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		watcher, err := k.bucket.kv.Watch(ctx, key)
		if err != nil {
			if ctx.Err() == nil {
				yield(projections.Entry{}, k.bucket.failed(ctx, "watch "+key, err))
			}
			return
		}
		defer watcher.Stop() //nolint:errcheck // the consumer goes by itself
		w := &watch{kv: k, key: key, yield: yield}
		w.run(ctx, watcher.Updates())
	}
}

// watch is one Watch under way.
type watch struct {
	kv    *KV
	key   string
	yield func(projections.Entry, error) bool
	begun bool   // something was yielded
	there bool   // and it had a value
	at    uint64 // the revision that was yielded last, of a marker too
}

func (w *watch) run(ctx context.Context, updates <-chan jetstream.KeyValueEntry) {
	// The first entry comes from the leader: notices may come from a replica that does not know the newest yet.
	if !w.look(ctx) {
		return
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		var more bool
		select {
		case <-ctx.Done():
			return
		case e, open := <-updates:
			switch {
			case !open:
				if ctx.Err() == nil {
					w.yield(projections.Entry{}, unreachable("watch "+w.key, errors.New("the watch was closed")))
				}
				return
			case e == nil: // the initial values are through
				more = true
			default:
				more = w.show(storedOf(e))
			}
		case <-again.C:
			more = w.look(ctx)
		}
		if !more || ctx.Err() != nil {
			return
		}
	}
}

// look reads the key itself. A server that is out of reach is no change; a key that has run out by now is one.
func (w *watch) look(ctx context.Context) (more bool) {
	now, err := w.kv.bucket.last(ctx, w.key)
	return err != nil || w.show(now)
}

// show yields what is new, and reports whether to go on.
func (w *watch) show(now stored) bool {
	gone := w.there && now.revision == 0 // even its marker is gone
	if w.begun && now.revision <= w.at && !gone {
		return true
	}
	if w.begun && !w.there && now.value == nil {
		w.at = max(w.at, now.revision)
		return true // it was not there before either
	}
	w.begun, w.there, w.at = true, now.value != nil, max(w.at, now.revision)
	entry := projections.Entry{Key: w.key, Value: now.value}
	if w.there {
		entry.Revision = now.revision
	}
	return w.yield(entry, nil)
}

func storedOf(e jetstream.KeyValueEntry) stored {
	if e.Operation() != jetstream.KeyValuePut {
		return stored{revision: e.Revision()}
	}
	return stored{value: append([]byte{}, e.Value()...), revision: e.Revision()}
}

// Keys returns the keys with a prefix, sorted. The leases' keys are not among them.
func (k *KV) Keys(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lister, err := k.bucket.kv.ListKeys(ctx)
	if err != nil {
		return nil, k.bucket.failed(ctx, "list keys", err)
	}
	defer lister.Stop() //nolint:errcheck // the consumer goes by itself
	var keys []string
	for key := range lister.Keys() {
		if strings.HasPrefix(key, prefix) && !strings.HasPrefix(key, leasePrefix) {
			keys = append(keys, key)
		}
	}
	if ctx.Err() != nil {
		return nil, k.bucket.failed(ctx, "list keys", ctx.Err())
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}
