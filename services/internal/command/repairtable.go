package command

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"tidemark.dev/services/internal/display"
)

// write writes what was found, and the plan for it.
func (m *mended) write(w io.Writer) error {
	all := make([]*examined, len(m.Models))
	for i, x := range m.Models {
		all[i] = x.examined
	}
	if !m.resumed {
		if err := writeExamined(w, all); err != nil {
			return err
		}
		if err := writeFindings(w, all, m.Hidden); err != nil {
			return err
		}
	}
	planned := 0
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, x := range m.Models {
		if x.Plan == nil {
			continue
		}
		if planned++; planned == 1 {
			if !m.resumed {
				fmt.Fprintln(t)
			}
			fmt.Fprintln(t, "REGION\tPROJECTION\tPLAN\tMADE\tFINDINGS\tDOCUMENTS\tSUMS OF PARTITIONS\tWHAT")
		}
		what := "fold again"
		if x.Plan.Rebuild != "" {
			what = "BUILD ANEW: " + x.Plan.Rebuild
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", x.Region, display.Name(x.Projection), x.Plan.ID, x.Plan.Made.Format("2006-01-02 15:04:05Z"), display.Number(x.Plan.Findings),
			display.Number(x.Plan.Documents), x.Plan.Recount, display.Text(what))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range m.Models {
		if x.Plan != nil && len(x.Plan.Blocked) > 0 {
			fmt.Fprintf(w, "%s %s: to be removed by a person, because it is no document: %s\n", x.Region, display.Name(x.Projection), display.Text(strings.Join(x.Plan.Blocked, "; ")))
		}
	}
	switch {
	case planned == 0:
		fmt.Fprintln(w, "there is nothing to repair; nothing was changed")
	case m.DryRun:
		fmt.Fprintln(w, "nothing was changed")
	}
	m.writeFailures(w)
	return nil
}

// writeOutcome writes what carrying the plans out came to.
func (m *mended) writeOutcome(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nREGION\tPROJECTION\tPLAN\tREPAIRED\tRIGHT ALREADY\tRECOUNTED\tLEFT")
	var still []*examined
	for _, x := range m.Models {
		if x.Outcome == nil {
			continue
		}
		left := "unknown"
		if x.Verified != nil {
			still = append(still, x.after)
			left = display.Number(found(still[len(still)-1:]))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Region, display.Name(x.Projection), x.Plan.ID, display.Number(x.Outcome.Repaired), display.Number(x.Outcome.Right), display.Number(x.Outcome.Recounted), left)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if err := writeFindings(w, still, m.Hidden); err != nil {
		return err
	}
	m.writeFailures(w)
	return nil
}

// writeFailures says why a plan was not carried out to its end.
func (m *mended) writeFailures(w io.Writer) {
	for _, x := range m.Models {
		if x.Failed != nil {
			fmt.Fprintln(w, display.Text(fmt.Sprintf("%s %s: %s", x.Region, x.Projection, x.Failed.Message)))
		}
	}
}
