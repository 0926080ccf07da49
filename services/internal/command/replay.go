package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// unattended is after how long a requested replay that nobody began is remarked upon.
const unattended = 10 * time.Second

func (p *program) replay() *cobra.Command {
	var fromStart bool
	cmd := &cobra.Command{
		Use:   "replay <projection> --from-start",
		Short: "Build a read model anew from the log, beside the live one, and switch",
		Long: `Build a new generation of a read model from the first event of the log, beside the live one. When it stands where the live one stands, the
two are compared and queries are switched over at once: readers see the old or the new one, never a mixture, and never nothing.

The projector of the region does the work. Ctrl-C only stops watching it.`,
		Example:           "  tidemark replay airports --from-start\n  tidemark replay airports --from-start -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !fromStart {
				return events.Errorf(failure.ErrUsage, "where the replay begins is not said; nothing was started").
					Hint("Add --from-start: the read model is then built from the first event, whatever was wrong before.")
			}
			return p.rebuild(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&fromStart, "from-start", false, "begin with the first event of the log")
	return cmd
}

func (p *program) rebuild(ctx context.Context, projection string) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the replay does not need us
	asking, cancel := p.bounded(ctx, 0)
	defer cancel()
	if !projections.ValidName(projection) {
		return projections.UnknownProjection(projection)
	}
	if now, err := catalog.Read(asking, c.Log()); err == nil {
		if e, _ := now.Find(projection); e.State == catalog.Paused {
			return events.Errorf(catalog.ErrPaused, "%s is paused, so nobody would replay it; nothing was started", projection).Hint("tidemark projection resume %s", projection)
		}
	}
	job, err := projections.RequestReplay(asking, c.Region().KV(), projection, "tidemark replay", time.Now())
	if err != nil {
		return err
	}
	return p.attend(ctx, c.Region().KV(), job)
}

// attend watches a replay and prints its result.
func (p *program) attend(ctx context.Context, kv projections.KV, job projections.Replay) error {
	job, err := p.follow(ctx, kv, job)
	switch {
	case ctx.Err() != nil:
		return events.Errorf(failure.ErrInterrupted, "the replay %s of %s goes on; only watching it ended", job.ID, job.Projection).
			Hint("%s status shows its progress.", p.self)
	case err != nil:
		return err
	case job.State == projections.ReplayFailed:
		return events.Errorf(failure.ErrReplayFailed, "the replay %s of %s failed: %s; the live generation goes on", job.ID, job.Projection, job.Message)
	}
	return p.print(job, func(w io.Writer) error { return replayed(w, &job) })
}

// follow watches a replay until it has ended.
func (p *program) follow(ctx context.Context, kv projections.KV, job projections.Replay) (projections.Replay, error) {
	progress := display.NewProgress(p.progressWriter(), "replay "+job.Projection, "records")
	defer progress.End()
	patience := time.AfterFunc(unattended, func() {
		p.note("no projector has begun the replay yet; it begins as soon as one runs")
	})
	defer patience.Stop()
	for e, err := range kv.Watch(ctx, projections.ReplayKey(job.Projection)) {
		if err != nil {
			return job, err
		}
		if e.Value == nil {
			return job, events.Errorf(failure.ErrReplayFailed, "the replay %s is over: %s was removed", job.ID, job.Projection)
		}
		var now projections.Replay
		if err := json.Unmarshal(e.Value, &now); err != nil {
			return job, events.Errorf(projections.ErrUnavailable, "the record of the replay cannot be read: %w", err)
		}
		if now.ID != job.ID {
			return job, events.Errorf(failure.ErrReplayFailed, "the replay %s is over and %s took its place before its result was seen", job.ID, now.ID).
				Hint("%s status shows the newer one.", p.self)
		}
		if job = now; job.State != projections.ReplayRequested {
			patience.Stop()
		}
		if !job.Running() {
			return job, nil
		}
		progress.Set(job.Sequence, job.Head)
	}
	if ctx.Err() != nil {
		return job, context.Cause(ctx)
	}
	return job, errors.New("watching the replay ended by itself")
}

// progressWriter is where progress goes: nowhere, when machines read stderr.
func (p *program) progressWriter() io.Writer {
	if p.output == outputJSON {
		return io.Discard
	}
	return p.err
}

func replayed(w io.Writer, r *projections.Replay) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tgeneration %d is live\n", r.Projection, r.Generation)
	fmt.Fprintf(t, "compared\t%s\n", verdict(r))
	fmt.Fprintf(t, "documents\t%s\n", display.Number(r.Documents))
	fmt.Fprintf(t, "position\t%s\n", r.Position)
	fmt.Fprintf(t, "digest\t%s\n", r.Digest)
	if r.Finished != nil {
		fmt.Fprintf(t, "took\t%s\n", display.Duration(r.Finished.Sub(r.Requested)))
	}
	return t.Flush()
}
