package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// Control is the name of the control record that holds the catalog.
	Control = "catalog"
	// format of the record.
	format = 1
)

// DefinitionControl returns the name of the control record that holds the text of a projection's file.
func DefinitionControl(projection string) string { return "definition." + projection }

// record is the data of the control record.
type record struct {
	Format int `json:"format"`
	// Change is unlike that of any other write: whoever does not know whether its write was stored looks for it.
	Change string `json:"change"`
	// Projections by name. An entry of a file without a definition is the one that this record came with: the text is in the record before it.
	Projections []Entry `json:"projections"`
}

// Read returns the catalog as a copy of the log has it; an empty one, without an error, when there is none yet. It returns ErrUnreadable, and
// the errors of events.Reader.LastControl.
func Read(ctx context.Context, log events.Reader) (Catalog, error) {
	r, err := log.LastControl(ctx, Control)
	if errors.Is(err, events.ErrNotFound) {
		return Catalog{}, nil
	}
	if err != nil {
		return Catalog{}, err
	}
	return decode(&r)
}

// decode reads a record. What a newer release may have added is read over, and remembered: it must not be lost by writing the catalog again.
func decode(r *events.Record) (Catalog, error) {
	c := Catalog{Sequence: r.Sequence}
	var rec record
	if err := json.Unmarshal(r.Control.Data, &rec); err != nil {
		return c, unreadable(r.Sequence, "%w", err)
	}
	if rec.Format != format {
		return c, unreadable(r.Sequence, "it has the format %d, and this release reads format %d", rec.Format, format)
	}
	strict := json.NewDecoder(bytes.NewReader(r.Control.Data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&record{}); err != nil {
		c.newer = err.Error()
	}
	before := ""
	for i := range rec.Projections {
		e := &rec.Projections[i]
		if !projections.ValidName(e.Name) || e.Name <= before || e.Version < 1 || e.Definition >= r.Sequence {
			return c, unreadable(r.Sequence, "its entry %d, %q, cannot be", i+1, shown(e.Name))
		}
		if before = e.Name; e.Kind == File && e.Definition == 0 {
			e.Definition = r.Sequence - 1
		}
		if known := e.Kind == File || e.Kind == Go; !known || e.State != Active && e.State != Paused && e.State != Removed {
			c.newer = fmt.Sprintf("%s is of kind %q and state %q", e.Name, e.Kind, e.State)
		}
	}
	c.Entries, c.change = rec.Projections, rec.Change
	return c, nil
}

func unreadable(seq uint64, format string, args ...any) error {
	return events.Errorf(ErrUnreadable, "the catalog of projections at sequence %d cannot be read: "+format+"; nothing was changed", append([]any{seq}, args...)...).
		Hint("It was written by another release of Tidemark. Use that one, or a later one.")
}

// encode returns the data of the record that a catalog becomes.
func (c Catalog) encode(change string) []byte {
	text, err := json.Marshal(record{Format: format, Change: change, Projections: c.Entries})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return text
}

// Text returns the text of a definition, which is at a sequence. It returns ErrUnreadable when something else is there, and the errors of
// events.Reader.Record.
func Text(ctx context.Context, log events.Reader, projection string, seq uint64) ([]byte, error) {
	r, err := log.Record(ctx, seq)
	if err != nil {
		return nil, err
	}
	if r.Kind != events.KindControl || r.Control.Name != DefinitionControl(projection) {
		return nil, events.Errorf(ErrUnreadable, "the record at sequence %d is not the definition of %s, which the catalog says it is", seq, projection).
			Hint("Apply the projection's file again, with a higher version.")
	}
	return r.Control.Data, nil
}
