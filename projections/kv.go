package projections

import (
	"context"
	"iter"
	"time"
)

// Entry is a value of the region's key-value store at a revision.
type Entry struct {
	Key      string
	Value    []byte // nil when the key was deleted
	Revision uint64
	// Stored is when the value was written, by the store's clock; zero when the store does not say. Get fills it in, others may not.
	Stored time.Time
}

// KV is the region's small consistent store: which generation is live, which replay runs, how each projector does. It is not part of the
// read model's store, because a pointer kept there would go back in time together with it. Keys are tokens of [a-z0-9-] joined by dots.
//
// Every method may return events.ErrUnreachable.
type KV interface {
	// Get returns an entry, or ErrNoKey.
	Get(ctx context.Context, key string) (Entry, error)
	// Put writes value if the key is at revision (0: it does not exist) and returns the new revision, or ErrRevision.
	Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes the key if it is at revision, or returns ErrRevision. Deleting what is not there is no error.
	Delete(ctx context.Context, key string, revision uint64) error
	// Watch yields the current entry of the key (a zero-valued Value when it does not exist), then every change, until ctx ends.
	// Changes may be merged: the newest is always yielded.
	Watch(ctx context.Context, key string) iter.Seq2[Entry, error]
	// Keys returns the keys with a prefix, sorted.
	Keys(ctx context.Context, prefix string) ([]string, error)
}

// Leases hands out exclusive ownership with a fencing token.
type Leases interface {
	// Acquire waits until name is free, or ctx ends, and takes it. holder is shown to whoever waits.
	Acquire(ctx context.Context, name, holder string) (Lease, error)
}

// Lease is exclusive ownership of a name until it is lost or released.
type Lease interface {
	// Token is larger than the token of every earlier lease of the name.
	Token() uint64
	// Context ends when the lease is lost, with the cause ErrLeaseLost, or when it is released.
	Context() context.Context
	// Release gives the name free at once.
	Release(ctx context.Context) error
}
