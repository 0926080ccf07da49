package projections

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
)

// ReplayState is how far a replay is.
type ReplayState string

// The states of a replay.
const (
	ReplayRequested ReplayState = "requested"
	ReplayBuilding  ReplayState = "building"  // the new generation follows the log beside the live one
	ReplaySwitching ReplayState = "switching" // the live one stands still while the new one reaches the same position
	ReplayDone      ReplayState = "done"
	ReplayFailed    ReplayState = "failed"
)

// Replay is a job: build a new generation of a projection from the log and make it live. It is kept in the region's KV
// under ReplayKey, requested by anybody, executed by the projector that owns the projection, and goes on after a crash of either.
type Replay struct {
	ID         string      `json:"id"`
	Projection string      `json:"projection"`
	State      ReplayState `json:"state"`
	Reason     string      `json:"reason"`
	Generation uint32      `json:"generation,omitempty"` // the new one
	// Partitions and Definition (a fingerprint) of the new generation: one that was begun with others cannot be continued.
	Partitions int        `json:"partitions,omitempty"`
	Definition string     `json:"definition,omitempty"`
	Sequence   uint64     `json:"sequence"` // applied so far
	Head       uint64     `json:"head"`     // of the log when last looked
	Documents  uint64     `json:"documents"`
	Requested  time.Time  `json:"requested"`
	Finished   *time.Time `json:"finished,omitempty"`
	Position   string     `json:"position,omitempty"` // at which the generations were compared and switched
	Digest     string     `json:"digest,omitempty"`   // of the new generation at Position
	// Compared says whether the old generation stood at Position with the same definition; Equal whether its digest was the same.
	Compared bool   `json:"compared"`
	Equal    bool   `json:"equal"`
	Code     string `json:"code,omitempty"`    // of the error, when failed
	Message  string `json:"message,omitempty"` // what happened, when failed
}

// ReplayKey is the key of a projection's replay: the running one, or the last.
func ReplayKey(projection string) string { return "replay." + projection }

// Running reports whether the replay has not ended yet.
func (r *Replay) Running() bool {
	return r.State == ReplayRequested || r.State == ReplayBuilding || r.State == ReplaySwitching
}

// RequestReplay asks for a replay from the start. It returns ErrReplayRunning when one has not ended, and ErrUnknownProjection when the
// region has no such projection.
func RequestReplay(ctx context.Context, kv KV, projection, reason string, now time.Time) (Replay, error) {
	pointer, _, err := ReadPointer(ctx, kv, projection)
	if err != nil {
		return Replay{}, err
	}
	if pointer.Generation == 0 {
		return Replay{}, UnknownProjection(projection)
	}
	last, revision, err := ReadJSON[Replay](ctx, kv, ReplayKey(projection))
	if err != nil {
		return Replay{}, err
	}
	if last.Running() {
		return last, replayRunning(last)
	}
	job := Replay{ID: events.NewID(), Projection: projection, State: ReplayRequested, Reason: reason, Requested: now.UTC()}
	if _, err := WriteJSON(ctx, kv, ReplayKey(projection), job, revision); errors.Is(err, ErrRevision) {
		return Replay{}, replayRunning(Replay{Projection: projection, ID: "just requested"})
	} else if err != nil {
		return Replay{}, err
	}
	return job, nil
}

func replayRunning(r Replay) error {
	return events.Errorf(ErrReplayRunning, "a replay of %s is running (%s); no other was started", r.Projection, r.ID).
		Hint("Wait for it: tidemark status shows its progress.")
}

// UnknownProjection is the error of a name that no projection in the region has.
func UnknownProjection(name string) error {
	if len(name) > maxName {
		name = name[:maxName] + "…"
	}
	return events.Errorf(ErrUnknownProjection, "this region has no projection %q", name).Hint("tidemark status lists the projections.")
}
