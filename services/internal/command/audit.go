package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections/marks"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// auditCommand is the parent of what can be done about the audit of a region's copy of the log.
func (p *program) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Accept a log that the audit of a region refuses",
		Long: `Each region audits its copy of the log by the chains of its marks, and applies nothing from a log that fails. One that was made anew, cut back or written over is refused until a person
says which history is the right one.`,
		Example: "  tidemark audit accept --region us",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.auditAccept())
	return cmd
}

func (p *program) auditAccept() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "accept",
		Short: "Say that the log of a region is the right one as it is now",
		Long: `Print what the audit of a region remembers of the log, what it finds instead, and how the log is now. With --yes the audit forgets what it remembers and begins anew with the log as it
is. Read models that were folded from the other history refuse to go on; replay them from the start. Without --region it is about the region that leads.

Only a log that was made anew, cut back or written over can be accepted. One that contradicts its own marks is to be restored. Exit code 1: nothing was changed.`,
		Example: "  tidemark audit accept --region us\n  tidemark audit accept --region us --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.began = true
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			c, _, err := p.find()
			if err != nil {
				return err
			}
			r, err := region.Open(ctx, c)
			if err != nil {
				return err
			}
			defer r.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what was asked for is acknowledged
			return p.accept(ctx, r, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "accept it, and do not only say what there is")
	return cmd
}

// refused is what audit accept prints.
type refused struct {
	Region string `json:"region"`
	Origin string `json:"origin"`
	// Remembered are the lineage that was audited, and the last sequence.
	Remembered struct {
		Lineage events.Lineage `json:"lineage"`
		Upto    uint64         `json:"upto"`
	} `json:"remembered"`
	Finding *marks.Finding `json:"finding"`
	// Head is where the log ends now.
	Head     string `json:"head,omitempty"`
	Accepted bool   `json:"accepted"`
}

// accept says what a region's audit refuses, and has it accepted.
func (p *program) accept(ctx context.Context, r *region.Region, yes bool) error {
	log, kv := r.Log(), r.KV()
	audit, revision, err := marks.Remembered(ctx, kv, log.Origin())
	if err != nil {
		return err
	}
	if audit.Finding == nil || !audit.Finding.Acceptable() {
		return marks.Accept(ctx, kv, log.Origin(), revision) // says why not
	}
	told := refused{Region: r.Name(), Origin: log.Origin(), Finding: audit.Finding}
	told.Remembered.Lineage, told.Remembered.Upto = audit.Lineage, audit.Upto()
	if info, err := log.Info(ctx); err == nil { // a log whose identity cannot be told is named by the finding
		told.Head = info.Head().String()
	}
	if yes {
		if err := marks.Accept(ctx, kv, log.Origin(), revision); err != nil {
			return err
		}
		told.Accepted = true
	}
	if err := p.print(&told, told.write); err != nil || yes {
		return err
	}
	return events.Errorf(failure.ErrDeclined, "nothing was accepted").Hint("If this log is the right one: tidemark audit accept --region %s --yes", r.Name())
}

func (t *refused) write(w io.Writer) error {
	head := t.Head
	if head == "" {
		head = "unknown"
	}
	verb := "refuses"
	if t.Accepted {
		verb = "refused, and now accepts,"
	}
	_, err := fmt.Fprintf(w, "region %s %s its copy of the log of origin %s\n  remembered: lineage %s, audited up to %s\n  found:      %s: %s\n  the log is: %s\n",
		t.Region, verb, t.Origin, t.Remembered.Lineage, display.Number(t.Remembered.Upto), t.Finding.Kind, t.Finding.Text, head)
	if err == nil && t.Accepted {
		_, err = fmt.Fprintln(w, "Read models of the other history refuse to go on: tidemark replay NAME --from-start")
	}
	return err
}
