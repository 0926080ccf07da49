package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/marks"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// snapshotCommand is the parent of the commands about snapshots.
func (p *program) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Take, list, delete and copy snapshots of read models",
		Long: `A snapshot is a read model as it was at a mark of the log, kept in the region's NATS beside the log. A read model that is lost, and a replay that does not begin at the start, begin with one and
fold only what is behind it. Projectors take them by themselves; these commands are for what does not wait, and for a region whose copy of the log does not reach back to the start.`,
		Example: "  tidemark snapshot list\n  tidemark snapshot take airports\n  tidemark snapshot copy airports --from us --region ap",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.snapshotTake(), p.snapshotList(), p.snapshotDelete(), p.snapshotCopy())
	return cmd
}

// keeper returns where a region keeps snapshots.
func (s *site) keeper() (projections.Snapshots, error) {
	if k := s.region.Snapshots(); k != nil {
		return k, nil
	}
	return nil, events.Errorf(projections.ErrUnavailable, "region %s keeps no snapshots; nothing was done", s.name)
}

// withRegion opens the region that the flags mean, for as long as do takes.
func (p *program) withRegion(ctx context.Context, do func(context.Context, *site) error) error {
	p.began = true
	s, err := p.here(ctx)
	if err != nil {
		return err
	}
	defer closeSites(ctx, []*site{s})
	return do(ctx, s)
}

func (p *program) snapshotTake() *cobra.Command {
	return &cobra.Command{
		Use:   "take <projection>",
		Short: "Have a region's projector take a snapshot now",
		Long: `Have the projector of the region take a snapshot of its live read model, and wait for it. A mark is written into the log, so that it need not wait for the next one; queries and events go on
meanwhile. Ctrl-C only stops waiting.`,
		Example:           "  tidemark snapshot take airports\n  tidemark snapshot take airports --region eu -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRegion(cmd.Context(), func(ctx context.Context, s *site) error { return p.takeSnapshot(ctx, s, args[0]) })
		},
	}
}

func (p *program) takeSnapshot(ctx context.Context, s *site, name string) error {
	asking, cancel := p.bounded(ctx, 0)
	defer cancel()
	if _, err := s.meant(asking, []string{name}); err != nil {
		return err
	}
	if _, err := s.keeper(); err != nil {
		return err
	}
	pointer, _, err := projections.ReadPointer(asking, s.region.KV(), name)
	if err != nil {
		return err
	}
	if pointer.Source != nil {
		return events.Errorf(projections.ErrUnavailable, "%s is folded from the stream %s, which is not ours and has no marks at which a snapshot could be taken; nothing was started",
			name, pointer.Source.Stream)
	}
	if _, err := s.versions.Current(asking, name); errors.Is(err, catalog.ErrPaused) {
		return err
	}
	job, err := projections.RequestSnapshot(asking, s.region.KV(), name, time.Now())
	if err != nil {
		return err
	}
	job, err = p.awaitSnapshot(ctx, s, name, job)
	switch {
	case ctx.Err() != nil:
		return events.Errorf(failure.ErrInterrupted, "the snapshot of %s is still to be taken; only waiting for it ended", name).
			Hint("%s snapshot list %s%s shows it when it is there.", p.self, name, p.inRegion())
	case err != nil:
		return err
	case job.State == projections.SnapshotFailed:
		code := cmp.Or(events.Code(job.Code), projections.ErrUnavailable)
		return events.Errorf(code, "no snapshot of %s was taken: %s", name, strings.TrimPrefix(job.Message, job.Code+": ")).Hint("It may be tried again.")
	case job.Snapshot == nil:
		return events.Errorf(projections.ErrUnavailable, "the snapshot of %s was taken, and its record does not say which", name).Hint("%s snapshot list %s%s", p.self, name, p.inRegion())
	}
	took := job.Snapshot
	return p.print(took, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s of %s: %s at %s, mark %d, %s\n", took.ID, took.Projection, display.Count(took.Documents, "document"), took.Position, took.Mark, size(took.Bytes))
		return err
	})
}

const (
	// markDelay is after how long a mark is written for a snapshot: its projector has heard of it by then. Later ones come in intervals that double.
	markDelay = 300 * time.Millisecond
	// maxMarks bounds the marks that are written for one snapshot.
	maxMarks = 6
)

// awaitSnapshot waits until a snapshot was taken, and has marks written meanwhile.
func (p *program) awaitSnapshot(ctx context.Context, s *site, name string, job projections.SnapshotJob) (projections.SnapshotJob, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	writer := marks.New(s.region.Log(), marks.Options{})
	go func() {
		wait := markDelay
		for range maxMarks {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
				_, _ = writer.Now(ctx) // without it, the snapshot waits for the next one
			case <-ctx.Done():
				t.Stop()
				return
			}
			wait *= 2
		}
	}()
	patience := time.AfterFunc(unattended, func() {
		p.note("no projector has taken the snapshot yet; it is taken as soon as one runs and stands at a mark")
	})
	defer patience.Stop()
	for e, err := range s.region.KV().Watch(ctx, projections.SnapshotKey(name)) {
		if err != nil {
			return job, err
		}
		var now projections.SnapshotJob
		if e.Value == nil {
			return job, events.Errorf(projections.ErrUnavailable, "no snapshot was taken: %s was removed", name)
		}
		if err := json.Unmarshal(e.Value, &now); err != nil {
			return job, events.Errorf(projections.ErrUnavailable, "the record of the snapshot cannot be read: %w", err)
		}
		if now.ID != job.ID {
			return job, events.Errorf(projections.ErrUnavailable, "another snapshot of %s was asked for before it was seen what came of this one", name).
				Hint("%s snapshot list %s%s", p.self, name, p.inRegion())
		}
		if job = now; !job.Running() {
			return job, nil
		}
	}
	if ctx.Err() != nil {
		return job, context.Cause(ctx)
	}
	return job, errors.New("watching the snapshot ended by itself")
}

