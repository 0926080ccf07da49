package command

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// findings prints what the reconcilers have found and repaired by themselves.
func (p *program) findings() *cobra.Command {
	var reveal bool
	cmd := &cobra.Command{
		Use:   "findings [projection]",
		Short: "Print what the reconcilers found and repaired, of one projection or of all",
		Long: `Print what the reconciler of each region knows of its read models: when every document was compared with its digest last, when everything was folded again from the log, what was
found to be stored otherwise than the log says, and whether it was repaired.

Nothing is examined for this; tidemark verify --deep does that at once. Values are hidden; --reveal shows them. Exit code 0: nothing is open. 1: something was found and is not repaired.
3: a region does not say.`,
		Example:           "  tidemark findings\n  tidemark findings airports --region eu --reveal\n  tidemark findings -o json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !projections.ValidName(args[0]) {
				return projections.UnknownProjection(args[0])
			}
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			c, err := p.everywhere(ctx)
			if err != nil {
				return err
			}
			regions := c.Names()
			c.Close() //nolint:errcheck // nothing was written
			list, err := p.sites(ctx, regions)
			if err != nil {
				return err
			}
			defer closeSites(ctx, list)
			f, err := known(ctx, list, args, reveal)
			if err != nil {
				return err
			}
			if err := p.print(f, f.write); err != nil {
				return err
			}
			return f.err()
		},
	}
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show the values of findings")
	return cmd
}

// knownFindings is what findings prints.
type knownFindings struct {
	// Open counts the read models with findings that are not repaired.
	Open    int            `json:"open"`
	Records []*knownRecord `json:"records"`
	// Hidden says that values of findings are.
	Hidden bool `json:"values_hidden"`
}

// knownRecord is what the reconciler of a region knows of a read model, or why the region does not say.
type knownRecord struct {
	reconcile.Record
	Unknown *reconcile.Reason `json:"unknown,omitempty"`
}

// known asks the regions for the read models that are named, or for all that any of them has.
func known(ctx context.Context, list []*site, names []string, reveal bool) (*knownFindings, error) {
	if len(names) == 0 {
		names = readModels(list)
	}
	f := &knownFindings{Records: []*knownRecord{}, Hidden: !reveal}
	there := len(names) != 1
	for _, s := range list {
		if s.err != nil {
			f.Records, there = append(f.Records, &knownRecord{Record: reconcile.Record{Region: s.name}, Unknown: reasonOf(s.err)}), true
			continue
		}
		reader := query.New(s.name, s.region.Store(), s.region.KV(), nil)
		for _, name := range names {
			record, err := reader.Findings(ctx, name, reveal)
			r := &knownRecord{Record: record}
			if code, _ := events.CodeOf(err); err != nil {
				r.Record, r.Unknown = reconcile.Record{Region: s.name, Projection: name}, reasonOf(err)
				there = there || code != projections.ErrUnknownProjection
			} else {
				there = true
			}
			if r.Open {
				f.Open++
			}
			f.Records = append(f.Records, r)
		}
	}
	if !there {
		return nil, projections.UnknownProjection(names[0])
	}
	return f, nil
}

func (f *knownFindings) err() error {
	if f.Open > 0 {
		return events.Errorf(failure.ErrDamaged, "%s found to be stored otherwise than the log says, and not repaired", display.Count(f.Open, "read model")).Hint("tidemark repair --dry-run says what would be put right.")
	}
	for _, r := range f.Records {
		if r.Unknown != nil {
			return events.Errorf(failure.ErrNotVerified, "not every region says what its reconciler knows")
		}
	}
	return nil
}

// write writes a row for each read model, and below what is open.
func (f *knownFindings) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REGION\tPROJECTION\tSCRUBBED\tDOCUMENTS\tFOLDED AGAIN\tFOUND\tREPAIRED\tOPEN")
	var all []*examined
	for _, r := range f.Records {
		if r.Unknown != nil {
			fmt.Fprintf(t, "%s\t%s\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\n", r.Region, display.Name(r.Projection))
			continue
		}
		scrubbed, documents, folded, open := "never", "0", "never", "none"
		if s := r.Scrubbed; s != nil {
			scrubbed, documents = s.Ended.Format("2006-01-02 15:04:05Z"), display.Number(s.Documents)
		}
		if s := r.Folded; s != nil {
			folded = s.Ended.Format("2006-01-02 15:04:05Z")
		}
		if r.Open {
			open = display.Number(r.Found)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Region, display.Name(r.Projection), scrubbed, documents, folded, display.Number(r.TotalFound), display.Number(r.TotalRepaired), open)
		if len(r.Findings) > 0 {
			all = append(all, &examined{Region: r.Region, Projection: r.Projection, Report: &reconcile.Report{Findings: r.Findings, More: r.Found - len(r.Findings)}})
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range f.Records {
		switch {
		case r.Unknown != nil:
			fmt.Fprintln(w, display.Text(fmt.Sprintf("%s %s: %s", r.Region, r.Projection, r.Unknown.Message)))
		case r.Failed != "":
			fmt.Fprintln(w, display.Text(fmt.Sprintf("%s %s: the last examination came to nothing: %s", r.Region, r.Projection, r.Failed)))
		case r.Repaired != nil && r.Repaired.Message != "":
			fmt.Fprintln(w, display.Text(fmt.Sprintf("%s %s: not repaired: %s", r.Region, r.Projection, r.Repaired.Message)))
		}
	}
	return writeFindings(w, all, f.Hidden)
}
