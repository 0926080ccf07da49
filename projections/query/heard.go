package query

import (
	"fmt"
	"sync"
	"time"

	"tidemark.dev/projections"
)

// heard remembers when each projector was heard last, so that a process that looks again and again needs no other clock than its own: a status that is
// another one than at the last look was confirmed after that look.
//
// At the first look there is only the time at which the status was stored, by the clock of the key-value store, or by the projector's where that is
// not known. A clock that is ahead of ours cannot make a status look young for long: it ages from when we first saw it. One that is behind ours by more than
// projections.StatusSilence makes a live projector look silent at the first look, and not at the second, if that is soon.
type heard struct {
	mu   sync.Mutex
	last map[string]sound
}

// sound is one projector's last sign of life.
type sound struct {
	revision uint64    // of the status
	at       time.Time // when it was confirmed, by our clock
	looked   time.Time // when we looked last
}

// confirmed returns when the status in an entry was confirmed, by our clock.
func (h *heard) confirmed(projection string, e projections.Entry, said time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	last, known := h.last[projection]
	if !known || last.revision != e.Revision {
		at := said
		if !e.Stored.IsZero() {
			at = e.Stored
		}
		age := max(0, now.Sub(at))
		if at.IsZero() {
			age = 0 // nobody says
		}
		if known {
			age = min(age, now.Sub(last.looked))
		}
		last = sound{revision: e.Revision, at: now.Add(-age)}
	}
	last.looked = now
	h.last[projection] = last
	return last.at
}

// hear puts what the projector says into a model's status, or that it says nothing any more.
func (r *Reader) hear(s *ModelStatus, status *projections.Status, e projections.Entry) {
	if status.State == "" {
		return
	}
	s.Projector, s.Code, s.Message = status.State, status.Code, status.Message
	at := r.heard.confirmed(s.Name, e, status.Confirmed)
	if time.Since(at) <= projections.StatusSilence {
		return
	}
	at = at.UTC()
	s.Projector, s.SilentSince = projections.ProjectorSilent, &at
	last := string(status.State)
	if status.Message != "" {
		last += ": " + status.Message
	}
	s.Message = fmt.Sprintf("silent since %s (%s). Is it running, and does it reach its servers? The last it said was: %s",
		at.Format(time.RFC3339), status.Holder, last)
}
