package projections

import (
	"context"
	"errors"
	"io"
	"time"

	"tidemark.dev/events"
)

// Snapshot describes one copy of a read model as it was at a mark, kept outside of the store that it was taken from.
type Snapshot struct {
	// ID is unique among the snapshots of the projection: a token of [a-z0-9-].
	ID         string `json:"id"`
	Projection string `json:"projection"`
	Version    int    `json:"version"`    // of the definition
	Definition string `json:"definition"` // fingerprint of that
	Partitions int    `json:"partitions"`
	// Position is that of the mark, with lineage and term, Sequence its sequence and Mark its number.
	Position events.Position `json:"position"`
	Sequence uint64          `json:"sequence"`
	Mark     uint64          `json:"mark"`
	// Documents counts them, and Digest sums them up, as the partitions recorded at the mark.
	Documents uint64 `json:"documents"`
	Digest    string `json:"digest"`
	// Region is where it was taken, and Taken when it was complete.
	Region string    `json:"region,omitempty"`
	Taken  time.Time `json:"taken"`
	// Bytes is how long it is, as it is kept. Put fills it in.
	Bytes uint64 `json:"bytes,omitempty"`
}

// Snapshots keeps the snapshots of a region's read models. Every adapter passes the suite in storetest. Every method may return events.ErrUnreachable and events.ErrUnauthorized.
type Snapshots interface {
	// Put keeps a snapshot with the content of body. It is listed when it is whole, and not before: when body fails, its error is returned and nothing is kept.
	Put(ctx context.Context, s Snapshot, body io.Reader) (Snapshot, error)
	// List returns the snapshots of a projection, the one of the largest sequence first. One whose description cannot be read is left out.
	List(ctx context.Context, projection string) ([]Snapshot, error)
	// Open returns the content of a snapshot: ErrUnknownSnapshot when it is not there. Reading returns ErrSnapshotDamaged, at the latest in place of io.EOF, when the content is not what was put.
	Open(ctx context.Context, projection, id string) (io.ReadCloser, error)
	// Delete removes a snapshot. Deleting what is not there is no error.
	Delete(ctx context.Context, projection, id string) error
}

// Memory is what a store says of its memory, in bytes.
type Memory struct {
	// Used is what it uses, and Max what it may use at most; 0: it has no bound, or does not say. Of several servers it is the one that is closest to its bound.
	Used, Max uint64
}

// Share returns the share of its bound that a store uses; 0 when it has none.
func (m Memory) Share() float64 {
	if m.Max == 0 {
		return 0
	}
	return float64(m.Used) / float64(m.Max)
}

// SnapshotState is how far a snapshot is that was asked for.
type SnapshotState string

// The states of a snapshot.
const (
	SnapshotRequested SnapshotState = "requested"
	SnapshotDone      SnapshotState = "done"
	SnapshotFailed    SnapshotState = "failed"
)

// SnapshotJob asks for a snapshot of the live read model at the next mark. It is kept in the region's KV under SnapshotKey, requested by anybody, and executed by the projector that owns the projection.
type SnapshotJob struct {
	ID        string        `json:"id"`
	State     SnapshotState `json:"state"`
	Requested time.Time     `json:"requested"`
	Finished  *time.Time    `json:"finished,omitempty"`
	Snapshot  *Snapshot     `json:"snapshot,omitempty"` // that was taken
	Code      string        `json:"code,omitempty"`     // of the error, when failed
	Message   string        `json:"message,omitempty"`  // what happened, when failed
}

// SnapshotKey is the key of the snapshot of a projection that was asked for last.
func SnapshotKey(projection string) string { return "snapshot." + projection }

// Running reports whether nothing has come of it yet.
func (j *SnapshotJob) Running() bool { return j.State == SnapshotRequested }

// RequestSnapshot asks for a snapshot. When one is asked for already, that is returned. It returns ErrUnknownProjection when the region has no such projection.
func RequestSnapshot(ctx context.Context, kv KV, projection string, now time.Time) (SnapshotJob, error) {
	pointer, _, err := ReadPointer(ctx, kv, projection)
	if err != nil {
		return SnapshotJob{}, err
	}
	if pointer.Generation == 0 {
		return SnapshotJob{}, UnknownProjection(projection)
	}
	for {
		last, revision, err := ReadJSON[SnapshotJob](ctx, kv, SnapshotKey(projection))
		if err != nil || last.Running() {
			return last, err
		}
		job := SnapshotJob{ID: events.NewID(), State: SnapshotRequested, Requested: now.UTC()}
		_, err = WriteJSON(ctx, kv, SnapshotKey(projection), job, revision)
		if !errors.Is(err, ErrRevision) {
			return job, err
		}
	}
}
