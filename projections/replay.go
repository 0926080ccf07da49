package projections

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidemark.dev/events"
)

// ReplayState is how far a replay is.
type ReplayState string

// The states of a replay.
const (
	ReplayRequested ReplayState = "requested"
	ReplayBuilding  ReplayState = "building"  // the new generation follows the log beside the live one
	ReplayComparing ReplayState = "comparing" // what was built is compared with what others have
	ReplaySwitching ReplayState = "switching" // the live one stands still while the new one reaches the same position
	ReplayDone      ReplayState = "done"
	ReplayFailed    ReplayState = "failed"
	ReplayCancelled ReplayState = "cancelled"
)

// ReplayKind is what a replay is for.
type ReplayKind string

// The kinds of a replay.
const (
	ReplayModel    ReplayKind = ""         // the read model is built anew and takes the place of the live one
	ReplayCopy     ReplayKind = "copy"     // the read model as it was at a position is built beside the live one, under a name
	ReplayRollback ReplayKind = "rollback" // the generation before takes the place of the live one
	ReplayDrop     ReplayKind = "drop"     // a copy is dropped, or, without a name, the generation before
)

// Strategy is how a replay comes to its read model.
type Strategy string

// The strategies.
const (
	StrategyWhole    Strategy = "whole"    // every record is folded
	StrategySnapshot Strategy = "snapshot" // a snapshot is loaded, and the records behind it are folded
	StrategyRefold   Strategy = "refold"   // the documents that records are about since an offset are folded again, in the live generation
	StrategyKept     Strategy = "kept"     // a generation that is there already takes over
	StrategyDrop     Strategy = "drop"     // nothing is built
)

// ReplayRequest says what a replay is to do. The zero value builds the read model anew from the first record.
type ReplayRequest struct {
	Kind   ReplayKind `json:"kind,omitempty"`
	Reason string     `json:"reason"`
	// From is the first sequence that is not trusted: what the read model was before it is taken from a snapshot, or from the documents that are stored. 0 and 1: nothing is trusted.
	From uint64 `json:"from,omitempty"`
	// Rate bounds the records read in each second; 0: as many as it can.
	Rate int `json:"rate,omitempty"`
	// RequireEqual: nothing is switched unless the new generation was proven equal.
	RequireEqual bool `json:"require_equal,omitempty"`
	// To is the position of a copy, and As its name.
	To string `json:"to,omitempty"`
	As string `json:"as,omitempty"`
	// Until is when a copy is dropped; nil: never.
	Until *time.Time `json:"until,omitempty"`
}

// ReplayPlan is how a replay comes to its read model, and what that costs; all but the strategy are estimates.
type ReplayPlan struct {
	Strategy Strategy `json:"strategy"`
	// Why this one, as a sentence.
	Why string `json:"why"`
	// Snapshot is the id of the one that is loaded, and Region where it was taken.
	Snapshot string `json:"snapshot,omitempty"`
	Region   string `json:"snapshot_region,omitempty"`
	// First and Last are the sequences that are read.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Records is how many are read, and Bytes how many bytes of the log these are.
	Records uint64 `json:"records"`
	Bytes   uint64 `json:"bytes"`
	// Documents is how many are written, and Memory how many bytes of the store that takes.
	Documents uint64 `json:"documents"`
	Memory    uint64 `json:"memory"`
	// Seconds is how long it takes.
	Seconds float64 `json:"seconds"`
}

// ProofResult is what a replay's proof came to.
type ProofResult string

// The results of a proof. What is not known is never equal.
const (
	ProofEqual      ProofResult = "equal"      // somebody else folded the same
	ProofConsistent ProofResult = "consistent" // somebody who began with the same snapshot came to the same: that proves what was folded since, and not the snapshot
	ProofDifferent  ProofResult = "different"  // somebody else folded something else
	ProofUnknown    ProofResult = "unknown"    // there was nobody to compare with
)

// Proof says with what a new generation was compared at one sequence, and what came of it.
type Proof struct {
	Result ProofResult `json:"result"`
	// With is the region whose digest it was compared with, or "live" for the generation before.
	With string `json:"with,omitempty"`
	// Sequence is that of the mark, or of the position at which both stood.
	Sequence uint64 `json:"sequence,omitempty"`
	// Why, as a sentence.
	Why string `json:"why,omitempty"`
}

