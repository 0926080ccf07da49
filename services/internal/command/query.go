package command

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// readFlags are the flags of a read.
type readFlags struct {
	atLeast string
	wait    time.Duration
	given   func(flag string) bool
}

func (f *readFlags) register(cmd *cobra.Command) {
	set := cmd.Flags()
	f.given = set.Changed
	set.StringVar(&f.atLeast, "at-least", "", "answer from this position or later, or not at all")
	set.DurationVar(&f.wait, "wait", query.DefaultWait, "how long to wait for --at-least; 0 means not at all")
}

func (f *readFlags) options() (o query.Options, err error) {
	if f.given("at-least") {
		if f.atLeast == "" {
			// An empty variable in a script: answering from anywhere would look like keeping the promise.
			return o, events.Errorf(events.ErrInvalidPosition, "the position to wait for is empty").Hint("Leave --at-least out to read without one.")
		}
		if o.AtLeast, err = events.ParsePosition(f.atLeast); err != nil {
			return o, err
		}
	}
	switch {
	case f.wait < 0:
		return o, events.Errorf(projections.ErrInvalidQuery, "a wait of %s is below 0", f.wait)
	case f.wait == 0:
		o.Wait = -1
	default:
		o.Wait = f.wait
	}
	return o, nil
}

func (p *program) get() *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:   "get <projection> <key>",
		Short: "Print one document, and the position at which it is true",
		Long: `Print one document. A read model that is missing or being built says so (exit code 3); "no such document" (exit code 1) is said
only by one that is complete at the position that is named.`,
		Example: `  tidemark get airports ORD
  tidemark get airports ORD --at-least us.7f3a@1:1042 --wait 2s
  tidemark get routes ORD-LAS -o json`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := read.options()
			if err != nil {
				return err
			}
			if err := projections.ValidateKey(args[1]); err != nil {
				return err
			}
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), max(o.Wait, 0))
			defer cancel()
			a, err := c.Reader().Get(ctx, args[0], args[1], o)
			if err != nil {
				return failure.Reached(ctx, err, func(ctx context.Context, o query.Options) (events.Position, error) {
					now, err := c.Reader().Get(ctx, args[0], args[1], o)
					return now.Position, err
				})
			}
			return p.print(a, func(w io.Writer) error { return document(w, &a) })
		},
	}
	read.register(cmd)
	return cmd
}

// document writes one document with its fields below each other.
func document(w io.Writer, a *query.Answer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s %s\n", a.Projection, display.Name(a.Key))
	for i, f := range a.Document.Fields {
		fmt.Fprintf(t, "  %s\t%s\n", f.Name, field(f, a.Document.Values[i]))
	}
	if a.Parked != "" {
		fmt.Fprintf(t, "  (parked)\t%s\n", display.Name(a.Parked))
	}
	fmt.Fprintf(t, "position\t%s\nlag\t%s\nregion\t%s\n", a.Position, lag(a.Lag), a.Region)
	return t.Flush()
}

// field returns a stored value as a person reads it. An empty text stays visible.
func field(f projections.Field, value string) string {
	if f.Kind == projections.KindString {
		return display.Name(value)
	}
	return display.Text(value)
}

// lag never shows what is not known as a number.
func lag(l *query.Lag) string {
	if l == nil {
		return "unknown"
	}
	return display.Number(l.Events)
}

func (p *program) list() *cobra.Command {
	var read readFlags
	var o query.ListOptions
	cmd := &cobra.Command{
		Use:   "list <projection>",
		Short: "Print a page of documents in the order of their keys",
		Example: `  tidemark list airports
  tidemark list routes --limit 10
  tidemark list routes --limit 10 --after CURSOR`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Options, err = read.options(); err != nil {
				return err
			}
			if o.Limit < 1 || o.Limit > query.MaxLimit {
				return events.Errorf(projections.ErrInvalidQuery, "a limit of %d is outside 1 to %d", o.Limit, query.MaxLimit)
			}
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), max(o.Wait, 0))
			defer cancel()
			page, err := c.Reader().List(ctx, args[0], o)
			if err != nil {
				return failure.Reached(ctx, err, func(ctx context.Context, o query.Options) (events.Position, error) {
					now, err := c.Reader().List(ctx, args[0], query.ListOptions{Options: o, Limit: 1})
					return now.Position, err
				})
			}
			if err := p.print(page, func(w io.Writer) error { return table(w, &page) }); err != nil {
				return err
			}
			p.note("%s at %s, lag %s", display.Count(len(page.Items), "document"), page.Position, lag(page.Lag))
			if page.Next != "" {
				p.note("more: %s list %s --limit %d --after %s", p.self, args[0], o.Limit, page.Next)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Limit, "limit", query.DefaultLimit, "documents of the page")
	flags.StringVar(&o.After, "after", "", "cursor that the page before ended with")
	read.register(cmd)
	return cmd
}

// table writes a page with a column for each field.
func table(w io.Writer, page *query.Page) error {
	if len(page.Items) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "KEY")
	for _, f := range page.Items[0].Document.Fields {
		fmt.Fprintf(t, "\t%s", f.Name)
	}
	fmt.Fprintln(t)
	for _, item := range page.Items {
		fmt.Fprint(t, display.Name(item.Key))
		for i, f := range item.Document.Fields {
			fmt.Fprintf(t, "\t%s", field(f, item.Document.Values[i]))
		}
		if item.Parked != "" {
			fmt.Fprintf(t, "\tparked at %s", display.Name(item.Parked))
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
