package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) replayList() *cobra.Command {
	return &cobra.Command{
		Use:   "list [projection]",
		Short: "Print the replays that a region remembers, its copies, and the generations that it keeps",
		Long: `Print the replays that the region remembers, of one projection or of all, the newest first: the last 21 of each. Below them are the copies, and the generation before, which goes on being
followed until then and can take over again.`,
		Example:           "  tidemark replay list\n  tidemark replay list airports --region eu -o json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			s, err := p.here(cmd.Context())
			if err != nil {
				return err
			}
			defer closeSites(cmd.Context(), []*site{s})
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			l := &replayList{Region: s.name, Replays: []projections.Replay{}, Kept: []keptModel{}, Copies: []keptModel{}}
			if err := l.read(ctx, s, args); err != nil {
				return err
			}
			return p.print(l, l.write)
		},
	}
}

// replayList is what replay list prints.
type replayList struct {
	Region  string               `json:"region"`
	Replays []projections.Replay `json:"replays"` // the newest first
	Kept    []keptModel          `json:"kept"`    // generations before the live ones
	Copies  []keptModel          `json:"copies"`
}

// keptModel is a generation beside the live one.
type keptModel struct {
	Projection string `json:"projection"`
	Name       string `json:"name,omitempty"` // of a copy
	Generation uint32 `json:"generation"`
	Version    int    `json:"version"`
	// Position is empty, and Documents 0, when the store does not say.
	Position  string     `json:"position,omitempty"`
	Documents uint64     `json:"documents"`
	Digest    string     `json:"digest,omitempty"`
	Made      *time.Time `json:"made,omitempty"`
	// Until is when it is dropped; nil: when somebody drops it.
	Until *time.Time `json:"until,omitempty"`
}

// names returns the read models of a region, or the one that is meant.
func (s *site) meant(ctx context.Context, args []string) ([]string, error) {
	if len(args) == 0 {
		return s.versions.Names(ctx)
	}
	if !projections.ValidName(args[0]) {
		return nil, projections.UnknownProjection(args[0])
	}
	pointer, _, err := projections.ReadPointer(ctx, s.region.KV(), args[0])
	if err == nil && pointer.Generation == 0 {
		err = projections.UnknownProjection(args[0])
	}
	return args, err
}

func (l *replayList) read(ctx context.Context, s *site, args []string) error {
	names, err := s.meant(ctx, args)
	if err != nil {
		return err
	}
	for _, name := range names {
		list, err := projections.Replays(ctx, s.region.KV(), name)
		if err != nil {
			return err
		}
		for i := range list {
			hideSamples(&list[i])
		}
		l.Replays = append(l.Replays, list...)
		pointer, _, err := projections.ReadPointer(ctx, s.region.KV(), name)
		if err != nil {
			return err
		}
		if before := pointer.Previous; before != nil {
			k := keptModel{Projection: name, Generation: before.Generation, Version: before.Version, Until: before.Until}
			if headers, err := s.region.Store().Headers(ctx, before.Of(name)); err == nil {
				_, k.Documents, _ = projections.Sum(headers)
				k.Position = lowest(headers).String()
			}
			l.Kept = append(l.Kept, k)
		}
		for i := range pointer.Copies {
			c := &pointer.Copies[i]
			l.Copies = append(l.Copies, keptModel{
				Projection: name, Name: c.Name, Generation: c.Generation, Version: c.Version, Position: c.Position, Documents: c.Documents, Digest: c.Digest, Made: &c.Made, Until: c.Until,
			})
		}
	}
	slices.SortStableFunc(l.Replays, func(a, b projections.Replay) int { return b.Requested.Compare(a.Requested) })
	return nil
}

// lowest returns the checkpoint of the partition that is furthest behind.
func lowest(headers []projections.Header) events.Position {
	if len(headers) == 0 {
		return events.Position{}
	}
	return slices.MinFunc(headers, func(a, b projections.Header) int {
		return cmp.Compare(projections.SequenceOf(a.Checkpoint), projections.SequenceOf(b.Checkpoint))
	}).Checkpoint
}

