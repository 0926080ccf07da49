package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

// published is the result of publish.
type published struct {
	Position  events.Position `json:"position"`
	First     uint64          `json:"first"`
	Last      uint64          `json:"last"`
	Duplicate bool            `json:"duplicate"`
	ID        string          `json:"id"`
	Source    string          `json:"source"`
	Confirmed []string        `json:"confirmed,omitempty"`
}

// confirmFlags say how many regions have to hold an event.
type confirmFlags struct {
	regions int
	wait    time.Duration
}

func (f *confirmFlags) check(given func(flag string) bool) error {
	switch {
	case !given("confirm") && given("confirm-wait"):
		return events.Errorf(failure.ErrUsage, "--confirm-wait is for --confirm; nothing was published")
	case !given("confirm"):
		return nil
	case f.regions < 1 || f.regions > httpapi.MaxConfirm:
		return events.Errorf(failure.ErrUsage, "%d is not a number of regions from 1 to %d; nothing was published", f.regions, httpapi.MaxConfirm)
	case f.wait <= 0:
		return events.Errorf(failure.ErrUsage, "a wait of %s is not above 0; nothing was published", f.wait)
	}
	return nil
}

func (p *program) publish() *cobra.Command {
	var data, expect, at string
	var confirm confirmFlags
	e := events.Event{}
	cmd := &cobra.Command{
		Use:   "publish <type>/<id> <EventType> --data JSON|@file|-",
		Short: "Append one event and print its position",
		Long: `Append one event about an entity, and print the position to read it back from: pass it to get --at-least.

An event is known by its source and id. Publishing the same again is safe, and says so on stderr; the same id with other content is refused.

In a region that mirrors the log the event is forwarded to the leader. --confirm N prints the position only when N regions hold the event, the leader
among them; when they do not in time, the event is stored all the same, and the exit code is 1.`,
		Example: `  tidemark publish airport/ORD FlightDeparted --data '{"date":"2001/01/01 00:47","delay":5}'
  tidemark publish order/42 OrderPlaced --data @order.json --expect none --id 42-placed
  tidemark publish order/42 OrderPaid --data '{}' --confirm 2
  echo '{"reason":"rain"}' | tidemark publish order/42 OrderDelayed --data - --expect 17`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if e.Entity, err = events.ParseEntity(args[0]); err != nil {
				return err
			}
			if err = confirm.check(cmd.Flags().Changed); err != nil {
				return err
			}
			e.Type = args[1]
			if cmd.Flags().Changed("time") {
				if e.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
					return events.Errorf(failure.ErrUsage, "the time %q is not one of RFC 3339", at).Hint("Write it like 2001-01-31T09:15:00Z.")
				}
			}
			given := cmd.Flags().Changed("id")
			if !given {
				e.ID = events.NewID()
			}
			if e.Data, err = p.payload(data); err != nil {
				return err
			}
			x, err := httpapi.ParseExpectation(expect)
			if err != nil {
				return err
			}
			if err := e.Validate(); err != nil { // before anything is connected to
				return err
			}
			return p.append(cmd.Context(), e, x, confirm)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&data, "data", "", "the payload: JSON, @file, or - for stdin")
	flags.StringVar(&expect, "expect", "any", "the entity's last sequence: a number, none, or any")
	flags.StringVar(&e.ID, "id", "", "the event's id, unique for the source (default a new one)")
	flags.StringVar(&e.Source, "source", defaultSource, "the event's source, a URI")
	flags.StringVar(&at, "time", "", "when it happened, in RFC 3339 (default it does not say)")
	flags.IntVar(&confirm.regions, "confirm", 0, "wait until so many regions hold the event")
	flags.DurationVar(&confirm.wait, "confirm-wait", httpapi.DefaultConfirmWait, "how long they get")
	flags.StringVar(&e.ContentType, "content-type", "", "media type of the payload (default application/json)")
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

// payload reads the data of an event, at most one byte more than an event can have.
func (p *program) payload(given string) ([]byte, error) {
	var from io.Reader
	switch name, isFile := strings.CutPrefix(given, "@"); {
	case given == "-":
		from = p.in
	case isFile:
		f, err := os.Open(name)
		if err != nil {
			return nil, events.Errorf(failure.ErrUsage, "the data cannot be read: %w; nothing was published", err)
		}
		defer f.Close() //nolint:errcheck // only read
		from = f
	default:
		return []byte(given), nil
	}
	data, err := io.ReadAll(io.LimitReader(from, events.MaxDataBytes+1))
	if err != nil {
		return nil, events.Errorf(failure.ErrUsage, "the data cannot be read: %w; nothing was published", err)
	}
	return data, nil
}

func (p *program) append(ctx context.Context, e events.Event, x events.Expectation, confirm confirmFlags) error {
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the append is over
	appending, cancel := p.bounded(ctx, 0)
	defer cancel()
	r, err := c.Publish(appending, e, x)
	if errors.Is(err, events.ErrUnknownOutcome) {
		return events.Errorf(events.ErrUnknownOutcome, "it is not known whether the event is stored: %w", err).
			Hint("Publish the same again with --id %s, within two minutes or with the same --expect N: that resolves it.", e.ID)
	}
	if err != nil {
		return err
	}
	if r.Duplicate {
		p.note("duplicate: the event was in the log already; nothing was written")
	}
	done := published{Position: r.Position, First: r.First, Last: r.Last, Duplicate: r.Duplicate, ID: e.ID, Source: e.Source}
	if confirm.regions > 0 {
		waiting, cancel := context.WithTimeout(ctx, confirm.wait)
		defer cancel()
		if done.Confirmed, err = c.Confirm(waiting, r.Position, confirm.regions); err != nil {
			return failure.At(err, r.Position)
		}
		p.note("confirmed by %s", strings.Join(done.Confirmed, ", "))
	}
	return p.print(done, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, r.Position)
		return err
	})
}
