package projector

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// LastChanges returns, for each partition of a read model, the sequence of the last record that is about each of its documents, up to where the partition stands; 0 in upto: the partition is not
// wanted. Nothing is folded: a document that is parked or was removed since is named too, and so is one that a record is about which changes nothing. It takes one pass over the log. Errors are those of Judge.
func LastChanges(ctx context.Context, v Version, upto []uint64) ([]map[string]uint64, error) {
	e, err := judging(ctx, v, len(upto))
	if err != nil {
		return nil, err
	}
	last := make([]map[string]uint64, len(upto))
	to := uint64(0)
	for n := range upto {
		last[n], to = map[string]uint64{}, max(to, upto[n])
	}
	if to == 0 {
		return last, nil
	}
	var whole whole
	var ops projections.Ops
	for records, err := range e.log.Read(ctx, events.Range{From: 1, To: to}) {
		if err != nil {
			return nil, err
		}
		work, _ := whole.take(records)
		for _, r := range work {
			if r.Kind.Gone() {
				return nil, e.beyondRefolding(r, 0)
			}
			if r.Kind != events.KindEvent && r.Kind != events.KindMessage {
				continue
			}
			ops.Reset()
			e.proj.Route(r, 0, &ops)
			list := ops.List()
			for i := range list {
				key := list[i].Key
				if n := projections.PartitionOf(key, len(upto)); key != "" && r.Sequence <= upto[n] {
					last[n][key] = r.Sequence
				}
			}
		}
	}
	return last, nil
}
