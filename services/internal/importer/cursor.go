package importer

import (
	"context"
	"encoding/json"
	"errors"

	"tidemark.dev/events"
)

// Cursor is how far an import is: the data of the control record import.<name>.
type Cursor struct {
	Name   string `json:"name"`
	Lines  uint64 `json:"lines"`  // imported, blank ones included
	Bytes  uint64 `json:"bytes"`  // of those lines, each with a newline
	Prefix string `json:"prefix"` // SHA-256 of those bytes, in hexadecimal digits
	Map    string `json:"map"`    // the map's hash
	Events uint64 `json:"events"` // of those lines
	// Run tells apart two imports that write the same cursor at once.
	Run string `json:"run"`
}

// maxCursorBytes bounds a cursor's JSON.
const maxCursorBytes = 1 << 10

// readCursor returns the cursor of a map and the sequence of its record; a cursor before everything, and 0, when the import was never
// begun. It returns ErrChanged when it was begun with another map.
func readCursor(ctx context.Context, log events.Reader, m *Map) (Cursor, uint64, error) {
	c := Cursor{Name: m.name, Map: m.hash}
	r, err := log.LastControl(ctx, m.control())
	if errors.Is(err, events.ErrNotFound) {
		return c, 0, nil
	}
	if err != nil {
		return c, 0, err
	}
	if err := json.Unmarshal(r.Control.Data, &c); err != nil {
		return c, 0, events.Errorf(ErrChanged, "the cursor of the import %s at sequence %d cannot be read: %w; nothing was imported",
			m.name, r.Sequence, err).Hint("It was written by another version of Tidemark. Give the map another name.")
	}
	if c.Map != m.hash {
		return c, 0, changed(m, "%d lines of the import %s are in the log already, made with another map", c.Lines, m.name)
	}
	return c, r.Sequence, nil
}

// write returns the control write that moves the cursor from the record at seq.
func (c Cursor) write(m *Map, seq uint64) events.ControlWrite {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return events.ControlWrite{
		Control: events.Control{Name: m.control(), Data: data}, Expect: events.ExpectExactly(seq),
	}
}
