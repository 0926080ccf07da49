package query

import (
	"context"
	"sync"
	"time"

	"tidemark.dev/events"
)

// headAge is how long a known head is used without asking the log again.
const headAge = 250 * time.Millisecond

// Heads knows how far the region's log has come. It asks at most a few times a second, however many queries there are.
type Heads struct {
	log events.Reader

	mu   sync.Mutex
	info events.Info
	err  error     // of the last attempt
	last time.Time // the last attempt
}

// NewHeads returns a Heads of a log.
func NewHeads(log events.Reader) *Heads { return &Heads{log: log} }

// Info returns the log's identity and head, at most headAge old.
func (h *Heads) Info(ctx context.Context) (events.Info, error) {
	h.mu.Lock()
	defer h.mu.Unlock() // one question at a time: the others wait for its answer
	if time.Since(h.last) < headAge {
		return h.info, h.err
	}
	return h.ask(ctx)
}

func (h *Heads) ask(ctx context.Context) (events.Info, error) {
	info, err := h.log.Info(ctx)
	if ctx.Err() != nil {
		return info, context.Cause(ctx) // says nothing about the log
	}
	h.last, h.err = time.Now(), err
	if err == nil {
		h.info = info
	}
	return info, err
}

// Fresh returns the log's history and head as they are now.
func (h *Heads) Fresh(ctx context.Context) (events.Histories, events.Position, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := h.ask(ctx)
	if err != nil {
		return nil, events.Position{}, err
	}
	return events.Histories{info.Origin: info.Terms}, info.Head(), nil
}

// Lag returns how far a checkpoint is behind the head, or nil when the log does not say.
func (h *Heads) Lag(ctx context.Context, checkpoint events.Position) *Lag {
	info, err := h.Info(ctx)
	if err != nil {
		return nil
	}
	point, ok := checkpoint.Point(info.Origin)
	if !ok || point.Lineage != info.Terms.Lineage {
		return nil
	}
	return &Lag{Events: max(info.Last, point.Sequence) - point.Sequence}
}

// Contains returns ErrForeignHistory when the checkpoint of a read model is not on the log's history. When the log does not answer
// it returns nil, nil: an old answer with its position is still a true one.
func (h *Heads) Contains(ctx context.Context, checkpoint events.Position) (events.Histories, error) {
	info, err := h.Info(ctx)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // unknown is not foreign
	}
	histories := events.Histories{info.Origin: info.Terms}
	covers := histories.Covers(info.Head(), checkpoint)
	if covers == events.No { // the known head may be older than the checkpoint
		fresh, head, err := h.Fresh(ctx)
		if err != nil {
			return nil, nil //nolint:nilerr,nilnil // unknown is not foreign
		}
		histories, covers = fresh, fresh.Covers(head, checkpoint)
	}
	if covers != events.Yes {
		return nil, events.Errorf(events.ErrForeignHistory, "the read model is at %s, which is not on the log's history", checkpoint).
			Hint("The log was recreated or truncated. tidemark status says what the projector found.")
	}
	return histories, nil
}
