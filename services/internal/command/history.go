package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/display"
)

// past is one event of a history.
type past struct {
	Sequence    uint64            `json:"sequence"`
	Position    events.Position   `json:"position"`
	Stored      time.Time         `json:"stored"`
	Entity      string            `json:"entity"`
	Type        string            `json:"type"`
	ID          string            `json:"id"`
	Source      string            `json:"source"`
	Time        *time.Time        `json:"time,omitempty"`
	ContentType string            `json:"content_type"`
	Extensions  map[string]string `json:"extensions,omitempty"`
	Data        json.RawMessage   `json:"data,omitempty"`        // when it is JSON
	Base64      []byte            `json:"data_base64,omitempty"` // otherwise
	Hidden      string            `json:"data_hidden,omitempty"` // how much data there is, instead of it
	Malformed   string            `json:"malformed,omitempty"`   // why the record is no event
}

func newPast(r *events.Record, info *events.Info) past {
	e := past{
		Sequence: r.Sequence, Position: info.Position(r.Sequence), Stored: r.Time.UTC(), Entity: r.Event.Entity.String(), Type: r.Event.Type,
		ID: r.Event.ID, Source: r.Event.Source, ContentType: r.Event.ContentType, Extensions: r.Event.Extensions, Malformed: r.Reason,
	}
	if e.ContentType == "" {
		e.ContentType = events.JSONContentType
	}
	if !r.Event.Time.IsZero() {
		e.Time = &r.Event.Time
	}
	if r.Kind == events.KindEvent && r.Event.IsJSON() && events.CheckJSON(r.Event.Data) == nil {
		e.Data = r.Event.Data
	} else {
		e.Base64 = r.Event.Data
	}
	return e
}

func (p *program) history() *cobra.Command {
	return &cobra.Command{
		Use:     "history <type>/<id>",
		Short:   "Print the events of an entity from the log",
		Long:    "Print every event of an entity as the log has it, in order. An entity without events is told as such, with exit code 1.",
		Example: "  tidemark history airport/ORD\n  tidemark history airport/ORD -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			entity, err := events.ParseEntity(args[0])
			if err != nil {
				return err
			}
			c, err := p.connect(ctx)
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			asking, cancel := p.bounded(ctx, 0)
			defer cancel()
			info, err := c.Log().Info(asking)
			if err != nil {
				return err
			}
			printer := p.historyPrinter()
			n := 0
			for r, err := range c.Log().History(ctx, entity, 1) {
				if err != nil {
					return errors.Join(err, printer.end())
				}
				if n++; printer.add(newPast(&r, &info)) != nil {
					break // nobody reads any more
				}
			}
			if n == 0 {
				return events.Errorf(events.ErrNotFound, "%s has no event in the log, whose last sequence is %d", display.Name(entity.String()), info.Last)
			}
			return printer.end()
		},
	}
}

// historyPrinter writes one event after the other, so that a long history needs no memory.
type historyPrinter struct {
	json  bool
	w     io.Writer
	table *tabwriter.Writer
	n     int
}

// tableRows is how many rows are aligned together.
const tableRows = 1_000

func (p *program) historyPrinter() *historyPrinter {
	return &historyPrinter{json: p.output == outputJSON, w: p.out, table: tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)}
}

func (h *historyPrinter) add(e past) error {
	defer func() { h.n++ }()
	if h.json {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lead := ",\n "
		if h.n == 0 {
			lead = "["
		}
		_, err = fmt.Fprintf(h.w, "%s%s", lead, text)
		return err
	}
	if h.n == 0 {
		fmt.Fprintln(h.table, "SEQUENCE\tSTORED\tTYPE\tID\tDATA")
	}
	typ, data := display.Name(e.Type), shown(&e)
	if e.Malformed != "" {
		typ, data = "(no event)", e.Malformed
	}
	fmt.Fprintf(h.table, "%d\t%s\t%s\t%s\t%s\n", e.Sequence, e.Stored.Format("2006-01-02 15:04:05.000Z"), typ, display.Name(e.ID), data)
	if h.n%tableRows == tableRows-1 {
		return h.table.Flush()
	}
	return nil
}

func (h *historyPrinter) end() error {
	if h.json {
		if h.n == 0 {
			return nil
		}
		_, err := fmt.Fprintln(h.w, "]")
		return err
	}
	return h.table.Flush()
}

// shown returns the data of an event on one line.
func shown(e *past) string {
	var line bytes.Buffer
	switch {
	case e.Data != nil && json.Compact(&line, e.Data) == nil:
		return display.Text(line.String())
	case e.Hidden != "":
		return "(" + display.Name(e.Hidden) + ")"
	case len(e.Base64) == 0:
		return ""
	case utf8.Valid(e.Base64):
		return display.Name(string(e.Base64))
	}
	return fmt.Sprintf("(%s of %s)", display.Count(len(e.Base64), "byte"), display.Name(e.ContentType))
}
