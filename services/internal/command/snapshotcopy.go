package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/snapshots"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) snapshotCopy() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "copy <projection> [ID] --from REGION",
		Short: "Copy a snapshot from one region to another",
		Long: `Copy a snapshot, the newest one or that of an ID, from one region to the one that --region names. A region that joins late, whose copy of the log does not reach back to the start, can
build its read models only with one. Every document of it is checked on the way; one that is damaged is not kept. Copying what is there already changes nothing.`,
		Example:           "  tidemark snapshot copy airports --from us --region ap\n  tidemark snapshot copy airports 01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11 --from us --region ap -o json",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			if from == "" {
				return events.Errorf(failure.ErrUsage, "it is not said from which region; nothing was copied").Hint("Add --from REGION.")
			}
			id := ""
			if len(args) > 1 {
				if id = args[1]; id == "" {
					return events.Errorf(failure.ErrUsage, "the id of the snapshot is empty; nothing was copied").Hint("Leave it out to copy the newest.")
				}
			}
			return p.copySnapshot(cmd.Context(), args[0], id, from)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the region that has it")
	_ = cmd.RegisterFlagCompletionFunc("from", p.regionNames)
	return cmd
}

// copiedSnapshot is what snapshot copy prints.
type copiedSnapshot struct {
	projections.Snapshot
	From    string `json:"from"`
	To      string `json:"to"`
	Already bool   `json:"already,omitempty"` // it was there
	Checked bool   `json:"checked"`           // every document of it
}

func (p *program) copySnapshot(ctx context.Context, name, id, from string) error {
	to, err := p.here(ctx)
	if err != nil {
		return err
	}
	defer closeSites(ctx, []*site{to})
	if to.name == from {
		return events.Errorf(failure.ErrUsage, "%s is the region to copy from, and the one to copy to; nothing was copied", from).Hint("Name the other one with --region.")
	}
	source, err := p.other(ctx, from)
	if err != nil {
		return err
	}
	defer closeSites(ctx, []*site{source})
	asking, cancel := p.bounded(ctx, 0)
	defer cancel()
	x, keeper, err := source.snapshot(asking, name, id)
	if err != nil {
		return err
	}
	target, err := to.keeper()
	if err != nil {
		return err
	}
	done := &copiedSnapshot{Snapshot: x, From: source.name, To: to.name}
	list, err := target.List(asking, name)
	if err != nil {
		return err
	}
	if done.Already = slices.ContainsFunc(list, func(there projections.Snapshot) bool { return there.ID == x.ID }); done.Already {
		return p.print(done, done.write)
	}
	if err := to.fits(asking, &x); err != nil {
		return err
	}
	def, err := source.definitionOf(asking, &x)
	if err != nil {
		return err
	}
	if done.Snapshot, err = p.carry(ctx, keeper, target, x, def); err != nil {
		return fmt.Errorf("the snapshot %s of %s was not copied from %s to %s: %w", x.ID, name, source.name, to.name, err)
	}
	done.Checked = def != nil
	return p.print(done, done.write)
}

// other opens a region by its name.
func (p *program) other(ctx context.Context, name string) (*site, error) {
	own, err := flights.All()
	if err != nil {
		return nil, err
	}
	s := &site{name: name}
	if s.open(ctx, p, own); s.region == nil {
		return nil, s.err
	}
	return s, nil
}

// fits returns why a snapshot is of no use in a region: it is of a history that the region's log does not have.
func (s *site) fits(ctx context.Context, x *projections.Snapshot) error {
	info, err := s.region.Log().Info(ctx)
	if err != nil {
		return err
	}
	if (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), x.Position) == events.Lost {
		return events.Errorf(events.ErrLostPosition, "the snapshot %s is of %s, a history that the log of %s does not have; nothing was copied", x.ID, x.Position, s.name)
	}
	return nil
}

