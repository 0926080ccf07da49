package query

import (
	"context"
	"sync"
	"time"

	"tidemark.dev/projections"
)

// waiting is who waits for a read model to move. Signals wake them; where there are none, or one is lost, they look again by themselves.
type waiting struct {
	signals projections.Signals // nil: there are none

	mu  sync.Mutex
	all map[string]map[*waiter]struct{} // by projection; one that is here is listened to
}

// waiter is one of them.
type waiter struct {
	at         *waiting
	projection string
	sequence   uint64 // it waits for a checkpoint there or later
	written    bool   // it waits for documents to change, not for checkpoints alone

	moved projections.PartitionSet // since it was asked last; guarded by at.mu
	took  projections.PartitionSet // what the last wait was told
	woken chan struct{}            // holds one
}

// join begins to listen, so that nothing that moves from now on is missed. A waiter that was made must leave.
func (w *waiting) join(projection string, sequence uint64) *waiter {
	x := &waiter{at: w, projection: projection, sequence: sequence, woken: make(chan struct{}, 1)}
	w.add(x)
	return x
}

// joinWriters begins to listen for changes of documents.
func (w *waiting) joinWriters(projection string) *waiter {
	x := &waiter{at: w, projection: projection, written: true, woken: make(chan struct{}, 1)}
	w.add(x)
	return x
}

func (w *waiting) add(x *waiter) {
	if w.signals == nil {
		return
	}
	w.mu.Lock()
	list, listening := w.all[x.projection]
	if !listening {
		if w.all == nil {
			w.all = make(map[string]map[*waiter]struct{})
		}
		list = make(map[*waiter]struct{})
		w.all[x.projection] = list
	}
	list[x] = struct{}{}
	w.mu.Unlock()
	if !listening {
		w.signals.Notices(x.projection, w.hear) // for as long as the reader lives
	}
}

func (w *waiting) leave(x *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all[x.projection], x)
}

// demand tells the projector what is waited for.
func (w *waiting) demand(d projections.Demand) {
	if w.signals != nil {
		w.signals.Demand(d)
	}
}

// hear wakes whom a notice is for.
func (w *waiting) hear(n projections.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for x := range w.all[n.Projection] {
		moved := n.Moved
		if x.written {
			moved = n.Written
		}
		if n.Sequence < x.sequence || moved.Empty() {
			continue
		}
		x.moved = x.moved.Union(moved)
		select {
		case x.woken <- struct{}{}:
		default: // it is awake
		}
	}
}

// taken returns the partitions that moved since it was called last.
func (x *waiter) taken() projections.PartitionSet {
	x.at.mu.Lock()
	defer x.at.mu.Unlock()
	moved := x.moved
	x.moved = projections.PartitionSet{}
	return moved
}

// wait returns nil once one of the partitions moved or d is over, or ctx's cause.
func (x *waiter) wait(ctx context.Context, partitions projections.PartitionSet, d time.Duration) error {
	x.took = projections.PartitionSet{}
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-x.woken:
			if x.took = x.taken(); x.took.Meets(partitions) {
				return nil
			}
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
