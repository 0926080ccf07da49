package query

import (
	"context"

	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

// Findings returns what the region's reconciler knows of a read model: when it was scrubbed, what was found and what became of it. Values are hidden unless reveal. A read model that was not
// examined yet has an empty record. It returns projections.ErrUnknownProjection, and the errors of the region's key-value store.
func (r *Reader) Findings(ctx context.Context, projection string, reveal bool) (reconcile.Record, error) {
	pointer, _, err := projections.ReadPointer(ctx, r.kv, projection)
	if err != nil {
		return reconcile.Record{}, err
	}
	if pointer.Generation == 0 {
		return reconcile.Record{}, projections.UnknownProjection(projection)
	}
	record, err := reconcile.ReadRecord(ctx, r.kv, projection)
	if err != nil {
		return reconcile.Record{}, err
	}
	record.Region, record.Projection = r.region, projection
	if !reveal {
		reconcile.Hide(record.Findings, pointer.Fields)
	}
	return record, nil
}
