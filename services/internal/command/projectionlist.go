package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) projectionList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the projections of the installation, and how they do in this region",
		Long: `Print the projections of the installation: those that were applied from a file, and those that are compiled into its projectors (kind go). The version and
the state are the same everywhere; LIVE is the version that queries in this region are answered from, and LAG how far it is behind the log.`,
		Example: "  tidemark projection list\n  tidemark projection list --region ap -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.began = true
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			l, err := c.Reader().Catalog(ctx)
			if err != nil {
				return err
			}
			return p.print(l, func(w io.Writer) error { return p.listing(w, &l) })
		},
	}
}

func (p *program) listing(w io.Writer, l *query.Listing) error {
	if len(l.Projections) == 0 {
		_, err := fmt.Fprintf(w, "no projection yet: %s projection apply FILE makes one\n", p.self)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROJECTION\tVERSION\tKIND\tSTATE\tLIVE\tPROJECTOR\tLAG\tFINGERPRINT\tDEFINITION")
	for i := range l.Projections {
		e := &l.Projections[i]
		definition := e.Definition.String()
		if definition == "" {
			definition = "compiled in"
		}
		live, projector, behind := liveOf(e)
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Name, e.Version, display.Name(string(e.Kind)), display.Name(string(e.State)), live, projector, behind,
			display.Name(e.Fingerprint), definition)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range l.Projections {
		if e := &l.Projections[i]; e.Here != nil && e.Here.Message != "" {
			fmt.Fprintln(w, display.Text(fmt.Sprintf("\n%s: %s", e.Name, e.Here.Message)))
		}
	}
	return nil
}

// liveOf returns which version is live in this region, what its projector says, and its lag.
func liveOf(e *query.Listed) (version, projector, behind string) {
	m := e.Here
	if m == nil {
		return "none yet", "none yet", "unknown"
	}
	version = "none yet"
	switch {
	case m.State == "live":
		version = fmt.Sprint(m.Version)
	case m.Generation != 0:
		version = fmt.Sprintf("%d, %s", m.Version, m.State)
	}
	return version, string(m.Projector), lag(m.Lag)
}

func (p *program) projectionShow() *cobra.Command {
	var yaml bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print one projection: its file as it was applied, and how it does in this region",
		Long: `Print one projection: what the catalog says of it, the documents that this region serves, and the text of its file as it was applied, comments included.
One that is compiled into the projectors has no file.`,
		Example: `  tidemark projection show airports
  tidemark projection show airports --yaml > airports.yaml
  tidemark projection show airports -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.catalogNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			d, err := c.Reader().Definition(ctx, args[0])
			if err != nil {
				return err
			}
			if yaml {
				return p.yaml(&d)
			}
			return p.print(d, func(w io.Writer) error { return definition(w, &d) })
		},
	}
	cmd.Flags().BoolVar(&yaml, "yaml", false, "print nothing but the file, byte for byte")
	return cmd
}

// yaml prints the file. A terminal gets it without what could do something to it.
func (p *program) yaml(d *query.Definition) error {
	switch {
	case p.output == outputJSON:
		return events.Errorf(failure.ErrUsage, "--yaml and -o json are two forms").Hint("Use one of them; the JSON has the file as text.")
	case d.Kind != catalog.File:
		return events.Errorf(failure.ErrUsage, "%s is written in Go and compiled in, so there is no file of it", d.Name)
	case display.Terminal(p.out):
		_, err := fmt.Fprint(p.out, display.Text(d.Text))
		return err
	}
	_, err := io.WriteString(p.out, d.Text)
	return err
}

func definition(w io.Writer, d *query.Definition) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tversion %d, %s, %s\n", d.Name, d.Version, display.Name(string(d.Kind)), display.Name(string(d.State)))
	fmt.Fprintf(t, "fingerprint\t%s\n", display.Name(d.Fingerprint))
	if !d.Definition.IsZero() {
		fmt.Fprintf(t, "definition\t%s\n", d.Definition)
	}
	live, projector, behind := liveOf(&d.Listed)
	fmt.Fprintf(t, "in %s\tlive %s, projector %s, lag %s\n", d.Region, live, projector, behind)
	fields := make([]string, len(d.Fields))
	for i, f := range d.Fields {
		fields[i] = fmt.Sprintf("%s %s", f.Name, f.Kind)
	}
	if len(fields) > 0 {
		fmt.Fprintf(t, "documents\t%s\n", strings.Join(fields, ", "))
	}
	for _, x := range d.Indexes {
		fmt.Fprintf(t, "index %s\t%s\n", x.Name, strings.Join(x.Fields, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if d.Here != nil && d.Here.Message != "" {
		fmt.Fprintln(w, display.Text(d.Here.Message))
	}
	if d.Text == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s", display.Text(d.Text))
	return err
}

// catalogNames completes the name of a projection of the catalog. What goes wrong is no reason to disturb a person who is typing.
func (p *program) catalogNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const patience = 2 * time.Second
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close() //nolint:errcheck // the command is over
	now, err := catalog.Read(ctx, c.Log())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for i := range now.Entries {
		if now.Entries[i].State != catalog.Removed {
			names = append(names, now.Entries[i].Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
