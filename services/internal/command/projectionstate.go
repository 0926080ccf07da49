package command

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) projectionPause() *cobra.Command {
	return p.stateCommand(&cobra.Command{
		Use:   "pause NAME",
		Short: "Let a projection stand still, in every region",
		Long: `Nothing is folded into the read models of a paused projection. Queries go on being answered from where each stands, with their position and a lag that grows;
status says paused. A new version that is applied meanwhile is built when the projection is resumed. Pausing what is paused changes nothing.`,
		Example: "  tidemark projection pause airports",
	}, func(name string) func(catalog.Catalog) (catalog.Decision, error) {
		return func(c catalog.Catalog) (catalog.Decision, error) { return c.Pause(name) }
	})
}

func (p *program) projectionResume() *cobra.Command {
	return p.stateCommand(&cobra.Command{
		Use:   "resume NAME",
		Short: "Let a paused projection go on, in every region",
		Long: `A paused projection goes on where each region's read model stands. One that is compiled into the projectors and was removed is built anew; a file that was removed is
applied again instead. Resuming what is not paused changes nothing.`,
		Example: "  tidemark projection resume airports",
	}, func(name string) func(catalog.Catalog) (catalog.Decision, error) {
		return func(c catalog.Catalog) (catalog.Decision, error) { return c.Resume(name) }
	})
}

// stateCommand completes a command that changes a projection's state.
func (p *program) stateCommand(cmd *cobra.Command, change func(name string) func(catalog.Catalog) (catalog.Decision, error)) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(1), p.catalogNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.began = true
		c, err := p.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // the append is acknowledged
		return p.changeState(cmd.Context(), c, change(args[0]))
	}
	return cmd
}

func (p *program) changeState(ctx context.Context, c *client.Client, do func(catalog.Catalog) (catalog.Decision, error)) error {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	done, err := changeCatalog(ctx, c, do)
	if err != nil {
		return err
	}
	result, err := changedBy(ctx, c.Log(), done)
	if err != nil {
		return err
	}
	return p.print(&result, result.stateTold)
}

// stateTold writes in which state a projection is now.
func (c *changed) stateTold(w io.Writer) error {
	already := ""
	if c.Result == catalog.Unchanged {
		already = " already; nothing to do"
	}
	where := ""
	if already == "" {
		where = fmt.Sprintf(", in every region from %s on", c.Position)
	}
	_, err := fmt.Fprintf(w, "%s, version %d, is %s%s%s\n", c.Projection, c.Version, c.State, already, where)
	return err
}

func (p *program) projectionRemove() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Drop a projection and its read models, in every region",
		Long: `The read models of a removed projection are dropped in every region, and queries say that there is no such projection. The events and the text of its file stay in
the log: it can be applied again, and is then built anew. Its version stays what it was: another definition needs a higher one.

On a terminal it asks; elsewhere it wants --yes. Removing what is removed changes nothing.`,
		Example:           "  tidemark projection remove airports\n  tidemark projection remove airports --yes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.catalogNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			return p.removeProjection(cmd.Context(), args[0], yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (p *program) removeProjection(ctx context.Context, name string, yes bool) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the append is acknowledged
	if !yes {
		if err := p.sure(ctx, c, name); err != nil {
			return err
		}
	}
	return p.changeState(ctx, c, func(now catalog.Catalog) (catalog.Decision, error) { return now.Remove(name) })
}

// sure asks a person whether a projection is to be removed. What is removed already need not be asked for.
func (p *program) sure(ctx context.Context, c *client.Client, name string) error {
	bounded, cancel := p.bounded(ctx, 0)
	defer cancel()
	now, err := catalog.Read(bounded, c.Log())
	if err != nil {
		return err
	}
	if e, found := now.Find(name); !found || e.State == catalog.Removed {
		return nil // the change says so
	}
	documents := "its documents"
	if d, err := c.Reader().Definition(bounded, name); err == nil && d.Here != nil && d.Here.State != "unknown" {
		documents = display.Count(d.Here.Documents, "document") + " here"
	}
	lost := fmt.Sprintf("removing %s drops its read model in every region, %s; its events and its definition stay in the log", name, documents)
	f, interactive := p.in.(io.Writer) // a terminal is a file, which can be written too
	if !interactive || !display.Terminal(f) {
		return events.Errorf(failure.ErrUsage, "%s; nothing was removed", lost).Hint("Add --yes if that is meant.")
	}
	return p.asked(ctx, lost)
}

// asked asks on the terminal and returns nil for yes.
func (p *program) asked(ctx context.Context, lost string) error {
	fmt.Fprintf(p.err, "%s. Remove it? [y/N] ", display.Text(strings.ToUpper(lost[:1])+lost[1:]))
	answer := make(chan string, 1)
	go func() { // a read of a terminal does not end with a context
		line, _ := bufio.NewReader(p.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
		return events.Errorf(failure.ErrDeclined, "nothing was removed")
	case <-ctx.Done():
		return events.Errorf(failure.ErrInterrupted, "a signal ended the question; nothing was removed")
	}
}
