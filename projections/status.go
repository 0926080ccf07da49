package projections

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tidemark.dev/events"
)

// ProjectorState is what a projector says about a projection.
type ProjectorState string

// The states of a projector.
const (
	ProjectorStarting  ProjectorState = "starting"
	ProjectorFollowing ProjectorState = "following"
	ProjectorWaiting   ProjectorState = "waiting" // for a server to answer
	ProjectorRefused   ProjectorState = "refused" // it will not go on; Message says why and what to do
	ProjectorPaused    ProjectorState = "paused"  // the catalog says that nothing is to be folded
	// ProjectorSilent is never said by a projector: readers say it of one that has not confirmed its status for StatusSilence.
	ProjectorSilent ProjectorState = "silent"
)

const (
	// StatusInterval is how often a projector confirms its status while nothing changes: one small write.
	StatusInterval = 5 * time.Second
	// StatusSilence is how old a confirmation may be: three are missing, and the last of them had five seconds to arrive.
	StatusSilence = 4 * StatusInterval
)

// Status is what the projector that owns a projection says about itself, in the region's KV under StatusKey: at each change, and again
// each StatusInterval.
type Status struct {
	Projection string         `json:"projection"`
	Definition Definition     `json:"definition"`
	State      ProjectorState `json:"state"`
	Generation uint32         `json:"generation"`
	Holder     string         `json:"holder"`
	Code       string         `json:"code,omitempty"`
	Message    string         `json:"message,omitempty"`
	Since      time.Time      `json:"since"`
	// Confirmed is when it was said last, by the projector's clock.
	Confirmed time.Time `json:"confirmed"`
	// Lease is the fencing token of the lease under which it was said: whoever lost its lease does not speak over its successor.
	Lease uint64 `json:"lease"`
}

// StatusKey is the key of a projection's status.
func StatusKey(projection string) string { return "status." + projection }

// ReadStatus returns what a projection's projector said last, and the entry it is in: both zero when it never said anything.
func ReadStatus(ctx context.Context, kv KV, projection string) (Status, Entry, error) {
	var s Status
	e, err := kv.Get(ctx, StatusKey(projection))
	if errors.Is(err, ErrNoKey) {
		return s, Entry{}, nil
	}
	if err != nil {
		return s, Entry{}, err
	}
	if err := json.Unmarshal(e.Value, &s); err != nil {
		return s, e, events.Errorf(ErrUnavailable, "the record %s of this region cannot be read: %w", e.Key, err)
	}
	return s, e, nil
}
