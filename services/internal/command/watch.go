package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) watch() *cobra.Command {
	var o query.WatchOptions
	var most int
	var patience time.Duration
	cmd := &cobra.Command{
		Use:   "watch <projection>",
		Short: "Print the latest state of every document that changes",
		Long: `Print the latest state of every document that changes, from now on or from a token, until Ctrl-C. A document that changes several times in a
short while may be printed once; none is left out. list -o json gives a token, as "watch": whoever lists, watches from there, and keeps what is printed
last has what the read model has.

With -o json each line is an update, with the token to go on from. Exit code 1 with the code resync says that it cannot go on from the token: list again.`,
		Example: `  tidemark watch airports
  tidemark watch routes --prefix ORD-
  tidemark watch airports --token TOKEN -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := cmd.Flags()
			switch {
			case flags.Changed("token") && o.From == "":
				return events.Errorf(projections.ErrInvalidCursor, "the token is empty").Hint("Leave --token out to watch from now on.")
			case most < 0:
				return events.Errorf(failure.ErrUsage, "a limit of %d is below 0", most)
			case patience < 0:
				return events.Errorf(failure.ErrUsage, "a time of %s is below 0", patience)
			}
			return p.watching(cmd, args[0], o, most, patience)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.From, "token", "", "where to go on: the token of a listing, or of an update (default from now on)")
	flags.StringVar(&o.Prefix, "prefix", "", "only documents whose keys begin so")
	flags.DurationVar(&o.Heartbeat, "heartbeat", query.DefaultHeartbeat, "how often to say where it stands while nothing changes")
	flags.IntVar(&most, "limit", 0, "end after so many changes; 0: never")
	flags.DurationVar(&patience, "for", 0, "end after so long; 0: never")
	return cmd
}

// watching prints what changes until it is told to end.
func (p *program) watching(cmd *cobra.Command, projection string, o query.WatchOptions, most int, patience time.Duration) error {
	c, err := p.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // only read
	ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
	if patience > 0 {
		ctx, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	token, changes := o.From, 0
	for u, err := range c.Reader().Watch(ctx, projection, o) {
		if ctx.Err() != nil { // Ctrl-C, or the time is over: that is how it ends
			break
		}
		if err != nil {
			return err
		}
		if token == "" {
			p.note("watching %s from %s on", projection, u.Position)
		}
		if token = u.Token; len(u.Changes) > 0 || p.output == outputJSON {
			if err := p.print(u, func(w io.Writer) error { return printChanges(w, u.Changes) }); err != nil {
				return err
			}
		}
		if changes += len(u.Changes); most > 0 && changes >= most {
			break
		}
	}
	if token != "" {
		p.note("%s; go on with: %s watch %s", display.Count(changes, "change"), p.self, shell(projection, "--token", token))
	}
	return nil
}

// printChanges writes one line for each change.
func printChanges(w io.Writer, list []query.Change) error {
	for i := range list {
		c := &list[i]
		if c.Deleted {
			if _, err := fmt.Fprintf(w, "%s  (deleted)\n", display.Name(c.Key)); err != nil {
				return err
			}
			continue
		}
		text, err := json.Marshal(c.Document)
		if err != nil {
			return err
		}
		line := display.Name(c.Key) + "  " + display.Text(string(text))
		if c.Parked != "" {
			line += "  parked at " + display.Name(c.Parked)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
