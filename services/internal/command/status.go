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
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print how the region does: log, read models, projectors, replays",
		Long: `Print how the region does. Lag is how many records of the log a read model has not applied; what is not known is shown as unknown.
Exit code 3 when a part of the region does not answer.`,
		Example: "  tidemark status\n  tidemark status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			o, err := c.Reader().Overview(ctx)
			if err != nil {
				return err
			}
			s := standing{Overview: o, Leads: c.Region().Leads()}
			if !o.Head.IsZero() {
				asking, cancel := context.WithTimeout(ctx, floorsPatience)
				defer cancel()
				s.Floors, err = c.Region().Floors().Floors(asking)
			}
			if err != nil {
				s.FloorsUnknown = failure.Tell(err).Message
			}
			if err := p.print(s, func(w io.Writer) error { return p.standing(w, &s) }); err != nil {
				return err
			}
			return unanswered(&o)
		},
	}
}

// floorsPatience bounds how long the leader is asked: a region that is cut off says so soon.
const floorsPatience = 2 * time.Second

// standing is what status prints: how the region does, and how much of the log each region has confirmed to hold.
type standing struct {
	query.Overview
	Leads  bool           `json:"leads"`
	Floors []events.Floor `json:"floors"`
	// FloorsUnknown says why the floors are not known.
	FloorsUnknown string `json:"floors_unknown,omitempty"`
}

