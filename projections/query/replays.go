package query

import (
	"context"

	"tidemark.dev/projections"
)

// Replays are the replays of a read model that its region remembers.
type Replays struct {
	Region     string `json:"region"`
	Projection string `json:"projection"`
	// Replays, the newest first. Of documents that differ only the numbers are told.
	Replays []projections.Replay `json:"replays"`
}

// Replays returns the replays of a read model that the region remembers. It returns projections.ErrUnknownProjection, and the errors of the region's key-value store.
func (r *Reader) Replays(ctx context.Context, projection string) (Replays, error) {
	answer := Replays{Region: r.region, Projection: projection, Replays: []projections.Replay{}}
	if !projections.ValidName(projection) {
		return answer, projections.UnknownProjection(projection)
	}
	pointer, _, err := projections.ReadPointer(ctx, r.kv, projection)
	if err != nil {
		return answer, err
	}
	if pointer.Generation == 0 {
		return answer, projections.UnknownProjection(projection)
	}
	list, err := projections.Replays(ctx, r.kv, projection)
	for i := range list {
		list[i].Difference = counts(list[i].Difference)
	}
	answer.Replays = append(answer.Replays, list...)
	return answer, err
}
