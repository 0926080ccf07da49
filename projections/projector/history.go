package projector

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func resync(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errResync, fmt.Sprintf(format, args...))
}

// looks is how often a log that ends before a checkpoint is looked at before that is believed: a leader that was elected just now may
// not have counted its last records yet.
const looks = 4

// prove returns what the log is now, or ErrForeignHistory unless it continues the history that the partitions were folded from: the same
// lineage, a head not behind the checkpoint, and the same record at the checkpoint. It returns ErrDefinitionChanged when a partition was folded with
// another definition.
func (e *engine) prove(ctx context.Context, headers []projections.Header) (info events.Info, err error) {
	for look := range looks {
		if info, err = e.log.Info(ctx); err != nil {
			return info, err
		}
		if look == looks-1 || !slices.ContainsFunc(headers, func(h projections.Header) bool {
			return (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), h.Checkpoint) == events.No
		}) {
			break
		}
		sleep(ctx, minWait<<look)
	}
	if info.Sparse && e.def.Source == nil {
		return info, events.Errorf(events.ErrUnsafeLog, "%s is a stream that is not ours, and %s is folded from a log; nothing was applied", info.Origin, e.def.Name)
	}
	proven := make(map[string]bool, 1)
	for i := range headers {
		h := &headers[i]
		if h.State == projections.Absent {
			continue
		}
		if h.Definition != e.finger {
			return info, events.Errorf(projections.ErrDefinitionChanged, "partition %d of %s was folded with the definition %s, and this one is %s; nothing was applied",
				i, e.def.Name, h.Definition, e.finger).Hint("Raise the projection's version: it is then built anew beside the live one.")
		}
		at := h.Checkpoint.String() + h.Seen.String()
		if proven[at] {
			continue
		}
		if err := e.proveAt(ctx, info, h); err != nil {
			return info, err
		}
		proven[at] = true
	}
	return info, nil
}

func (e *engine) proveAt(ctx context.Context, info events.Info, h *projections.Header) error {
	point, ok := h.Checkpoint.Point(info.Origin)
	if !ok {
		return foreign(e.def.Name, "its checkpoint %q names no origin %s", h.Checkpoint, info.Origin)
	}
	histories := events.Histories{info.Origin: info.Terms}
	switch histories.Covers(info.Head(), h.Checkpoint) {
	case events.Lost:
		return foreign(e.def.Name, "expected the history of its checkpoint %s, found the log at %s", point, info.Head())
	case events.No:
		return foreign(e.def.Name, "expected a log that reaches its checkpoint %s, found one that ends at %s", point, info.Head())
	case events.Yes:
	}
	if point.Sequence == 0 {
		return nil
	}
	r, err := e.log.Record(ctx, point.Sequence)
	if errors.Is(err, events.ErrNotFound) && info.Sparse {
		return nil // it was read, and is not held any more: the lineage and the head have to be proof enough
	}
	if errors.Is(err, events.ErrNotFound) {
		return foreign(e.def.Name, "expected a record at its checkpoint %s, found none", point)
	}
	if err != nil {
		return err
	}
	if found := r.Fingerprint(); found != h.Seen {
		return foreign(e.def.Name, "expected the record %s at its checkpoint %s, found %s (%s)", h.Seen, point, found, r.Subject)
	}
	return nil
}

func foreign(name, format string, args ...any) error {
	return events.Errorf(events.ErrForeignHistory, "the read model %s was folded from another history than this log: "+format+"; nothing was applied",
		append([]any{name}, args...)...).
		Hint("If this log is the right one, rebuild from it: tidemark replay %s --from-start; where the audit refuses it too, say tidemark audit accept first. If not, put the right log back and start again.", name)
}
