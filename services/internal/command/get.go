package command

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
)

func (p *program) get() *cobra.Command {
	var read readFlags
	cmd := &cobra.Command{
		Use:   "get <projection> <key>...",
		Short: "Print a document, or several, and the position at which that is true",
		Long: `Print a document. A read model that is missing or being built says so (exit code 3); "no such document" (exit code 1) is said
only by one that is complete at the position that is named. Of several documents those that are not there are shown as missing.

With --at the document is read as it was in a copy: at the position of the copy, whatever happened since.`,
		Example: `  tidemark get airports ORD
  tidemark get airports ORD JFK LAX
  tidemark get airports ORD --at-least us.7f3a@1:1042 --wait 2s
  tidemark get airports ORD --consistency strong --region ap
  tidemark get airports ORD --at before-audit
  tidemark get routes ORD-LAS -o json`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := read.options()
			if err != nil {
				return err
			}
			projection, keys := args[0], args[1:]
			for _, key := range keys {
				if err := projections.ValidateKey(key); err != nil {
					return err
				}
			}
			if len(keys) > query.MaxKeys {
				return events.Errorf(projections.ErrInvalidQuery, "%d keys were asked for, and there can be %d", len(keys), query.MaxKeys)
			}
			return p.asking(cmd, o.Wait, func(ctx context.Context, c *client.Client) error {
				if len(keys) > 1 {
					return p.lookup(ctx, c, projection, keys, o)
				}
				a, err := c.Reader().Get(ctx, projection, keys[0], o)
				if err != nil {
					return err
				}
				return p.print(a, func(w io.Writer) error { return document(w, &a) })
			})
		},
	}
	read.register(p, cmd)
	return cmd
}

func (p *program) lookup(ctx context.Context, c *client.Client, projection string, keys []string, o query.Options) error {
	found, err := c.Reader().Lookup(ctx, projection, keys, o)
	if err != nil {
		return err
	}
	if err := p.print(found, func(w io.Writer) error { return table(w, found.Items) }); err != nil {
		return err
	}
	missing := 0
	for _, item := range found.Items {
		if item.Missing {
			missing++
		}
	}
	p.note("%s %s, %d missing", display.Count(len(found.Items), "document"), place(&found.Standing), missing)
	return nil
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
	if a.At != "" {
		fmt.Fprintf(t, "copy\t%s\n", a.At)
	}
	fmt.Fprintf(t, "position\t%s\nlag\t%s\nregion\t%s\n", a.Position, lag(a.Lag), a.Region)
	return t.Flush()
}

// table writes documents with a column for each field.
func table(w io.Writer, items []query.Item) error {
	var fields []projections.Field
	for i := range items {
		if fields == nil {
			fields = items[i].Document.Fields
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(items) > 0 {
		fmt.Fprint(t, "KEY")
		for _, f := range fields {
			fmt.Fprintf(t, "\t%s", f.Name)
		}
		fmt.Fprintln(t)
	}
	for i := range items {
		item := &items[i]
		fmt.Fprint(t, display.Name(item.Key))
		if item.Missing {
			fmt.Fprint(t, "\t(missing)")
		}
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
