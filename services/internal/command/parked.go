package command

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/skips"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// parkedCommand is the parent of the commands about documents whose fold stopped.
func (p *program) parkedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "parked",
		Short: "List documents that an event cannot be applied to, see why, skip the event",
		Long: `A document is parked at an event that cannot be applied to it: it stays as it was before the event, and later events wait. Other documents flow. That is
the same in every region and every replay. A new version of the projection folds everything again; a skip passes over one event for one document.`,
		Example: "  tidemark parked list\n  tidemark parked show airports ORD\n  tidemark parked skip airports ORD --dry-run",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.parkedList(), p.parkedShow(), p.parkedSkip())
	return cmd
}

// parkedModels is what parked list prints.
type parkedModels struct {
	Region      string         `json:"region"`
	Projections []*parkedModel `json:"projections"`
	// Hidden says that values in reasons are.
	Hidden bool `json:"values_hidden"`
}

// parkedModel is what is parked of one projection.
type parkedModel struct {
	query.ParkedPage
	// Skips counts the skips that are recorded; Ignored is the newest record under their name that nobody obeys.
	Skips   int            `json:"skips"`
	Ignored *skips.Ignored `json:"ignored_skip_record,omitempty"`
}

func (p *program) parkedList() *cobra.Command {
	var reveal bool
	o := query.ParkedOptions{}
	cmd := &cobra.Command{
		Use:   "list [projection]",
		Short: "Print the parked documents of a projection, or of all",
		Long: `Print the documents that are parked, in the order of the events at which they stopped, and how many events are unrouted: their document cannot even be
told, so that there is nothing to skip, and only a new version can read them.

Values in reasons are hidden; --reveal shows them.`,
		Example: `  tidemark parked list
  tidemark parked list airports --region ap --limit 10
  tidemark parked list airports --reveal -o json
  tidemark parked list airports --at before-audit`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			p.began = true
			if cmd.Flags().Changed("at") {
				if o.At, err = copyName(o.At); err != nil {
					return err
				}
			}
			if o.Limit < 1 || o.Limit > query.MaxLimit {
				return events.Errorf(projections.ErrInvalidQuery, "a limit of %d is outside 1 to %d", o.Limit, query.MaxLimit)
			}
			if o.At != "" && len(args) == 0 {
				return events.Errorf(failure.ErrUsage, "a copy is of one projection, and none is named")
			}
			if o.After != "" && len(args) == 0 {
				return events.Errorf(projections.ErrInvalidCursor, "a cursor is of one projection, and none is named")
			}
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			return p.listParked(ctx, c, args, o, reveal)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Limit, "limit", query.DefaultLimit, "documents of the page, for each projection")
	flags.StringVar(&o.After, "after", "", "cursor that the page before ended with")
	p.registerAt(cmd, &o.At)
	flags.BoolVar(&reveal, "reveal", false, "show the values in reasons")
	return cmd
}

// listParked prints every projection that answers. The error of the first that does not is returned after that.
func (p *program) listParked(ctx context.Context, c *client.Client, names []string, o query.ParkedOptions, reveal bool) error {
	if len(names) == 0 {
		var err error
		if names, err = c.Reader().Projections(ctx); err != nil {
			return err
		}
	}
	all := &parkedModels{Region: c.Region().Name(), Projections: []*parkedModel{}, Hidden: !reveal}
	var first error
	for _, name := range names {
		m, err := p.parkedOf(ctx, c, name, o, reveal)
		switch {
		case err == nil:
			all.Projections = append(all.Projections, m)
		case first == nil:
			first = err
		}
	}
	if first != nil && len(names) == 1 {
		return first
	}
	if err := p.print(all, all.write); err != nil {
		return err
	}
	p.parkedNotes(all, o)
	return first
}

func (p *program) parkedOf(ctx context.Context, c *client.Client, name string, o query.ParkedOptions, reveal bool) (*parkedModel, error) {
	page, err := c.Reader().Parked(ctx, name, o)
	if err != nil {
		return nil, err
	}
	info, err := c.Log().Info(ctx)
	if err != nil {
		return nil, err
	}
	list, err := skips.Read(ctx, c.Log(), name, info.Last)
	if err != nil {
		return nil, err
	}
	if !reveal {
		page.Hide()
	}
	return &parkedModel{ParkedPage: page, Skips: len(list.Skips()), Ignored: list.Ignored()}, nil
}

func (m *parkedModels) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	n := 0
	for _, one := range m.Projections {
		for _, d := range one.Items {
			if n++; n == 1 {
				fmt.Fprintln(t, "PROJECTION\tKEY\tSEQUENCE\tREASON")
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", one.Projection, display.Name(d.Key), d.Sequence, display.Text(d.Reason))
		}
	}
	return t.Flush()
}

// parkedNotes says what the table does not.
func (p *program) parkedNotes(all *parkedModels, o query.ParkedOptions) {
	for _, m := range all.Projections {
		p.note("%s: %s parked, %s recorded, %s", m.Projection, display.Count(m.Parked, "document"), display.Count(m.Skips, "skip"), place(&m.Standing))
		if m.Unrouted > 0 {
			p.note("%s: %s unrouted, the last at %s", m.Projection, display.Count(m.Unrouted, "event"), m.UnroutedLast)
		}
		if m.Ignored != nil {
			p.note("%s: the skip record at sequence %d is obeyed nowhere: %s", m.Projection, m.Ignored.Sequence, m.Ignored.Reason)
		}
		if m.Next != "" {
			words := append([]string{"parked", "list", m.Projection}, (&readFlags{at: o.At}).words()...)
			p.note("more: %s %s", p.self, shell(append(words, "--limit", strconv.Itoa(o.Limit), "--after", m.Next)...))
		}
	}
}
