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

	mu   sync.Mutex
	last projections.Status
}

// set publishes a state unless it is the one published last. A status that cannot be written is not worth failing for: the
// next change tries again, and the log has it.
func (w *statusWriter) set(ctx context.Context, state projections.ProjectorState, generation uint32, reason error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := projections.Status{
		Projection: w.def.Name, Definition: *w.def, State: state, Generation: generation, Holder: w.holder, Since: time.Now().UTC(),
	}
	if generation == 0 {
		next.Generation = w.last.Generation
	}
	if reason != nil {
		code, _ := events.CodeOf(reason)
		next.Code, next.Message = string(code), reason.Error()
	}
	if w.last.State == next.State && w.last.Code == next.Code && w.last.Generation == next.Generation {
		return
	}
	w.last = next
	level := slog.LevelInfo
	if reason != nil {
		level = slog.LevelWarn
	}
	w.log.Log(ctx, level, "projector "+string(state), "projection", w.def.Name, "generation", next.Generation, "reason", next.Message)
	const attempts = 3 // somebody else may write between reading and writing
	for range attempts {
		_, revision, err := projections.ReadJSON[projections.Status](ctx, w.kv, projections.StatusKey(w.def.Name))
		if err == nil {
			_, err = projections.WriteJSON(ctx, w.kv, projections.StatusKey(w.def.Name), next, revision)
		}
		if !errors.Is(err, projections.ErrRevision) {
			if err != nil {
				w.last = projections.Status{} // so that the next call tries again
			}
			return
		}
	}
}
