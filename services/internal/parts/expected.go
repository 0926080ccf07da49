package parts

import (
	"context"
	"maps"
	"slices"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/query"
)

// Expected says which read models must be live for queries to be ready: those that are compiled in, those that the catalog had when it was looked at first, and each
// that was live once. One that is applied later is no reason to take the service out of work while it is built; nor is one that is paused, or that no
// program here can run and that was never built.
type Expected struct {
	log events.Reader

	mu    sync.Mutex
	begun bool // the catalog was there once
	names map[string]bool
}

// NewExpected returns the Expected of a region.
func NewExpected(r *region.Region, own []projections.Projection) *Expected {
	return newExpected(r.Log(), own)
}

func newExpected(log events.Reader, own []projections.Projection) *Expected {
	e := &Expected{log: log, names: make(map[string]bool, len(own))}
	for _, p := range own {
		e.names[p.Definition().Name] = true
	}
	return e
}

// Names returns them, sorted, of what the region knows now.
func (e *Expected) Names(ctx context.Context, o *query.Overview) []string {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	c, err := catalog.Read(ctx, e.log)
	e.mu.Lock()
	defer e.mu.Unlock()
	known := err == nil && c.Sequence != 0
	for i := range c.Entries {
		if known && !e.begun {
			e.names[c.Entries[i].Name] = true
		}
	}
	e.begun = e.begun || known
	for i := range o.Projections {
		if m := &o.Projections[i]; m.State == string(projections.Live) {
			e.names[m.Name] = true
		}
	}
	now := maps.Clone(e.names)
	for i := range c.Entries {
		switch entry := &c.Entries[i]; entry.State {
		case catalog.Removed:
			delete(e.names, entry.Name)
			delete(now, entry.Name)
		case catalog.Paused:
			delete(now, entry.Name)
		case catalog.Active:
		}
	}
	for i := range o.Projections {
		if m := &o.Projections[i]; m.Generation == 0 && m.Projector == projections.ProjectorRefused {
			delete(now, m.Name)
		}
	}
	return slices.Sorted(maps.Keys(now))
}
