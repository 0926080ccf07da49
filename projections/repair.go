package projections

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
)

// RepairState is how far a repair is.
type RepairState string

// The states of a repair.
const (
	RepairRequested RepairState = "requested"
	RepairDone      RepairState = "done"
	RepairFailed    RepairState = "failed"
)

const (
	// MaxRepair bounds the documents of one repair, and maxRepairBytes what it has to say of them.
	MaxRepair      = 2_000
	maxRepairBytes = 400 << 10
)

// Repair is a job: write documents of a generation again as the log says that they are. It names what is to be looked at, never what is to be written: its projector folds each document
// again and writes what differs, in a step that nobody else can come between. So an old plan, one that is executed twice and one that is wrong do no harm. It is kept in the region's KV under
// RepairKey, requested by anybody, executed by the projector that owns the projection, and goes on after a crash of either.
type Repair struct {
	ID         string           `json:"id"`
	Projection string           `json:"projection"`
	Generation uint32           `json:"generation"`
	State      RepairState      `json:"state"`
	Reason     string           `json:"reason"`
	Documents  []RepairDocument `json:"documents,omitempty"`
	// Recount are partitions whose digest and numbers of documents are summed up again from their documents afterwards.
	Recount   []int      `json:"recount,omitempty"`
	Requested time.Time  `json:"requested"`
	Finished  *time.Time `json:"finished,omitempty"`
	// Repaired counts the documents that were written, and Right those that were right already; Recounted the partitions whose sums were wrong.
	Repaired  int    `json:"repaired"`
	Right     int    `json:"right"`
	Recounted int    `json:"recounted"`
	Code      string `json:"code,omitempty"`    // of the error, when failed
	Message   string `json:"message,omitempty"` // what happened, when failed
}

// RepairDocument names a document that is to be looked at.
type RepairDocument struct {
	// Partition is where it was found, which for a document in the wrong place is not its own.
	Partition int    `json:"partition"`
	Key       string `json:"key"`
	// Unindex are entries of indexes that name it and should not.
	Unindex []RepairEntry `json:"unindex,omitempty"`
}

// RepairEntry is an IndexEntry in a form that JSON keeps whole.
type RepairEntry struct {
	Index int    `json:"index"`
	Value []byte `json:"value"`
}

// RepairKey is the key of a projection's repair: the running one, or the last.
func RepairKey(projection string) string { return "repair." + projection }

// FindingsKey is the key of what the region's reconciler knows of a projection: see package reconcile.
func FindingsKey(projection string) string { return "reconcile." + projection }

// PlanKey is the key of the last plan to repair a projection.
func PlanKey(projection string) string { return "plan." + projection }

// Running reports whether the repair has not ended yet.
func (r *Repair) Running() bool { return r.State == RepairRequested }

// RequestRepair asks for a repair of the live generation. The job's Projection, Generation, Reason, Documents and Recount say what is to be done. It returns ErrRepairRunning when one has
// not ended, ErrUnknownProjection, events.ErrConflict when another generation is live, and events.ErrTooLarge.
func RequestRepair(ctx context.Context, kv KV, job Repair, now time.Time) (Repair, error) {
	pointer, _, err := ReadPointer(ctx, kv, job.Projection)
	switch {
	case err != nil:
		return Repair{}, err
	case pointer.Generation == 0:
		return Repair{}, UnknownProjection(job.Projection)
	case pointer.Generation != job.Generation:
		return Repair{}, events.Errorf(events.ErrConflict, "generation %d of %s is live now, and the repair is of generation %d; nothing was changed", pointer.Generation, job.Projection, job.Generation).
			Hint("Look again: what was wrong may not be there any more.")
	}
	for i := range job.Documents {
		if d := &job.Documents[i]; d.Partition < 0 || d.Partition >= pointer.Partitions || ValidateKey(d.Key) != nil {
			return Repair{}, events.Errorf(events.ErrInvalidBatch, "partition %d of %s can have no document %q; nothing was changed", d.Partition, job.Projection, d.Key)
		}
	}
	if RepairFits(job.Documents) < len(job.Documents) {
		return Repair{}, events.Errorf(events.ErrTooLarge, "a repair of %d documents is too large; nothing was changed", len(job.Documents)).
			Hint("Repair some of them first, or build the read model anew: tidemark replay %s --from-start.", job.Projection)
	}
	last, revision, err := ReadJSON[Repair](ctx, kv, RepairKey(job.Projection))
	if err != nil {
		return Repair{}, err
	}
	if last.Running() {
		return last, repairRunning(&last)
	}
	job.ID, job.State, job.Requested, job.Finished = events.NewID(), RepairRequested, now.UTC(), nil
	if _, err := WriteJSON(ctx, kv, RepairKey(job.Projection), job, revision); errors.Is(err, ErrRevision) {
		return Repair{}, repairRunning(&Repair{Projection: job.Projection, ID: "just requested"})
	} else if err != nil {
		return Repair{}, err
	}
	return job, nil
}

// RepairFits returns how many of these documents one repair can take: at least one, unless there is none.
func RepairFits(list []RepairDocument) int {
	size := 0
	for i := range list {
		size += 2*len(list[i].Key) + 64 // escaped
		for _, e := range list[i].Unindex {
			size += 2*len(e.Value) + 64
		}
		if i > 0 && size > maxRepairBytes || i == MaxRepair {
			return i
		}
	}
	return len(list)
}

func repairRunning(r *Repair) error {
	return events.Errorf(ErrRepairRunning, "a repair of %s is running (%s); no other was started", r.Projection, r.ID).
		Hint("Wait for it, then look again.")
}
