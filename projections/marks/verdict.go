package marks

import (
	"context"
	"fmt"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// err returns the error that stops projectors.
func (f *Finding) err(region, origin, leader string) error {
	var what strings.Builder
	fmt.Fprintf(&what, "the copy of the log of origin %s in region %s fails its audit (%s): %s; ", origin, region, f.Kind, f.Text)
	if f.Exact {
		fmt.Fprintf(&what, "sequence %d is the first that is wrong", f.First)
	} else {
		fmt.Fprintf(&what, "the first wrong sequence is %d or a later one", f.First)
	}
	if f.To != 0 {
		fmt.Fprintf(&what, ", in question are %d to %d", f.From, f.To)
	}
	if len(f.Holds) > 0 {
		fmt.Fprintf(&what, "; region %s holds the records as they were", strings.Join(f.Holds, ", "))
	} else if len(f.Asked) > 0 {
		fmt.Fprintf(&what, "; region %s was asked and does not show them as they were", strings.Join(f.Asked, ", "))
	}
	what.WriteString("; nothing is applied from the log, and read models stay as they are")
	return events.Errorf(projections.ErrUntrustedLog, "%s", what.String()).Hint("%s", f.hint(region, leader))
}

func (f *Finding) hint(region, leader string) string {
	switch {
	case f.Mirror && !f.Remirrored.IsZero():
		return "It is being mirrored again from " + leader + "; once it is audited, the read models are built again by themselves."
	case f.Mirror:
		return "It is mirrored again from " + leader + " by itself, unless that is switched off; then delete the region's stream of the log, and it is copied anew."
	case f.Acceptable():
		return "Find out which history is the right one. If it is another than this log, put that back. If it is this log, say so with tidemark audit accept --region " + region +
			" --yes, and replay the projections from the start."
	case region == leader && len(f.Holds) > 0:
		return "Restore the log of region " + region + " from the copy of region " + f.Holds[0] + "; once it is audited, the read models are built again by themselves."
	}
	return "Compare the log with other regions' copies and restore it from one that holds the records; once it is audited, the read models are built again by themselves."
}

// notKnown is the verdict before anything is known.
func notKnown(origin string) error {
	return events.Errorf(events.ErrUnreachable, "what the audit of the log of origin %s has found was not read yet; nothing is applied before that", origin)
}

// Trusted returns why a region's copy of a log is not to be believed, as its audit wrote it down: projections.ErrUntrustedLog, or the errors of kv; nil when nothing is known against it. leader is
// the region that leads the log.
func Trusted(ctx context.Context, kv projections.KV, origin, region, leader string) error {
	a, _, err := projections.ReadJSON[Audit](ctx, kv, AuditKey(origin))
	if err != nil || a.Finding == nil {
		return err
	}
	return a.Finding.err(region, origin, leader)
}
