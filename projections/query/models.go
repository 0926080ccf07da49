package query

import (
	"context"
	"sync"
	"time"

	"tidemark.dev/projections"
)

// modelAge is how long a pointer is used without looking again. A reader that meets a retired or missing generation looks at once.
const modelAge = time.Second

// model is the live generation of a projection, and what its documents look like.
type model struct {
	gen projections.Generation
	def projections.Definition
	at  time.Time
}

// models remembers the live generations.
type models struct {
	kv    projections.KV
	mu    sync.Mutex
	known map[string]model
}

// get returns the live generation. With again it does not answer from memory.
func (m *models) get(ctx context.Context, name string, again bool) (model, error) {
	if !projections.ValidName(name) {
		return model{}, projections.UnknownProjection(name)
	}
	m.mu.Lock()
	found, ok := m.known[name]
	m.mu.Unlock()
	if ok && !again && time.Since(found.at) < modelAge {
		return found, nil
	}
	pointer, _, err := projections.ReadPointer(ctx, m.kv, name)
	if err != nil {
		return model{}, err
	}
	if pointer.Generation == 0 {
		return model{}, projections.UnknownProjection(name)
	}
	found = model{gen: pointer.Live(name), at: time.Now()}
	found.def = projections.Definition{Name: name, Version: pointer.Version, Fields: pointer.Fields}
	m.mu.Lock()
	m.known[name] = found
	m.mu.Unlock()
	return found, nil
}