func (p *program) standing(w io.Writer, s *standing) error {
	if err := p.overview(w, &s.Overview); err != nil {
		return err
	}
	switch {
	case s.FloorsUnknown != "":
		fmt.Fprintf(w, "\nwhat the other regions hold is unknown: %s\n", display.Text(s.FloorsUnknown))
		return nil
	case len(s.Floors) < 2:
		return nil // there is nobody else
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REGION\tCONFIRMED\tNOT YET\tFOLLOWS")
	head := uint64(0)
	for _, f := range s.Floors {
		head = max(head, f.Sequence)
	}
	for _, f := range s.Floors {
		follows, behind := "yes", display.Number(head-f.Sequence)
		if !f.Connected {
			follows, behind = "no", "at least "+behind
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Region, display.Number(f.Sequence), behind, follows)
	}
	return t.Flush()
}

func (p *program) overview(w io.Writer, o *query.Overview) error {
	head := "does not answer"
	if !o.Head.IsZero() {
		head = "at " + o.Head.String()
	}
	fmt.Fprintf(w, "region %s, log %s\n", o.Region, head)
	if r := o.Replication; r != nil {
		fmt.Fprintln(w, display.Text(replicationLine(r)))
	}
	if len(o.Projections) == 0 {
		fmt.Fprintf(w, "no projection yet: %s up runs some\n", p.self)
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROJECTION\tSTATE\tPROJECTOR\tLAG\tDOCUMENTS\tPARKED\tUNROUTED\tVERSION\tGENERATION\tPOSITION")
	for i := range o.Projections {
		m := &o.Projections[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s", m.Name, m.State, m.Projector, lag(m.Lag))
		if m.State == "unknown" {
			fmt.Fprint(t, "\tunknown\tunknown\tunknown")
		} else {
			fmt.Fprintf(t, "\t%s\t%s\t%s", display.Number(m.Documents), display.Number(m.Parked), display.Number(m.Unrouted))
		}
		position := m.Position.String()
		if position == "" {
			position = "none"
		}
		fmt.Fprintf(t, "\t%d\t%d\t%s\n", m.Version, m.Generation, position)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	remarks(w, o)
	return nil
}

// replicationLine says on one line how the region's copy of the log stands to the leader's.
func replicationLine(r *events.Replication) string {
	since := ""
	if !r.Since.IsZero() {
		since = " since " + r.Since.UTC().Format("2006-01-02 15:04:05Z")
	}
	switch r.State {
	case events.CopyLeads:
		return "it leads the log"
	case events.CopyFollows:
		line := "it mirrors the log of " + r.Leader + begins(r)
		if r.Lag == nil {
			return line + ", lag unknown"
		}
		if r.Lag.Events == 0 {
			return line + ", nothing behind"
		}
		return fmt.Sprintf("%s, %s behind, the oldest %s old", line, display.Count(r.Lag.Events, "record"),
			display.Duration(time.Duration(r.Lag.Seconds*float64(time.Second))))
	case events.CopyDiverged:
		return fmt.Sprintf("its copy DIVERGED from the log of %s%s: %s", r.Leader, since, r.Message)
	case events.CopyUnknown:
	}
	line := fmt.Sprintf("it mirrors the log of %s%s, lag UNKNOWN%s", r.Leader, begins(r), since)
	if r.Message != "" {
		line += ": " + r.Message
	}
	return line
}

// begins says where a copy begins that does not hold the whole log.
func begins(r *events.Replication) string {
	if r.Begins <= 1 {
		return ""
	}
	return " from sequence " + display.Number(r.Begins) + " on"
}

// remarks writes what does not fit into a table: what a projector has to say, and replays.
func remarks(w io.Writer, o *query.Overview) {
	first := true
	remark := func(format string, args ...any) {
		if first {
			fmt.Fprintln(w)
			first = false
		}
		fmt.Fprintln(w, display.Text(fmt.Sprintf(format, args...)))
	}
	for i := range o.Projections {
		m := &o.Projections[i]
		if m.Stream != nil {
			remark("%s: %s", m.Name, streamLine(m.Stream))
		}
		if m.Message != "" {
			remark("%s: %s", m.Name, m.Message)
		}
		if r := m.Replay; r != nil {
			remark("%s: %s", m.Name, replayLine(r))
		}
		if k := m.Previous; k != nil {
			remark("%s: generation %d of version %d is kept%s, and can take over again", m.Name, k.Generation, k.Version, until(k.Until))
		}
		for j := range m.Copies {
			c := &m.Copies[j]
			remark("%s: the copy %s is at %s: %s, made %s, kept%s", m.Name, c.Name, c.Position, display.Count(c.Documents, "document"), moment(c.Made), until(c.Until))
		}
	}
}

// until says for how long something is kept.
func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " until " + moment(*t)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// streamLine says on one line how a stream stands that is not ours.
func streamLine(s *query.StreamStatus) string {
	if s.Head.IsZero() {
		return "the stream " + s.Name + " does not answer"
	}
	return fmt.Sprintf("the stream %s is at %s and retains what is from %s on", s.Name, s.Head, display.Number(s.First))
}

// replayLine says on one line how a replay does.
func replayLine(r *projections.Replay) string {
	ended := "at an unknown time"
	if r.Finished != nil {
		ended = moment(*r.Finished)
	}
	what := "the last replay"
	switch r.Kind {
	case projections.ReplayCopy:
		what += ", which makes the copy " + r.As + ","
	case projections.ReplayRollback:
		what += ", a rollback,"
	case projections.ReplayDrop:
		what += ", which drops what is beside the live generation,"
	case projections.ReplayModel:
	}
	switch r.State {
	case projections.ReplayRequested:
		return fmt.Sprintf("replay %s is requested and not begun", r.ID)
	case projections.ReplayDone:
		if r.Kind != projections.ReplayModel || r.Plan != nil && r.Plan.Strategy == projections.StrategyRefold {
			return fmt.Sprintf("%s was done %s: %s", what, ended, came(r))
		}
		return fmt.Sprintf("%s was done %s: generation %d, %s", what, ended, r.Generation, verdict(r))
	case projections.ReplayFailed:
		return fmt.Sprintf("%s failed %s: %s", what, ended, r.Message)
	case projections.ReplayCancelled:
		return fmt.Sprintf("%s was given up %s, as somebody asked", what, ended)
	case projections.ReplayBuilding, projections.ReplaySwitching:
	}
	s := stageOf(r)
	line := fmt.Sprintf("replay %s of generation %d is %s", r.ID, r.Generation, s.String())
	if r.Yields != "" {
		line += "; it STANDS STILL: " + r.Yields
	}
	if r.Cancel {
		line += "; it is to be given up"
	}
	return line
}

// verdict says what comparing the new generation with the one before showed.
func verdict(r *projections.Replay) string {
	switch {
	case r.Equal:
		return "equal to the generation before"
	case r.Compared:
		return "DIFFERENT from the generation before, which was wrong"
	}
	return "not compared: the generation before was of another definition, or did not stand at the same position"
}

// unanswered returns an error when something in the overview is not known because nothing answered.
func unanswered(o *query.Overview) error {
	if o.Head.IsZero() {
		return events.Errorf(events.ErrUnreachable, "the log of %s does not answer", o.Region).Hint("Check its NATS server.")
	}
	for i := range o.Projections {
		m := &o.Projections[i]
		if m.State != "unknown" {
			continue
		}
		if m.Code != "" && m.Code != string(projections.ErrStoreUnreachable) {
			return events.Errorf(events.Code(m.Code), "the store of %s does not say how %s does: %s", o.Region, m.Name, strings.TrimPrefix(m.Message, m.Code+": "))
		}
		return events.Errorf(projections.ErrStoreUnreachable, "the store of %s does not answer for %s", o.Region, m.Name).Hint("Check its Redis.")
	}
	return nil
}