// Replay is a job: build a new generation of a projection from the log and make it live. It is kept in the region's KV
// under ReplayKey, requested by anybody, executed by the projector that owns the projection, and goes on after a crash of either.
type Replay struct {
	ID         string      `json:"id"`
	Projection string      `json:"projection"`
	State      ReplayState `json:"state"`
	ReplayRequest
	// Cancel: whoever executes it is to give it up. Everybody may set it, with CancelReplay.
	Cancel bool `json:"cancel,omitempty"`
	// Plan is how it is done; nil until that was decided.
	Plan       *ReplayPlan `json:"plan,omitempty"`
	Generation uint32      `json:"generation,omitempty"` // the new one
	// Partitions and Definition (a fingerprint) of the new generation: one that was begun with others cannot be continued.
	Partitions int        `json:"partitions,omitempty"`
	Definition string     `json:"definition,omitempty"`
	Sequence   uint64     `json:"sequence"` // applied so far
	Head       uint64     `json:"head"`     // of the log when last looked; of a copy, its position
	Documents  uint64     `json:"documents"`
	Requested  time.Time  `json:"requested"`
	Begun      *time.Time `json:"begun,omitempty"` // when whoever executes it began, or went on with it
	Finished   *time.Time `json:"finished,omitempty"`
	// PerSecond is how many records it has applied in each second lately, and Remaining how many seconds the rest takes at that speed; 0 while that is not known.
	PerSecond float64 `json:"per_second,omitempty"`
	Remaining float64 `json:"remaining_seconds,omitempty"`
	// Yields says why it stands still at the moment, so that the live generation goes on; empty when it does not.
	Yields string `json:"yields,omitempty"`
	// Back are the reasons why it began anew from further back, in order.
	Back     []string `json:"back,omitempty"`
	Position string   `json:"position,omitempty"` // at which the generations were compared and switched
	Digest   string   `json:"digest,omitempty"`   // of the new generation at Position
	// Compared says whether the old generation stood at Position with the same definition; Equal whether its digest was the same.
	Compared bool `json:"compared"`
	Equal    bool `json:"equal"`
	// Proof is what comparing with the old generation and with other regions came to; nil before.
	Proof *Proof `json:"proof,omitempty"`
	// Difference is what differs from the old generation, by keys; nil: nothing does, or it was not looked for.
	Difference *Difference `json:"difference,omitempty"`
	Code       string      `json:"code,omitempty"`    // of the error, when failed
	Message    string      `json:"message,omitempty"` // what happened, when failed
}

// Difference says in which documents two generations differ.
type Difference struct {
	// Same, Changed, Added and Removed count documents: as before, with other content, only in the new one, only in the old one.
	Same    uint64 `json:"same"`
	Changed uint64 `json:"changed"`
	Added   uint64 `json:"added"`
	Removed uint64 `json:"removed"`
	// Unsettled counts documents that changed again and again while they were looked at.
	Unsettled uint64 `json:"unsettled,omitempty"`
	// Samples are some of those that differ.
	Samples []Differing `json:"samples,omitempty"`
}

// None reports whether nothing was seen to differ.
func (d *Difference) None() bool { return d.Changed == 0 && d.Added == 0 && d.Removed == 0 }

// Differing is a document that differs.
type Differing struct {
	Key string `json:"key"`
	// Before and After are its fields in the old and in the new generation, those alone that differ; nil: there is no document. A parked one has the field "_parked".
	Before map[string]string `json:"before,omitempty"`
	After  map[string]string `json:"after,omitempty"`
}

// ReplayKey is the key of a projection's replay: the running one, or the last.
func ReplayKey(projection string) string { return "replay." + projection }

// ReplaysKey is the key of the replays of a projection before that.
func ReplaysKey(projection string) string { return "replays." + projection }

const (
	// maxReplays bounds the replays that are remembered, beside the last one, and maxSampled those of which the documents that differ are.
	maxReplays = 20
	maxSampled = 5
)

// Running reports whether the replay has not ended yet.
func (r *Replay) Running() bool {
	return r.State == ReplayRequested || r.State == ReplayBuilding || r.State == ReplayComparing || r.State == ReplaySwitching
}