// snapshotList is what snapshot list prints.
type snapshotList struct {
	Region    string           `json:"region"`
	Snapshots []listedSnapshot `json:"snapshots"`
}

// listedSnapshot is a snapshot, and whether it is of what is live.
type listedSnapshot struct {
	projections.Snapshot
	// Live says that it is of the version that is live in the region.
	Live bool `json:"of_live_version"`
}

func (p *program) snapshotList() *cobra.Command {
	return &cobra.Command{
		Use:               "list [projection]",
		Short:             "Print the snapshots that a region keeps",
		Long:              `Print the snapshots that a region keeps, of one projection or of all, the newest of each first. A read model can begin with those of its own version.`,
		Example:           "  tidemark snapshot list\n  tidemark snapshot list airports --region eu -o json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRegion(cmd.Context(), func(ctx context.Context, s *site) error {
				ctx, cancel := p.bounded(ctx, 0)
				defer cancel()
				l, err := s.snapshots(ctx, args)
				if err != nil {
					return err
				}
				return p.print(l, l.write)
			})
		},
	}
}

// snapshots lists the snapshots of a region.
func (s *site) snapshots(ctx context.Context, args []string) (*snapshotList, error) {
	names, err := s.meant(ctx, args)
	if err != nil {
		return nil, err
	}
	keeper, err := s.keeper()
	if err != nil {
		return nil, err
	}
	l := &snapshotList{Region: s.name, Snapshots: []listedSnapshot{}}
	for _, name := range names {
		pointer, _, err := projections.ReadPointer(ctx, s.region.KV(), name)
		if err != nil {
			return nil, err
		}
		list, err := keeper.List(ctx, name)
		if err != nil {
			return nil, err
		}
		for i := range list {
			l.Snapshots = append(l.Snapshots, listedSnapshot{list[i], list[i].Definition == pointer.Definition})
		}
	}
	return l, nil
}

func (l *snapshotList) write(w io.Writer) error {
	if len(l.Snapshots) == 0 {
		_, err := fmt.Fprintf(w, "no snapshot is kept in %s: tidemark snapshot take PROJECTION has one taken\n", l.Region)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tPROJECTION\tVERSION\tMARK\tSEQUENCE\tDOCUMENTS\tSIZE\tTAKEN IN\tTAKEN")
	for i := range l.Snapshots {
		x := &l.Snapshots[i]
		version := fmt.Sprint(x.Version)
		if !x.Live {
			version += ", not the live one"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n",
			display.Name(x.ID), display.Name(x.Projection), version, x.Mark, display.Number(x.Sequence), display.Number(x.Documents), size(x.Bytes), orNone(x.Region), moment(x.Taken))
	}
	return t.Flush()
}

func (p *program) snapshotDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete <projection> ID",
		Short: "Delete a snapshot",
		Long: `Delete a snapshot from the region. Read models are not touched; one that is lost, or a replay that does not begin at the start, has to fold more records without it, and cannot be built at all where
the region's copy of the log does not reach back to the start. It wants --yes.`,
		Example:           "  tidemark snapshot delete airports 01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11 --yes",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: p.snapshotIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRegion(cmd.Context(), func(ctx context.Context, s *site) error {
				ctx, cancel := p.bounded(ctx, 0)
				defer cancel()
				x, keeper, err := s.snapshot(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				what := fmt.Sprintf("the snapshot %s of %s in %s, of sequence %d", x.ID, x.Projection, s.name, x.Sequence)
				if !yes {
					return events.Errorf(failure.ErrUsage, "%s would be deleted; nothing was deleted", what).Hint("Add --yes if that is meant.")
				}
				if err := keeper.Delete(ctx, x.Projection, x.ID); err != nil {
					return err
				}
				return p.print(map[string]any{"deleted": x}, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, what+", is deleted")
					return err
				})
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "it is meant")
	return cmd
}

// snapshot returns a snapshot that a region keeps: that of an id or, without one, the newest.
func (s *site) snapshot(ctx context.Context, name, id string) (projections.Snapshot, projections.Snapshots, error) {
	if _, err := s.meant(ctx, []string{name}); err != nil {
		return projections.Snapshot{}, nil, err
	}
	keeper, err := s.keeper()
	if err != nil {
		return projections.Snapshot{}, nil, err
	}
	list, err := keeper.List(ctx, name)
	if err != nil {
		return projections.Snapshot{}, nil, err
	}
	i := slices.IndexFunc(list, func(x projections.Snapshot) bool { return id == "" || x.ID == id })
	switch {
	case i < 0 && id == "":
		return projections.Snapshot{}, nil, events.Errorf(projections.ErrUnknownSnapshot, "%s keeps no snapshot of %s; nothing was done", s.name, name).
			Hint("tidemark snapshot take %s --region %s has one taken.", name, s.name)
	case i < 0:
		return projections.Snapshot{}, nil, events.Errorf(projections.ErrUnknownSnapshot, "%s keeps no snapshot %.80q of %s; nothing was done", s.name, id, name).
			Hint("tidemark snapshot list %s --region %s shows those that it keeps.", name, s.name)
	}
	return list[i], keeper, nil
}

// snapshotIDs completes a projection, and then the id of a snapshot of it.
func (p *program) snapshotIDs(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.projectionNames(cmd, args, word)
	}
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
	l, err := s.snapshots(ctx, args)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for i := range l.Snapshots {
		x := &l.Snapshots[i]
		ids = append(ids, fmt.Sprintf("%s\tof sequence %d, version %d", x.ID, x.Sequence, x.Version))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
