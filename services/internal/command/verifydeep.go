package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/display"
)

// shownFindings bounds the findings that are printed as text; -o json has all.
const shownFindings = 50

// deepFlags are what verify is told about looking at documents.
type deepFlags struct{ deep, reveal bool }

// lookedDeep is what looking at every document came to.
type lookedDeep struct {
	Findings int `json:"findings"`
	// Complete says that everything was examined.
	Complete bool        `json:"complete"`
	Examined []*examined `json:"examined"`
	// Hidden says that values of findings are.
	Hidden bool `json:"values_hidden"`
}

// lookDeep reads every document, in the regions that are meant.
func (p *program) lookDeep(ctx context.Context, regions, names []string, reveal bool) (*lookedDeep, error) {
	list, err := p.sites(ctx, regions)
	if err != nil {
		return nil, err
	}
	defer closeSites(ctx, list)
	all, err := p.examine(ctx, list, names, true)
	if err != nil {
		return nil, err
	}
	d := &lookedDeep{Findings: found(all), Complete: true, Examined: all, Hidden: !reveal}
	for _, x := range all {
		d.Complete = d.Complete && x.Unknown == nil
		if !reveal {
			x.hide()
		}
	}
	return d, nil
}

func (d *lookedDeep) err() error {
	if d == nil {
		return nil
	}
	return damaged(d.Examined, "tidemark repair --dry-run says what would be put right.")
}

func (d *lookedDeep) write(w io.Writer) error {
	if d == nil {
		return nil
	}
	fmt.Fprintln(w)
	if err := writeExamined(w, d.Examined); err != nil {
		return err
	}
	return writeFindings(w, d.Examined, d.Hidden)
}

// writeExamined writes a row for each read model, and below why something was not examined.
func writeExamined(w io.Writer, all []*examined) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REGION\tPROJECTION\tEXAMINED\tDOCUMENTS\tPARTITIONS\tFINDINGS")
	for _, x := range all {
		name := "all"
		if x.Projection != "" {
			name = display.Name(x.Projection)
		}
		r := x.Report
		if r == nil {
			fmt.Fprintf(t, "%s\t%s\tno\tunknown\tunknown\tunknown\n", x.Region, name)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s, took %s\t%s\t%d of %d\t%s\n", x.Region, name, r.Ended.Format("2006-01-02 15:04:05Z"), display.Duration(r.Ended.Sub(r.Began)),
			display.Number(r.Documents), r.Compared, r.Partitions, display.Number(len(r.Findings)+r.More))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range all {
		if x.Unknown != nil {
			fmt.Fprintln(w, display.Text(fmt.Sprintf("%s: %s", strings.TrimSuffix(x.Region+" "+x.Projection, " "), x.Unknown.Message)))
		}
	}
	return nil
}

// writeFindings writes a row for each finding.
func writeFindings(w io.Writer, all []*examined, hidden bool) error {
	n := found(all)
	if n == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REGION\tPROJECTION\tKEY\tKIND\tSINCE\tWHAT")
	shown := 0
	for _, x := range all {
		if x.Report == nil {
			continue
		}
		for i := range x.Report.Findings {
			if shown == shownFindings {
				break
			}
			shown++
			f := &x.Report.Findings[i]
			key := "all"
			if f.Key != "" {
				key = display.Name(f.Key)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Region, display.Name(f.Projection), key, f.Kind, sinceOf(f), display.Text(whatOf(f, hidden)))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if n > shown {
		fmt.Fprintf(w, "and %s more", display.Count(n-shown, "finding"))
		if shown == shownFindings {
			fmt.Fprint(w, ", of which -o json has up to 1,000 of each read model")
		}
		fmt.Fprintln(w)
	}
	return nil
}

// sinceOf says since when something is wrong, as far as it is known.
func sinceOf(f *reconcile.Finding) string {
	var said []string
	if f.FirstBad > 0 {
		said = append(said, fmt.Sprintf("sequence %d", f.FirstBad))
	}
	if f.Outside {
		said = append(said, "changed outside the log")
	}
	switch {
	case len(said) > 0:
		return strings.Join(said, ", ")
	case f.LastGood > 0:
		return fmt.Sprintf("right at the mark at %d", f.LastGood)
	}
	return "unknown"
}

// whatOf says what is wrong.
func whatOf(f *reconcile.Finding, hidden bool) string {
	if f.Member != "" {
		return fmt.Sprintf("%q of %s can name no document", f.Member, cmp.Or(f.Index, "the list of keys"))
	}
	if f.Foreign {
		return "something that is no document is stored under its name"
	}
	switch f.Kind {
	case reconcile.KindMissing:
		return "there is no such document"
	case reconcile.KindExtra:
		if f.Misplaced {
			return fmt.Sprintf("in partition %d, which is not its own", f.Partition)
		}
		return "there should be no such document"
	case reconcile.KindIndex:
		where := "the list of keys"
		if f.Index != "" {
			where = "the index " + f.Index
		}
		if f.Entry == reconcile.EntryMissing {
			return "not in " + where
		}
		return "in " + where + " where it is not"
	case reconcile.KindPartition:
		return fmt.Sprintf("what partition %d says of all its documents", f.Partition)
	}
	var fields []string
	for _, d := range f.Fields {
		fields = append(fields, differenceOf(&d, hidden))
	}
	if len(fields) == 0 {
		return "its digest, or where it stands"
	}
	return strings.Join(fields, "; ")
}

// differenceOf says how a field differs.
func differenceOf(d *reconcile.FieldDifference, hidden bool) string {
	switch {
	case d.Found == nil:
		return d.Field + " is not there"
	case hidden || d.Expected == nil:
		return d.Field
	}
	return fmt.Sprintf("%s is %s, should be %s", d.Field, display.Name(*d.Found), display.Name(*d.Expected))
}
