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
const lookAgain = 5 * time.Second

// KV implements projections.KV.
type KV struct {
	bucket jetstream.KeyValue
}

// Get returns an entry, or projections.ErrNoKey.
func (k *KV) Get(ctx context.Context, key string) (projections.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	e, err := k.bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return projections.Entry{}, events.Errorf(projections.ErrNoKey, "the region has no value under %s", key)
	}
	if err != nil {
		return projections.Entry{}, failed("read "+key, err)
	}
	return projections.Entry{Key: key, Value: e.Value(), Revision: e.Revision()}, nil
}

// Put writes value if the key is at revision.
func (k *KV) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var next uint64
	var err error
	if revision == 0 {
		next, err = k.bucket.Create(ctx, key, value)
	} else {
		next, err = k.bucket.Update(ctx, key, value, revision)
	}
	if moved(err) {
		return 0, wrongRevision(key, revision)
	}
	if err != nil {
		return 0, failed("write "+key, err)
	}
	return next, nil
}

// Delete removes the key if it is at revision.
func (k *KV) Delete(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	e, err := k.Get(ctx, key)
	switch {
	case errors.Is(err, projections.ErrNoKey):
		return nil
	case err != nil:
		return err
	case e.Revision != revision:
		return wrongRevision(key, revision)
	}
	err = k.bucket.Delete(ctx, key, jetstream.LastRevision(revision))
	if moved(err) {
		return wrongRevision(key, revision)
	}
	if err != nil {
		return failed("delete "+key, err)
	}
	return nil
}

// moved reports whether a write was refused because the key is at another revision.
func moved(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

func wrongRevision(key string, revision uint64) error {
	return events.Errorf(projections.ErrRevision, "%s is not at revision %d any more; nothing was written", key, revision)
}

// Watch yields the current entry of the key, then the newest after every change.
func (k *KV) Watch(ctx context.Context, key string) iter.Seq2[projections.Entry, error] {
	return func(yield func(projections.Entry, error) bool) {
		watcher, err := k.bucket.Watch(ctx, key)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			} else {
				err = failed("watch "+key, err)
			}
			yield(projections.Entry{}, err)
			return
		}
		defer watcher.Stop() //nolint:errcheck // the consumer goes by itself
		again := time.NewTicker(lookAgain)
		defer again.Stop()
		current, seen := projections.Entry{Key: key}, false
		for {
			before := current.Revision
			select {
			case <-ctx.Done():
				yield(projections.Entry{}, context.Cause(ctx))
				return
			case e, open := <-watcher.Updates():
				switch {
				case !open:
					yield(projections.Entry{}, failed("watch "+key, errors.New("the watch was closed")))
					return
				case e == nil: // the initial values are through
					if seen {
						continue
					}
				case e.Revision() <= before:
					continue
				default:
					current = entryOf(key, e)
				}
			case <-again.C:
				e, err := k.Get(ctx, key)
				if err != nil || e.Revision <= before {
					continue // a missing key, or one that cannot be read, is what the watch itself reports
				}
				current = e
			}
			seen = true
			if !yield(current, nil) {
				return
			}
		}
	}
}

func entryOf(key string, e jetstream.KeyValueEntry) projections.Entry {
	out := projections.Entry{Key: key, Revision: e.Revision()}
	if e.Operation() == jetstream.KeyValuePut {
		out.Value = e.Value()
	}
	return out
}

// Keys returns the keys with a prefix, sorted.
func (k *KV) Keys(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	lister, err := k.bucket.ListKeys(ctx)
	if err != nil {
		return nil, failed("list keys", err)
	}
	defer lister.Stop() //nolint:errcheck // the consumer goes by itself
	var keys []string
	for key := range lister.Keys() {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	if ctx.Err() != nil {
		return nil, failed("list keys", ctx.Err())
	}
	slices.Sort(keys)
	return keys, nil
}
