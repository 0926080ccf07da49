package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/skips"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// skipFlags are what parked skip is told.
type skipFlags struct {
	sequence uint64
	reason   string
	yes, dry bool
	wait     time.Duration
}

// skipped is the result of parked skip.
type skipped struct {
	Projection string `json:"projection"`
	Key        string `json:"key"`
	Sequence   uint64 `json:"sequence"`
	Region     string `json:"region"`
	DryRun     bool   `json:"dry_run,omitempty"`
	// Position of the record; empty after a dry run.
	Position string `json:"position,omitempty"`
	// Already says that the skip was recorded before, and nothing was written.
	Already bool `json:"already,omitempty"`
	// Document is what became of the document in this region, when that was waited for: folded, removed, or parked.
	Document string `json:"document,omitempty"`
	// Parked is where the document is parked again.
	Parked *query.Parked `json:"parked,omitempty"`
}

func (p *program) parkedSkip() *cobra.Command {
	var flags skipFlags
	cmd := &cobra.Command{
		Use:   "skip <projection> <key>",
		Short: "Pass over the event that a document is parked at, in every region",
		Long: `Write a record into the log that says: the event which this document is parked at is passed over for this document. From the position of the
record on, every region and every replay folds the document without the event, and with all that came after it. Other documents of the event, and other
projections, are not touched; nor is the event. A version of the projection that can apply the event applies it: a skip has effect only where it cannot be applied.

A skip cannot be taken back, and a projection has at most 1,000 of them. When many events cannot be applied, a new version is the way.

The document must be parked in this region. In a region that mirrors the log the record is forwarded to the leader. On a terminal it asks; elsewhere it
wants --yes. Skipping what is skipped already changes nothing, so that it can be repeated when the outcome is not known.`,
		Example: `  tidemark parked skip airports ORD --dry-run
  tidemark parked skip airports ORD --reason "no distance, see ticket 12" --yes --wait 10s
  tidemark parked skip routes DTW-ORD --sequence 1042 --yes`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: p.parkedKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			if err := flags.check(cmd.Flags().Changed); err != nil {
				return err
			}
			if err := projections.ValidateKey(args[1]); err != nil {
				return err
			}
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // the append is acknowledged
			return p.skip(cmd.Context(), c, &skipped{Projection: args[0], Key: args[1], Region: c.Region().Name()}, &flags)
		},
	}
	set := cmd.Flags()
	set.Uint64Var(&flags.sequence, "sequence", 0, "skip nothing unless the document is parked at this event (default: the one it is parked at)")
	set.StringVar(&flags.reason, "reason", "", "why, for whoever reads the log later")
	set.BoolVar(&flags.yes, "yes", false, "do not ask")
	set.BoolVar(&flags.dry, "dry-run", false, "say what would be written, and write nothing")
	set.DurationVar(&flags.wait, "wait", 0, "wait so long until this region has folded the document again")
	return cmd
}

func (f *skipFlags) check(given func(flag string) bool) error {
	switch {
	case given("sequence") && f.sequence == 0:
		return events.Errorf(failure.ErrUsage, "no event has sequence 0; nothing was written")
	case given("wait") && (f.wait <= 0 || f.wait > query.MaxWait):
		return events.Errorf(failure.ErrUsage, "a wait of %s is not above 0 and at most %s; nothing was written", f.wait, query.MaxWait)
	case f.dry && given("wait"):
		return events.Errorf(failure.ErrUsage, "--dry-run writes nothing that could be waited for")
	}
	return nil
}

// skip writes the record, if that is what is wanted, and waits for its effect.
func (p *program) skip(ctx context.Context, c *client.Client, s *skipped, flags *skipFlags) error {
	if err := p.prepareSkip(ctx, c, s, flags); err != nil || s.DryRun {
		return err
	}
	writing, cancel := p.bounded(ctx, 0)
	defer cancel()
	written, err := skips.Write(writing, c.Log(), s.Projection, skips.Skip{Key: s.Key, Sequence: s.Sequence}, flags.reason)
	if err != nil {
		return err
	}
	s.Position, s.Already = written.Position.String(), written.Already
	var late error
	if flags.wait > 0 {
		late = p.awaitSkip(ctx, c, s, written.Position, flags.wait)
	}
	if err := p.print(s, s.write); err != nil {
		return err
	}
	return late
}

