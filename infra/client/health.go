package client

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// backOffFrom and backOffTo bound how long a region that did not answer is not tried again.
	backOffFrom = 250 * time.Millisecond
	backOffTo   = 5 * time.Second
	// maxAilments bounds what is remembered; beyond it a region is tried as if it were well.
	maxAilments = 1_024
)

// health remembers which regions do not answer, so that others are asked first.
type health struct {
	mu  sync.Mutex
	bad map[ailment]*illness
}

// ailment is what is wrong where: a projection that a region cannot answer about, or, without one, the region itself.
type ailment struct{ region, projection string }

type illness struct {
	failures int
	until    time.Time // when it is looked at again
	looking  bool      // somebody looks
}

func newHealth() *health { return &health{bad: map[ailment]*illness{}} }

// well reports whether a region is expected to answer about a projection.
func (h *health) well(region, projection string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bad[ailment{region, projection}] == nil && h.bad[ailment{region, ""}] == nil
}

// failed takes note of a region that did not answer. It reports whether it had before.
func (h *health) failed(a ailment) (fell bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.bad[a]
	if i == nil {
		if len(h.bad) >= maxAilments {
			return false
		}
		i = &illness{}
		h.bad[a] = i
	}
	if now := time.Now(); !now.Before(i.until) { // of many that fail at once, one counts
		d := min(backOffFrom<<min(i.failures, 8), backOffTo)
		i.failures++
		i.until = now.Add(d/2 + rand.N(d/2)) //nolint:gosec // a jitter needs no secrecy
	}
	return i.failures == 1
}

// answered takes note of a region that answers about a projection. It reports whether it had not before.
func (h *health) answered(region, projection string) (recovered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range [...]ailment{{region, projection}, {region, ""}} {
		if h.bad[a] != nil {
			delete(h.bad, a)
			recovered = true
		}
	}
	return recovered
}

// look reports whether it is time to look at a region again. Whoever is told so looks, and says looked afterwards.
func (h *health) look(region, projection string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, due := time.Now(), false
	var all []*illness
	for _, a := range [...]ailment{{region, projection}, {region, ""}} {
		if i := h.bad[a]; i != nil {
			if i.looking || now.Before(i.until) {
				return false
			}
			all, due = append(all, i), true
		}
	}
	for _, i := range all {
		i.looking = true
	}
	return due
}

// looked ends a look.
func (h *health) looked(region, projection string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range [...]ailment{{region, projection}, {region, ""}} {
		if i := h.bad[a]; i != nil {
			i.looking = false
		}
	}
}
