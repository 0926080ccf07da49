package runner

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
)

// registrar enters the projections that are compiled into the program in the catalog: one append for all that are new. They run without that too: a region that is
// cut off goes on.
type registrar struct {
	log    events.Log
	logger *slog.Logger

	result chan entered // of the attempt under way; nil: there is none
	after  time.Time    // of the next attempt: what was entered may be on its way into this region's copy
	said   string       // of the last failure
}

// entered is what an attempt came to.
type entered struct {
	sequence uint64
	err      error
}

// offer begins to enter what the catalog lacks, unless that is under way, or failed a moment ago, and waits for the result for a while. It reports whether the catalog may be
// another one now. It is called by one goroutine.
func (g *registrar) offer(ctx context.Context, c catalog.Catalog, defs []*projections.Definition, running *sync.WaitGroup, patience time.Duration) bool {
	if g.result == nil {
		d, err := c.Register(defs)
		if there := err == nil && d.Verdict == catalog.Unchanged; there || time.Now().Before(g.after) {
			return false
		}
		g.begin(ctx, defs, running)
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case r := <-g.result:
		g.result = nil
		g.ended(ctx, r)
		return r.err == nil
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (g *registrar) begin(ctx context.Context, defs []*projections.Definition, running *sync.WaitGroup) {
	result := make(chan entered, 1)
	g.result = result
	running.Go(func() {
		done, err := catalog.Change(ctx, g.log, nil, func(c catalog.Catalog) (catalog.Decision, error) { return c.Register(defs) })
		result <- entered{done.Catalog.Sequence, err}
	})
}

// ended takes note of a result. A failure is logged once.
func (g *registrar) ended(ctx context.Context, r entered) {
	g.after = time.Now().Add(registerPause)
	if r.err == nil {
		g.said = ""
		g.logger.InfoContext(ctx, "the projections of this program are in the catalog", "sequence", r.sequence)
		return
	}
	if ctx.Err() == nil && g.said != r.err.Error() {
		g.said = r.err.Error()
		g.logger.WarnContext(ctx, "the projections of this program cannot be entered in the catalog yet; they run without that", "reason", g.said)
	}
}