// prepareSkip finds the event, and asks. Of a dry run it prints all there is.
func (p *program) prepareSkip(ctx context.Context, c *client.Client, s *skipped, flags *skipFlags) error {
	looking, cancel := p.bounded(ctx, 0)
	defer cancel()
	pointer, _, err := projections.ReadPointer(looking, c.Region().KV(), s.Projection)
	switch {
	case err != nil:
		return err
	case pointer.Source != nil:
		return events.Errorf(projections.ErrInvalidSkip, "%s is folded from the stream %s, which is not ours: a record of ours does not stand in it, so nothing can be skipped; nothing was written",
			s.Projection, pointer.Source.Stream).Hint("Apply a version of the projection that can take the message.")
	}
	found, err := look(looking, c, s.Projection, s.Key)
	switch {
	case errors.Is(err, projections.ErrNotParked) && flags.sequence > 0:
		return p.skippedBefore(looking, c, s, flags, err)
	case err != nil:
		return err
	case flags.sequence > 0 && flags.sequence != found.Sequence:
		return events.Errorf(projections.ErrNotParked, "%s of %s is parked at sequence %d, not at %d; nothing was written", display.Name(s.Key), s.Projection, found.Sequence, flags.sequence).
			Hint("tidemark parked show %s %s shows the event.", s.Projection, display.Name(s.Key))
	}
	s.Sequence = found.Sequence
	if s.DryRun = flags.dry; s.DryRun {
		return p.print(s, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s\nnothing was written\n", found.consequence())
			return err
		})
	}
	if flags.yes || found.Skip != nil {
		return nil
	}
	if f, terminal := p.in.(io.Writer); !terminal || !display.Terminal(f) { // a terminal can be written too
		return events.Errorf(failure.ErrUsage, "%s; nothing was written", found.consequence()).Hint("Add --yes if that is meant.")
	}
	return p.ask(ctx, found.consequence()+". Skip it?", "nothing was written")
}

// skippedBefore lets a command be repeated whose effect is there already.
func (p *program) skippedBefore(ctx context.Context, c *client.Client, s *skipped, flags *skipFlags, notParked error) error {
	info, err := c.Log().Info(ctx)
	if err != nil {
		return err
	}
	list, err := skips.Read(ctx, c.Log(), s.Projection, info.Last)
	if err != nil {
		return err
	}
	at, ok := list.Find(s.Key, flags.sequence, info.Last)
	if !ok {
		return notParked
	}
	s.Sequence = flags.sequence
	if s.DryRun = flags.dry; s.DryRun {
		s.Position, s.Already = info.Position(at).String(), true
		return p.print(s, s.write)
	}
	return nil
}

// consequence says what a skip of the event does.
func (f *parkedCase) consequence() string {
	return display.Text(fmt.Sprintf("event %d (%s of %s) is passed over for %s of %s, in every region and every replay, and cannot be brought back but by a new version",
		f.Sequence, display.Name(f.Event.Type), display.Name(f.Event.Entity), display.Name(f.Key), f.Projection))
}

// ask asks a person on the terminal, and returns nil for yes.
func (p *program) ask(ctx context.Context, question, not string) error {
	fmt.Fprintf(p.err, "%s [y/N] ", display.Text(strings.ToUpper(question[:1])+question[1:]))
	answer := make(chan string, 1)
	go func() { // a read of a terminal does not end with a context
		line, _ := bufio.NewReader(p.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
		return events.Errorf(failure.ErrDeclined, "%s", not)
	case <-ctx.Done():
		return events.Errorf(failure.ErrInterrupted, "a signal ended the question; %s", not)
	}
}

// awaitSkip waits until this region's read model has come to the record, and says what the document is then. The skip stands whatever it returns.
func (p *program) awaitSkip(ctx context.Context, c *client.Client, s *skipped, at events.Position, wait time.Duration) error {
	waiting, cancel := p.bounded(ctx, wait)
	defer cancel()
	a, err := c.Reader().Get(waiting, s.Projection, s.Key, query.Options{AtLeast: at, Wait: wait})
	parked, still := query.ParkedOf(s.Key, a.Parked)
	switch {
	case errors.Is(err, projections.ErrNoDocument):
		s.Document = "removed"
	case errors.Is(err, projections.ErrNotReached):
		return failure.At(events.Errorf(projections.ErrNotReached, "the skip is recorded at %s, and this region's read model has not come there in %s", at, wait).
			Hint("tidemark parked show %s %s says when it has.", s.Projection, display.Name(s.Key)), a.Position)
	case err != nil:
		return err
	case still:
		parked.Hide()
		s.Document, s.Parked = "parked", &parked
	default:
		s.Document = "folded"
	}
	return nil
}

func (s *skipped) write(w io.Writer) error {
	what := "is skipped"
	if s.Already {
		what = "was skipped before"
	}
	fmt.Fprintf(w, "event %d %s for %s of %s, from %s on\n", s.Sequence, what, display.Name(s.Key), s.Projection, s.Position)
	switch s.Document {
	case "folded":
		fmt.Fprintf(w, "region %s has folded the document again\n", s.Region)
	case "removed":
		fmt.Fprintf(w, "region %s has folded the document again: without the event there is none\n", s.Region)
	case "parked":
		fmt.Fprintf(w, "region %s has folded the document again, and it is parked at a later event: %s %s\n", s.Region, s.Parked.At, display.Text(s.Parked.Reason))
	}
	return nil
}
