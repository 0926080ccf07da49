package projector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// statusWriter publishes what the projector does, and logs it, at each change.
type statusWriter struct {
	kv     projections.KV
	def    *projections.Definition
	holder string
	log    *slog.Logger

	mu      sync.Mutex
	lease   uint64 // the token of the lease held last
	now     leasedStatus
	written bool // now is published
}

// leasedStatus is a status with the lease under which it was true, so that a projector that lost its lease does not overwrite what its
// successor says.
type leasedStatus struct {
	projections.Status
	Lease uint64 `json:"lease"`
}

// own tells which lease was taken.
func (w *statusWriter) own(token uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lease = token
}

// set logs and publishes a state unless it is the one set last. A status that cannot be published is not worth failing for: it is
// tried again at the next call of set or publish, and the log has it.
func (w *statusWriter) set(ctx context.Context, state projections.ProjectorState, generation uint32, reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := leasedStatus{Lease: w.lease, Status: projections.Status{
		Projection: w.def.Name, Definition: *w.def, State: state, Generation: generation, Holder: w.holder, Since: time.Now().UTC(),
	}}
	if generation == 0 {
		next.Generation = w.now.Generation
	}
	if reason != nil {
		code, _ := events.CodeOf(reason)
		next.Code, next.Message = string(code), reason.Error()
	}
	if w.now.State != next.State || w.now.Code != next.Code || w.now.Generation != next.Generation {
		level := slog.LevelInfo
		if reason != nil {
			level = slog.LevelWarn
		}
		w.log.Log(ctx, level, "the projector's state changed", "projection", w.def.Name, "state", string(state),
			"generation", next.Generation, "reason", next.Message)
		w.now, w.written = next, false
	} else if w.now.Lease != next.Lease {
		w.now.Lease, w.written = next.Lease, false
	}
	w.write(ctx)
}

// publish tries again what could not be published.
func (w *statusWriter) publish(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(ctx)
}

func (w *statusWriter) write(ctx context.Context) {
	const attempts = 3 // somebody else may write between reading and writing
	for i := 0; i < attempts && !w.written && w.now.State != ""; i++ {
		stored, revision, err := projections.ReadJSON[leasedStatus](ctx, w.kv, projections.StatusKey(w.def.Name))
		if err == nil && stored.Lease > w.now.Lease {
			w.written = true // a successor speaks for the projection now
			return
		}
		if err == nil {
			_, err = projections.WriteJSON(ctx, w.kv, projections.StatusKey(w.def.Name), w.now, revision)
		}
		if w.written = err == nil; !w.written && !errors.Is(err, projections.ErrRevision) {
			return
		}
	}
}
