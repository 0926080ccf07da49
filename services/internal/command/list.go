package command

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) list() *cobra.Command {
	var read readFlags
	var bounds rangeFlags
	var o query.ListOptions
	var order string
	cmd := &cobra.Command{
		Use:   "list <projection>",
		Short: "Print a page of documents in the order of their keys, or of an index",
		Example: `  tidemark list airports
  tidemark list routes --limit 10 --after CURSOR
  tidemark list flights --index delay --from 30 --order desc
  tidemark list flights --index carrier_delay --eq AA --from 30 --to 60
  tidemark list airports --at before-audit`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.Options, err = read.options(); err != nil {
				return err
			}
			if o.Limit < 1 || o.Limit > query.MaxLimit {
				return events.Errorf(projections.ErrInvalidQuery, "a limit of %d is outside 1 to %d", o.Limit, query.MaxLimit)
			}
			if cmd.Flags().Changed("after") && o.After == "" {
				return events.Errorf(projections.ErrInvalidCursor, "the cursor is empty").Hint("Leave --after out for the first page.")
			}
			if order != "asc" && order != "desc" {
				return events.Errorf(failure.ErrUsage, "%q is not an order", order).Hint("Use --order asc or desc.")
			}
			o.Range, o.Descending = bounds.bounds(), order == "desc"
			return p.asking(cmd, o.Wait, func(ctx context.Context, c *client.Client) error {
				page, err := c.Reader().List(ctx, args[0], o)
				if err != nil {
					return err
				}
				if err := p.print(page, func(w io.Writer) error { return table(w, page.Items) }); err != nil {
					return err
				}
				p.note("%s %s", display.Count(len(page.Items), "document"), place(&page.Standing))
				if page.Next != "" {
					words := append(append([]string{"list", args[0]}, read.words()...), bounds.words()...)
					if o.Descending {
						words = append(words, "--order", order)
					}
					p.note("more: %s %s", p.self, shell(append(words, "--limit", strconv.Itoa(o.Limit), "--after", page.Next)...))
				}
				return nil
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Limit, "limit", query.DefaultLimit, "documents of the page")
	flags.StringVar(&o.After, "after", "", "cursor that the page before ended with")
	flags.StringVar(&order, "order", "asc", "asc or desc, of an index")
	_ = cmd.RegisterFlagCompletionFunc("order", cobra.FixedCompletions([]string{"asc", "desc"}, cobra.ShellCompDirectiveNoFileComp))
	bounds.register(cmd)
	read.register(p, cmd)
	return cmd
}

func (p *program) count() *cobra.Command {
	var read readFlags
	var bounds rangeFlags
	cmd := &cobra.Command{
		Use:   "count <projection>",
		Short: "Print how many documents there are, or in a part of an index",
		Example: `  tidemark count airports
  tidemark count flights --index delay --from 30
  tidemark count airports --index _parked
  tidemark count airports --at before-audit`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o := query.CountOptions{Range: bounds.bounds()}
			if o.Options, err = read.options(); err != nil {
				return err
			}
			return p.asking(cmd, o.Wait, func(ctx context.Context, c *client.Client) error {
				n, err := c.Reader().Count(ctx, args[0], o)
				if err != nil {
					return err
				}
				if err := p.print(n, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, n.Count)
					return err
				}); err != nil {
					return err
				}
				p.note("%s", place(&n.Standing))
				return nil
			})
		},
	}
	bounds.register(cmd)
	read.register(p, cmd)
	return cmd
}