// RequestReplay asks for a replay from the start. Errors are those of AskReplay.
func RequestReplay(ctx context.Context, kv KV, projection, reason string, now time.Time) (Replay, error) {
	return AskReplay(ctx, kv, projection, ReplayRequest{Reason: reason}, now)
}

// AskReplay asks for a replay. It returns ErrReplayRunning when one has not ended, and ErrUnknownProjection when the region has no such projection.
func AskReplay(ctx context.Context, kv KV, projection string, asked ReplayRequest, now time.Time) (Replay, error) {
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
	if err := archive(ctx, kv, &last); err != nil {
		return Replay{}, err
	}
	job := Replay{ID: events.NewID(), Projection: projection, State: ReplayRequested, ReplayRequest: asked, Requested: now.UTC()}
	if _, err := WriteJSON(ctx, kv, ReplayKey(projection), job, revision); errors.Is(err, ErrRevision) {
		return Replay{}, replayRunning(Replay{Projection: projection, ID: "just requested"})
	} else if err != nil {
		return Replay{}, err
	}
	return job, nil
}

// archive remembers a replay that has ended, before another one takes its place.
func archive(ctx context.Context, kv KV, last *Replay) error {
	if last.ID == "" {
		return nil
	}
	for {
		list, revision, err := ReadJSON[[]Replay](ctx, kv, ReplaysKey(last.Projection))
		if err != nil || slices.ContainsFunc(list, func(r Replay) bool { return r.ID == last.ID }) {
			return err
		}
		list = slices.Insert(list, 0, *last)
		if len(list) > maxReplays {
			list = list[:maxReplays]
		}
		for i := maxSampled; i < len(list); i++ {
			if d := list[i].Difference; d != nil {
				d.Samples = nil
			}
		}
		_, err = WriteJSON(ctx, kv, ReplaysKey(last.Projection), list, revision)
		if !errors.Is(err, ErrRevision) {
			return err
		}
	}
}

// Replays returns the replays of a projection that are remembered, the newest first.
func Replays(ctx context.Context, kv KV, projection string) ([]Replay, error) {
	last, _, err := ReadJSON[Replay](ctx, kv, ReplayKey(projection))
	if err != nil || last.ID == "" {
		return nil, err
	}
	list, _, err := ReadJSON[[]Replay](ctx, kv, ReplaysKey(projection))
	list = slices.DeleteFunc(list, func(r Replay) bool { return r.ID == last.ID })
	return slices.Insert(list, 0, last), err
}

// CancelReplay asks whoever executes a replay to give it up, and returns it as it was then: when it had ended before, nothing is changed. It returns ErrUnknownReplay.
func CancelReplay(ctx context.Context, kv KV, projection, id string) (Replay, error) {
	for {
		job, revision, err := ReadJSON[Replay](ctx, kv, ReplayKey(projection))
		switch {
		case err != nil:
			return Replay{}, err
		case job.ID != id:
			list, err := Replays(ctx, kv, projection)
			if i := slices.IndexFunc(list, func(r Replay) bool { return r.ID == id }); i >= 0 {
				return list[i], err
			}
			if err != nil {
				return Replay{}, err
			}
			return Replay{}, UnknownReplay(projection, id)
		case !job.Running() || job.Cancel:
			return job, nil
		}
		job.Cancel = true
		_, err = WriteJSON(ctx, kv, ReplayKey(projection), job, revision)
		if !errors.Is(err, ErrRevision) {
			return job, err
		}
	}
}

// UnknownReplay is the error of an id that no remembered replay has.
func UnknownReplay(projection, id string) error {
	if len(id) > maxName {
		id = id[:maxName] + "…"
	}
	return events.Errorf(ErrUnknownReplay, "no replay %q of %s is remembered in this region", id, projection).Hint("tidemark replay list shows those that are.")
}

func replayRunning(r Replay) error {
	return events.Errorf(ErrReplayRunning, "a replay of %s is running (%s); no other was started", r.Projection, r.ID).
		Hint("Wait for it: tidemark status shows its progress. Or give it up: tidemark replay %s --cancel %s.", r.Projection, r.ID)
}

// UnknownProjection is the error of a name that no projection in the region has.
func UnknownProjection(name string) error {
	if len(name) > maxName {
		name = name[:maxName] + "…"
	}
	return events.Errorf(ErrUnknownProjection, "this region has no projection %q", name).Hint("tidemark status lists the projections.")
}
