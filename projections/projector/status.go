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
	kv       projections.KV
	def      *projections.Definition
	holder   string
	log      *slog.Logger
	observer Observer

	mu      sync.Mutex
	lease   uint64 // the token of the lease held last
	now     projections.Status
	written bool // now is published, or a successor speaks for the projection
}

// own tells which lease was taken.
func (w *statusWriter) own(token uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lease = token
}

// set logs and publishes a state unless it is the one set last. Of one that stays for another reason the reason is published. A status that cannot be
// published is not worth failing for: it is tried again at the next call of set or publish, and the log has it.
func (w *statusWriter) set(ctx context.Context, state projections.ProjectorState, generation uint32, reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := projections.Status{
		Projection: w.def.Name, Definition: *w.def, State: state, Generation: generation, Holder: w.holder, Lease: w.lease, Since: time.Now().UTC(),
	}
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
		w.log.Log(ctx, level, "the projector's state changed", "state", string(state),
			"generation", next.Generation, "reason", next.Message)
		next.Confirmed = w.now.Confirmed
		w.now, w.written = next, false
		if w.observer != nil {
			w.observer.Changed(next)
		}
	} else if w.now.Lease != next.Lease || w.now.Message != next.Message {
		w.now.Lease, w.now.Message, w.written = next.Lease, next.Message, false
	}
	if time.Since(w.now.Confirmed) >= projections.StatusInterval {
		w.written = false
	}
	w.write(ctx)
}

// beat confirms the status each StatusInterval until ctx ends, so that readers can tell a projector that died from one that has nothing to say.
func (w *statusWriter) beat(ctx context.Context) {
	tick := time.NewTicker(projections.StatusInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.mu.Lock()
			w.written = false
			w.write(ctx)
			w.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// write publishes the status unless it is published, or a successor speaks.
func (w *statusWriter) write(ctx context.Context) {
	const attempts = 3 // somebody else may write between reading and writing
	for i := 0; i < attempts && !w.written && w.now.State != ""; i++ {
		stored, revision, err := projections.ReadJSON[projections.Status](ctx, w.kv, projections.StatusKey(w.def.Name))
		if err == nil && stored.Lease > w.now.Lease {
			w.written = true // a successor speaks for the projection now
			return
		}
		if err == nil {
			w.now.Confirmed = time.Now().UTC()
			_, err = projections.WriteJSON(ctx, w.kv, projections.StatusKey(w.def.Name), w.now, revision)
		}
		if w.written = err == nil; !w.written && !errors.Is(err, projections.ErrRevision) {
			return
		}
	}
}
