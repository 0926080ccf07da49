package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// maxStoredBytes bounds the repairs of a plan that is kept: what one value of a region's KV takes, with room.
	maxStoredBytes = 512 << 10
	// storeTries bounds how often a plan is written again because somebody else wrote one at that moment.
	storeTries = 5
)

// ErrUnknownPlan says that a region keeps no plan of an id: there was none, or a later one of the same projection took its place.
const ErrUnknownPlan = events.Code("unknown-plan")

// Stored is a plan that a region keeps in its KV under projections.PlanKey, so that it can be looked at and carried out later, by its id. A region keeps the last one of each projection.
type Stored struct {
	ID   string    `json:"id"`
	Made time.Time `json:"made"`
	// Digest is the same for the same findings, whenever they are found.
	Digest string `json:"findings_digest"`
	// Share is that beyond which a rebuild was to be asked for.
	Share float64 `json:"share"`
	Plan  Plan    `json:"plan"`
	// Left is how many of the plan's documents are not in what is kept of it, because it would be too large. The plan is carried out without them, and looking again finds them.
	Left int `json:"left,omitempty"`
}

// Store keeps the plan of a report in the region's KV, in place of the one before.
func (r *Report) Store(ctx context.Context, kv projections.KV, p Plan, share float64, now time.Time) (Stored, error) {
	s := Stored{ID: events.NewID(), Made: now.UTC(), Digest: r.digest(), Share: share, Plan: p}
	if err := s.fit(); err != nil {
		return Stored{}, err
	}
	var err error
	for range storeTries {
		var revision uint64
		if _, revision, err = projections.ReadJSON[json.RawMessage](ctx, kv, projections.PlanKey(p.Projection)); err != nil {
			return Stored{}, err
		}
		if _, err = projections.WriteJSON(ctx, kv, projections.PlanKey(p.Projection), s, revision); !errors.Is(err, projections.ErrRevision) {
			break
		}
	}
	return s, err
}

// fit leaves those repairs out of what is kept that would make it too large. At least one stays.
func (s *Stored) fit() error {
	size, kept := 0, len(s.Plan.Repairs)
	for i := range s.Plan.Repairs {
		text, err := json.Marshal(&s.Plan.Repairs[i])
		if err != nil {
			return err
		}
		if size += len(text); i > 0 && size > maxStoredBytes {
			kept = i
			break
		}
	}
	named := 0
	for i := range kept {
		named += len(s.Plan.Repairs[i].Documents)
	}
	s.Plan.Repairs = s.Plan.Repairs[:kept]
	if len(s.Plan.Repairs) > 0 {
		s.Left = s.Plan.Documents - named
	}
	return nil
}

// digest returns the same for the same findings. When they were found, and at which position, is not in it.
func (r *Report) digest() string {
	h := sha256.New()
	w := json.NewEncoder(h)
	for i := range r.Findings {
		f := r.Findings[i] // a copy
		f.Detected, f.Position, f.Fields, f.LastGood = time.Time{}, "", nil, 0
		_ = w.Encode(&f) // a hash takes everything
	}
	_ = w.Encode([]any{r.More, r.Recount})
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// ReadStored returns the plan that a region keeps of an id, of whatever projection, or ErrUnknownPlan.
func ReadStored(ctx context.Context, kv projections.KV, id string) (Stored, error) {
	keys, err := kv.Keys(ctx, projections.PlanKey(""))
	if err != nil {
		return Stored{}, err
	}
	for _, key := range keys {
		s, _, err := projections.ReadJSON[Stored](ctx, kv, key)
		switch {
		case err != nil:
			return Stored{}, err
		case id != "" && s.ID == id && s.Plan.Projection == strings.TrimPrefix(key, projections.PlanKey("")):
			return s, nil
		}
	}
	return Stored{}, events.Errorf(ErrUnknownPlan, "there is no plan %q; nothing was changed", id).
		Hint("Only the last plan of each projection is kept, where it was made. tidemark repair --dry-run makes a new one.")
}
