package marks

import (
	"context"

	"tidemark.dev/events"
)

// Check audits a copy of a log once, from a sequence on, 1 for all of it, and compares it with what is known of the history: its lineage and the marks that were found right. It returns
// ErrUntrustedLog with what is wrong, or an error that says nothing about the log. region names the copy.
func Check(ctx context.Context, log events.Reader, a *Audit, region string, first uint64) error {
	f, err := standing(ctx, log, a)
	for w := (walked{}); f == nil && err == nil; {
		if w, f, err = step(ctx, log, first, w.at); f == nil && err == nil && w.end {
			f, err = readable(ctx, log, first, w.at, 0)
			break
		}
	}
	if err == nil && f != nil {
		return f.err(region, log.Origin(), region)
	}
	return err
}