// definitionOf returns the definition of a snapshot's version, to check its documents with; nil: this program does not have it.
func (s *site) definitionOf(ctx context.Context, x *projections.Snapshot) (*projections.Definition, error) {
	for _, find := range []func(context.Context, string) (projector.Version, error){s.versions.Live, s.versions.Current} {
		v, err := find(ctx, x.Projection)
		switch {
		case errors.Is(err, events.ErrUnreachable), err != nil && ctx.Err() != nil:
			return nil, err
		case err != nil && !errors.Is(err, catalog.ErrNotInBuild) && !errors.Is(err, catalog.ErrPaused):
			return nil, err
		case err == nil && v.Projection.Definition().Fingerprint() == x.Definition:
			return v.Projection.Definition(), nil
		}
	}
	return nil, nil //nolint:nilnil // none is no error
}

// carry copies the content of a snapshot.
func (p *program) carry(ctx context.Context, from, to projections.Snapshots, x projections.Snapshot, def *projections.Definition) (projections.Snapshot, error) {
	body, err := from.Open(ctx, x.Projection, x.ID)
	if err != nil {
		return x, err
	}
	defer body.Close()
	progress := display.NewProgress(p.progressWriter(), "copy "+x.Projection, display.Bytes)
	defer progress.End()
	passing := &passingSnapshot{from: body, see: func(n uint64) { progress.Set(n, x.Bytes) }}
	if def != nil {
		passing.check(def)
		defer passing.end()
	}
	return to.Put(ctx, x, passing)
}

// passingSnapshot is a snapshot that is read and checked. Reading ends with what is wrong with it, in place of io.EOF.
type passingSnapshot struct {
	from   io.Reader
	see    func(uint64)
	read   uint64
	to     *io.PipeWriter // whoever checks it; nil: nobody
	result chan error
}

// check begins to check what is read.
func (s *passingSnapshot) check(def *projections.Definition) {
	in, out := io.Pipe()
	s.to, s.result = out, make(chan error, 1)
	go func() {
		err := readSnapshot(in, def)
		_ = in.CloseWithError(errOr(err, io.ErrClosedPipe))
		s.result <- err
	}()
}

func errOr(err, or error) error {
	if err != nil {
		return err
	}
	return or
}

// readSnapshot reads all of a snapshot, and returns what is wrong with it.
func readSnapshot(in io.Reader, def *projections.Definition) error {
	r, err := snapshots.NewReader(in, def)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if _, _, err := r.Next(); errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, in)
			return err
		} else if err != nil {
			return err
		}
	}
}

// end lets whoever checks it go.
func (s *passingSnapshot) end() { _ = s.to.CloseWithError(io.ErrUnexpectedEOF) }

// Read implements io.Reader.
func (s *passingSnapshot) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.read += uint64(n) //nolint:gosec // not negative
	s.see(s.read)
	if s.to == nil {
		return n, err
	}
	if n > 0 {
		if _, bad := s.to.Write(p[:n]); bad != nil {
			return 0, bad
		}
	}
	if errors.Is(err, io.EOF) {
		_ = s.to.Close()
		bad := <-s.result
		s.result <- bad // it may be asked again
		if bad != nil {
			return 0, bad
		}
	}
	return n, err
}

func (x *copiedSnapshot) write(w io.Writer) error {
	what := fmt.Sprintf("the snapshot %s of %s, of sequence %s with %s,", x.ID, x.Projection, display.Number(x.Sequence), display.Count(x.Documents, "document"))
	switch {
	case x.Already:
		fmt.Fprintf(w, "%s is in %s already; nothing to do\n", what, x.To)
	case x.Checked:
		fmt.Fprintf(w, "%s was copied from %s to %s; every document was checked\n", what, x.From, x.To)
	default:
		fmt.Fprintf(w, "%s was copied from %s to %s; this program does not have its version, so its bytes were checked and not its documents\n", what, x.From, x.To)
	}
	return nil
}
