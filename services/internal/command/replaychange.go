package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) replayRollback() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rollback <projection>",
		Short: "Have the generation before take over again",
		Long: `Have the generation that was live before take over again. It was followed all the time, so this takes a moment and loses no event. What is live now is kept in its place: a second rollback
undoes the first. A version that was rolled back is not built again by itself, until a replay is asked for, or another version is applied.

On a terminal it asks; elsewhere it wants --yes.`,
		Example:           "  tidemark replay rollback airports\n  tidemark replay rollback airports --yes -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			asked := projections.ReplayRequest{Kind: projections.ReplayRollback, Reason: "tidemark replay rollback"}
			return p.simple(cmd.Context(), args[0], asked, func(ctx context.Context, x *prepared) error { return p.sureToRollBack(ctx, x, yes) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p *program) replayDrop() *cobra.Command {
	var name string
	var previous bool
	cmd := &cobra.Command{
		Use:   "drop <projection>",
		Short: "Drop a copy, or the generation before, before their time is over",
		Long: `Drop a copy of a read model, or the generation that was live before, which frees their memory at once. What is live is not touched. Both are dropped by themselves when their time is over,
which tidemark replay list shows.`,
		Example:           "  tidemark replay drop airports --copy before-the-import\n  tidemark replay drop airports --previous",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			given := cmd.Flags().Changed("copy")
			switch {
			case given == previous:
				return events.Errorf(failure.ErrUsage, "what is to be dropped is not said, or twice; nothing was dropped").Hint("Add --copy NAME, or --previous.")
			case given && !projections.ValidCopyName(name):
				return events.Errorf(failure.ErrUsage, "%.80q is no name of a copy; nothing was dropped", name).Hint("tidemark replay list shows those that there are.")
			}
			return p.simple(cmd.Context(), args[0], projections.ReplayRequest{Kind: projections.ReplayDrop, Reason: "tidemark replay drop", As: name}, nil)
		},
	}
	cmd.Flags().StringVar(&name, "copy", "", "name of the copy")
	cmd.Flags().BoolVar(&previous, "previous", false, "the generation before")
	_ = cmd.RegisterFlagCompletionFunc("copy", p.copyNames)
	return cmd
}

// simple has something done that needs no log, if sure returns nil.
func (p *program) simple(ctx context.Context, name string, asked projections.ReplayRequest, sure func(context.Context, *prepared) error) error {
	if !projections.ValidName(name) {
		return projections.UnknownProjection(name)
	}
	s, err := p.here(ctx)
	if err != nil {
		return err
	}
	defer closeSites(ctx, []*site{s})
	x, err := p.prepare(ctx, s, name, func(context.Context, events.Reader) (projections.ReplayRequest, error) { return asked, nil })
	if err != nil {
		return err
	}
	if sure != nil {
		if err := sure(ctx, x); err != nil {
			return err
		}
	}
	job, err := x.ask(ctx, p)
	if err != nil {
		return err
	}
	return p.attend(ctx, s.region.KV(), job)
}

// sureToRollBack shows what would be live, and asks.
func (p *program) sureToRollBack(ctx context.Context, x *prepared, yes bool) error {
	what, err := p.before(ctx, x)
	if err != nil {
		return err
	}
	if yes {
		return nil
	}
	if f, terminal := p.in.(io.Writer); !terminal || !display.Terminal(f) { // a terminal can be written too
		return events.Errorf(failure.ErrUsage, "%s; nothing was switched", what).Hint("Add --yes if that is meant.")
	}
	return p.ask(ctx, what+". Go on?", "nothing was switched")
}

// before says what a rollback makes live.
func (p *program) before(ctx context.Context, x *prepared) (string, error) {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	pointer, _, err := projections.ReadPointer(ctx, x.site.region.KV(), x.Projection)
	if err != nil {
		return "", err
	}
	kept := pointer.Previous
	if kept == nil {
		return "", events.Errorf(projections.ErrNothingKept, "the generation before the live one of %s was dropped a moment ago; nothing was switched", x.Projection)
	}
	behind := "an unknown number of records behind"
	info, err := x.site.region.Log().Info(ctx)
	if headers, failed := x.site.region.Store().Headers(ctx, kept.Of(x.Projection)); err == nil && failed == nil && kept.Source == nil {
		at := projections.SequenceOf(lowest(headers))
		behind = display.Count(max(info.Last, at)-at, "record") + " behind, which it applies first"
	}
	return fmt.Sprintf("generation %d of %s in %s, of version %d, would be live instead of generation %d, of version %d; it is %s",
		kept.Generation, x.Projection, x.Region, kept.Version, pointer.Generation, pointer.Version, behind), nil
}
