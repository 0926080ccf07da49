package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/importer"
)

func (p *program) importFile() *cobra.Command {
	var mapFile string
	var ahead uint64
	cmd := &cobra.Command{
		Use:   "import FILE.ndjson[.gz] --map MAP.yaml",
		Short: "Turn the lines of a file into events",
		Long: `Turn every line of a file of JSON lines, compressed or not, into one or more events. FILE may be - for stdin.

It can be stopped at any moment and run again: it goes on where it stood. Run twice, it adds nothing. A file that grew is continued. A file
whose lines changed that are imported already, or another map, is refused.

It stays close to the regions that mirror the log: when one that follows is more than --max-ahead records behind, the import waits for it.

The map is YAML:

  name: flights                # names the import: its progress is kept under this name
  source: urn:example:flights  # the events' source
  events:                      # what each line becomes, in this order
    - type: FlightDeparted
      entity: airport/{origin} # values in braces are fields of the line; dots lead into objects
      id: "{flight.number}"    # optional; default <name>-<line>-<index>
      time: {field: date, layout: "2006/01/02 15:04"}  # optional; a layout of Go's time package, in UTC
      data: {late: delay}      # optional: new names for fields of the line; default the whole line`,
		Example: "  tidemark import flights-20k.ndjson.gz --map flights.map.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ahead == 0 {
				return events.Errorf(failure.ErrUsage, "an import that may not be ahead of any region cannot begin; nothing was imported").Hint("--max-ahead is at least 1.")
			}
			m, err := readMap(mapFile)
			if err != nil {
				return err
			}
			return p.importInput(cmd.Context(), args[0], m, ahead)
		},
	}
	cmd.Flags().Uint64Var(&ahead, "max-ahead", importer.DefaultAhead, "records that the import may be ahead of the slowest region that follows")
	cmd.Flags().StringVar(&mapFile, "map", "", "the file that says which events a line becomes")
	_ = cmd.MarkFlagRequired("map")
	return cmd
}

func readMap(name string) (*importer.Map, error) {
	f, err := os.Open(name) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, events.Errorf(failure.ErrUsage, "the map cannot be read: %w; nothing was imported", err)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, importer.MaxMapBytes+1))
	if err != nil {
		return nil, events.Errorf(failure.ErrUsage, "the map cannot be read: %w; nothing was imported", err)
	}
	return importer.ParseMap(text)
}

// input opens a file, or stdin; size is 0 when it is not known.
func (p *program) input(name string) (r io.ReadCloser, size uint64, err error) {
	if name == "-" {
		return io.NopCloser(p.in), 0, nil
	}
	f, err := os.Open(name) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, 0, events.Errorf(failure.ErrUsage, "the input cannot be read: %w; nothing was imported", err)
	}
	info, err := f.Stat()
	switch {
	case err == nil && info.IsDir():
		err = fmt.Errorf("%s is a directory", name)
		fallthrough
	case err != nil:
		return nil, 0, errors.Join(events.Errorf(failure.ErrUsage, "the input cannot be read: %w; nothing was imported", err), f.Close())
	}
	if info.Mode().IsRegular() {
		size = uint64(info.Size()) //nolint:gosec // a size is not negative
	}
	return f, size, nil
}

func (p *program) importInput(ctx context.Context, name string, m *importer.Map, ahead uint64) error {
	input, size, err := p.input(name)
	if err != nil {
		return err
	}
	defer input.Close()
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the import is over
	progress := display.NewProgress(p.progressWriter(), "import "+m.Name(), display.Bytes)
	result, err := importer.Run(ctx, c.Log(), m, input, importer.Options{
		Floors: c.Region().Floors(), Ahead: ahead,
		Held: func(slowest events.Floor) {
			p.note("waiting for region %s, which holds the log up to %s", slowest.Region, display.Number(slowest.Sequence))
		},
		Progress: func(now importer.Progress) {
			progress.Set(uint64(now.Read), size) //nolint:gosec // a count is not negative
		},
	})
	progress.End()
	if err != nil {
		if result.AddedEvents > 0 {
			p.note("%s of %s were added before it stopped, after line %s", display.Count(result.AddedEvents, "event"), m.Name(), display.Number(result.Lines))
		}
		if ctx.Err() != nil {
			return events.Errorf(failure.ErrInterrupted, "the import %s was stopped after line %d, or a few lines later", m.Name(), result.Lines).
				Hint("Run the same again: it goes on where it stands.")
		}
		return err
	}
	return p.print(result, func(w io.Writer) error {
		if result.AddedEvents == 0 {
			_, err = fmt.Fprintf(w, "%s: nothing new; %s are in the log as %s\n", m.Name(), display.Count(result.Lines, "line"), display.Count(result.Events, "event"))
		} else {
			_, err = fmt.Fprintf(w, "%s: %s of %s added; %s are in the log as %s\n", m.Name(), display.Count(result.AddedEvents, "event"),
				display.Count(result.AddedLines, "line"), display.Count(result.Lines, "line"), display.Count(result.Events, "event"))
		}
		if err == nil && !result.Position.IsZero() {
			_, err = fmt.Fprintf(w, "position  %s\n", result.Position)
		}
		return err
	})
}
