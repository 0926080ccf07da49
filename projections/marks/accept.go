package marks

import (
	"context"
	"errors"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Acceptable reports whether a person may say that the log is the right one all the same: it is another history than the one that was audited, or ends elsewhere. A log that contradicts itself is not
// made right by saying so, and one that a mirror holds is copied anew.
func (f *Finding) Acceptable() bool {
	return !f.Mirror && (f.Kind == Recreated || f.Kind == Forked || f.Kind == Truncated)
}

// Remembered returns what a region has found about its copy of a log, and the revision under which it is kept; 0: nothing is known yet.
func Remembered(ctx context.Context, kv projections.KV, origin string) (Audit, uint64, error) {
	return projections.ReadJSON[Audit](ctx, kv, AuditKey(origin))
}

// Accept forgets what a region has found about its copy of a log, for a person says that the log is the right one as it is: the audit begins anew with it. revision is that of Remembered. It returns
// events.ErrConflict when the finding is not there any more, is another one, or is none that can be accepted.
func Accept(ctx context.Context, kv projections.KV, origin string, revision uint64) error {
	a, now, err := Remembered(ctx, kv, origin)
	switch {
	case err != nil:
		return err
	case now == 0 || a.Finding == nil:
		return events.Errorf(events.ErrConflict, "the audit of the log of origin %s refuses nothing; nothing was changed", origin)
	case !a.Finding.Acceptable():
		return events.Errorf(events.ErrConflict, "what the audit has found in the log of origin %s (%s) cannot be accepted: the log contradicts itself, or is copied anew; nothing was changed", origin, a.Finding.Kind)
	case now == revision:
		err = kv.Delete(ctx, AuditKey(origin), revision)
	}
	if now != revision || errors.Is(err, projections.ErrRevision) || errors.Is(err, projections.ErrNoKey) {
		return events.Errorf(events.ErrConflict, "the audit of the log of origin %s has looked again meanwhile; nothing was changed", origin).Hint("See what it says now, and accept that.")
	}
	return err
}
