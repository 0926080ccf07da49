package query

import (
	"context"
	"sync"
	"time"

	"tidemark.dev/projections"
)

// modelAge is how long a pointer is used without looking again. A reader that meets a retired or missing generation looks at once.
const modelAge = time.Second

// model is the live generation of a projection, or a copy, and what its documents look like.
type model struct {
	gen projections.Generation
	def projections.Definition
	// copy is nil for the live generation, which has the copies that there are.
	copy   *projections.Copy
	copies []projections.Copy

	at     time.Time // when it was looked up
	failed time.Time // when it could not be looked up again, since then
	number uint64    // of the look
}

// models remembers the live generations, and the copies beside them.
type models struct {
	kv    projections.KV
	mu    sync.Mutex
	known map[string]model
	looks uint64
}

// get returns the live generation, or the copy of a name. With again it does not answer from memory, and it never says from memory that there is no such copy.
func (m *models) get(ctx context.Context, name, at string, again bool) (model, error) {
	live, err := m.live(ctx, name, again)
	if err != nil || at == "" {
		return live, err
	}
	if !projections.ValidCopyName(at) {
		return model{}, projections.UnknownCopy(name, at)
	}
	c, ok := live.copied(at)
	if !ok && !again {
		if live, err = m.live(ctx, name, true); err != nil {
			return model{}, err
		}
		c, ok = live.copied(at)
	}
	if !ok {
		return model{}, projections.UnknownCopy(name, at)
	}
	return c, nil
}

// live returns the live generation. With again it does not answer from memory.
func (m *models) live(ctx context.Context, name string, again bool) (model, error) {
	if !projections.ValidName(name) {
		return model{}, projections.UnknownProjection(name)
	}
	begun := time.Now()
	m.mu.Lock()
	found, ok := m.known[name]
	m.looks++
	number := m.looks
	m.mu.Unlock()
	known := ok && !again
	if known && (begun.Sub(found.at) < modelAge || begun.Sub(found.failed) < failedAge) {
		return found, nil
	}
	asking, cancel := ctx, context.CancelFunc(func() {})
	if known { // it can be done without, for a while
		asking, cancel = context.WithTimeout(ctx, askPatience)
	}
	pointer, _, err := projections.ReadPointer(asking, m.kv, name)
	cancel()
	if err != nil && known && ctx.Err() == nil {
		return m.keep(name), nil
	}
	if err != nil {
		return model{}, err
	}
	if pointer.Generation == 0 {
		return model{}, projections.UnknownProjection(name)
	}
	found = model{gen: pointer.Live(name), copies: pointer.Copies, at: begun, number: number}
	found.def = projections.Definition{Name: name, Version: pointer.Version, Fields: pointer.Fields, Indexes: pointer.Indexes, Source: pointer.Source}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := m.known[name]; ok && now.number > number {
		return now, nil // a look that began later was faster: what it saw is not taken back
	}
	m.known[name] = found
	return found, nil
}

// keep goes on with the generation that is known while the region's KV does not answer. Its header still decides: one that was replaced
// says so, and then the KV has to be asked.
func (m *models) keep(name string) model {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.known[name]
	found.failed = time.Now()
	m.known[name] = found
	return found
}
