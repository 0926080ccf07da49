package memstore

import (
	"context"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Op names a method, so that a test fails exactly one kind of call.
type Op string

// The operations. OpCommit is one commit inside of an Apply.
const (
	OpHeaders  Op = "headers"
	OpClaim    Op = "claim"
	OpCreate   Op = "create"
	OpLoad     Op = "load"
	OpApply    Op = "apply"
	OpCommit   Op = "commit"
	OpMarks    Op = "marks"
	OpSetState Op = "set-state"
	OpGet      Op = "get"
	OpLookup   Op = "lookup"
	OpPage     Op = "page"
	OpFind     Op = "find"
	OpCount    Op = "count"
	OpChanges  Op = "changes"
	OpInspect  Op = "inspect"
	OpSizes    Op = "sizes"
	OpStrays   Op = "strays"
	OpDrop     Op = "drop"
	OpMemory   Op = "memory"

	OpSnapshotPut    Op = "snapshot-put"
	OpSnapshotList   Op = "snapshot-list"
	OpSnapshotOpen   Op = "snapshot-open"
	OpSnapshotDelete Op = "snapshot-delete"

	OpKVGet    Op = "kv-get"
	OpKVPut    Op = "kv-put"
	OpKVDelete Op = "kv-delete"
	OpKVWatch  Op = "kv-watch"
	OpKVKeys   Op = "kv-keys"

	OpAcquire Op = "acquire"
	OpRelease Op = "release"
)

// Call is one call of an operation, as far as it can be told: a field that means nothing to the operation is zero.
type Call struct {
	Op         Op
	Generation projections.Generation
	Partition  int
	Key        string // of the document, of the value, the name of the lease, or the id of the snapshot
}

// Fault makes a call fail.
type Fault struct {
	Op Op
	// Nth says which call fails, counted from the moment of Fail, from 1; 0 means every call.
	Nth int
	// After lets the call take effect and loses its answer.
	After bool
	// Match narrows the calls that count; nil means all of the operation.
	Match func(Call) bool
	// Err is what the call returns; nil means ErrStoreUnreachable.
	Err error
}

// Faults injects failures. It is part of Store, KV, Leases and Snapshots. Its methods may be called at any time.
type Faults struct {
	mu       sync.Mutex
	calls    map[Op]int
	armed    []*armed
	observer func(Call)
}

type armed struct {
	Fault
	seen int
}

// Fail arms a fault.
func (f *Faults) Fail(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = append(f.armed, &armed{Fault: x})
}

// Disarm forgets every fault.
func (f *Faults) Disarm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = nil
}

// Observe has fn called before every call takes effect, outside of all locks: it may block, to hold one caller back while another goes
// on. nil ends it.
func (f *Faults) Observe(fn func(Call)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observer = fn
}

// Calls returns how often an operation was called.
func (f *Faults) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// enter counts a call. It returns the error with which the call must end before its effect, and the one with which it must end after.
func (f *Faults) enter(ctx context.Context, c Call) (before, after error) {
	if fn := f.count(c, &before, &after); fn != nil {
		fn(c)
	}
	if before == nil && ctx.Err() != nil {
		before = events.Errorf(projections.ErrStoreUnreachable, "%s was not tried: %w", c.Op, context.Cause(ctx))
	}
	return before, after
}

func (f *Faults) count(c Call, before, after *error) func(Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = make(map[Op]int)
	}
	f.calls[c.Op]++
	for _, a := range f.armed {
		if a.Op != c.Op || a.Match != nil && !a.Match(c) {
			continue
		}
		a.seen++
		if a.Nth != 0 && a.Nth != a.seen {
			continue
		}
		if a.After {
			*after = a.err()
		} else {
			*before = a.err()
		}
	}
	return f.observer
}

func (a *armed) err() error {
	switch {
	case a.Err != nil:
		return a.Err
	case a.After:
		return events.Errorf(projections.ErrStoreUnreachable, "%s: the answer was lost, by a fault that a test injected", a.Op)
	default:
		return events.Errorf(projections.ErrStoreUnreachable, "%s was not executed, by a fault that a test injected", a.Op)
	}
}