func (l *replayList) write(w io.Writer) error {
	if len(l.Replays) == 0 {
		fmt.Fprintf(w, "no replay is remembered in %s\n", l.Region)
	} else if err := l.writeReplays(w); err != nil {
		return err
	}
	if len(l.Kept)+len(l.Copies) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROJECTION\tBESIDE IT\tGENERATION\tVERSION\tDOCUMENTS\tUNTIL\tPOSITION")
	for _, k := range slices.Concat(l.Kept, l.Copies) {
		what, until := "the generation before", "something takes its place"
		if k.Name != "" {
			what, until = "copy "+display.Name(k.Name), "it is dropped"
		}
		if k.Until != nil {
			until = moment(*k.Until)
		}
		documents, position := display.Number(k.Documents), display.Name(k.Position)
		if k.Position == "" {
			documents, position = "unknown", "unknown"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", display.Name(k.Projection), what, k.Generation, k.Version, documents, until, position)
	}
	return t.Flush()
}

func (l *replayList) writeReplays(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPROJECTION\tKIND\tSTRATEGY\tSTATE\tFROM\tRECORDS\tTOOK\tPROOF\tREQUESTED")
	for i := range l.Replays {
		r := &l.Replays[i]
		strategy, records, from := "none yet", "none yet", "start"
		if r.From > 1 {
			from = display.Number(r.From)
		}
		if r.Plan != nil {
			strategy, records = string(r.Plan.Strategy), display.Number(r.Plan.Records)
		}
		state := string(r.State)
		if r.State == projections.ReplayBuilding {
			s := stageOf(r)
			state = fmt.Sprintf("%s %d %%", s.Stage, s.percent())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			display.Name(r.ID), display.Name(r.Projection), kindOf(r), strategy, state, from, records, took(r), shortProof(r), moment(r.Requested))
	}
	return t.Flush()
}

func kindOf(r *projections.Replay) string {
	switch {
	case r.Kind == projections.ReplayCopy:
		return "copy " + display.Name(r.As)
	case r.Kind == projections.ReplayDrop && r.As != "":
		return "drop " + display.Name(r.As)
	}
	return cmp.Or(string(r.Kind), "replay")
}

func took(r *projections.Replay) string {
	if r.Finished == nil {
		return "not ended"
	}
	return display.Duration(r.Finished.Sub(r.Requested))
}

func shortProof(r *projections.Replay) string {
	if r.Proof == nil {
		return "none"
	}
	return string(r.Proof.Result)
}

func (p *program) replayShow() *cobra.Command {
	var reveal bool
	cmd := &cobra.Command{
		Use:   "show [projection] ID",
		Short: "Print all that a region knows of one replay",
		Long: `Print one replay: what was asked for, how it is done and why, how far it is, why it went further back, with what it was compared, and which documents differ. Without a projection it is looked for
in all of them. Values of documents are hidden; --reveal shows them.`,
		Example: `  tidemark replay show 01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11
  tidemark replay show airports 01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11 --reveal -o json`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			ids, none := p.replayIDs(cmd, args, word)
			if len(args) == 0 {
				names, _ := p.projectionNames(cmd, args, word)
				return slices.Concat(names, ids), none
			}
			return ids, none
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			s, err := p.here(cmd.Context())
			if err != nil {
				return err
			}
			defer closeSites(cmd.Context(), []*site{s})
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			job, err := s.replayOf(ctx, args[:len(args)-1], args[len(args)-1])
			if err != nil {
				return err
			}
			if !reveal {
				hideSamples(&job)
			}
			return p.print(&job, func(w io.Writer) error { return showReplay(w, &job, reveal) })
		},
	}
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show the values of documents that differ")
	return cmd
}

// replayOf returns the replay of an id, of one projection or of any.
func (s *site) replayOf(ctx context.Context, args []string, id string) (projections.Replay, error) {
	if id == "" {
		return projections.Replay{}, events.Errorf(failure.ErrUsage, "the id of the replay is empty").Hint("tidemark replay list shows them.")
	}
	names, err := s.meant(ctx, args)
	if err != nil {
		return projections.Replay{}, err
	}
	for _, name := range names {
		list, err := projections.Replays(ctx, s.region.KV(), name)
		if err != nil {
			return projections.Replay{}, err
		}
		if i := slices.IndexFunc(list, func(r projections.Replay) bool { return r.ID == id }); i >= 0 {
			return list[i], nil
		}
	}
	return projections.Replay{}, projections.UnknownReplay(cmp.Or(strings.Join(args, ""), "any projection"), id)
}

// showReplay writes all of one replay.
func showReplay(w io.Writer, r *projections.Replay, revealed bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "replay\t%s of %s: %s\n", display.Name(r.ID), display.Name(r.Projection), r.State)
	fmt.Fprintf(t, "asked\t%s, %s (%s)\n", moment(r.Requested), whatOfReplay(&r.ReplayRequest), display.Text(r.Reason))
	if r.Rate > 0 {
		fmt.Fprintf(t, "rate\tat most %s in each second\n", display.Count(r.Rate, "record"))
	}
	if r.RequireEqual {
		fmt.Fprintln(t, "required\tthat it is proven equal")
	}
	if r.Cancel {
		fmt.Fprintln(t, "cancel\tsomebody asked to give it up")
	}
	if r.Plan != nil {
		planRows(t, r.Plan)
	}
	if r.Yields != "" {
		fmt.Fprintf(t, "stands still\t%s\n", display.Text(r.Yields))
	}
	if r.Generation > 0 {
		fmt.Fprintf(t, "generation\t%d\n", r.Generation)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := replayed(w, r); err != nil {
		return err
	}
	if d := r.Difference; d != nil && len(d.Samples) > 0 && !revealed {
		fmt.Fprintln(w, "values are hidden; --reveal shows them")
	}
	return nil
}

// replayIDs completes the id of a replay, of the projection that is named already or of any.
func (p *program) replayIDs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	s, err := p.here(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer closeSites(cmd.Context(), []*site{s})
	var l replayList
	if err := l.read(ctx, s, args); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for i := range l.Replays {
		r := &l.Replays[i]
		ids = append(ids, fmt.Sprintf("%s\t%s %s, %s", r.ID, kindOf(r), r.Projection, r.State))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
