package query

import (
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// cursor is where a listing goes on.
type cursor struct {
	pin   pin    // what is listed
	at    place  // of the last entry that was listed
	watch string // the token of the first page; empty for a copy
}

const cursorKind = 'c'

// seal returns the cursor's text. It holds for this listing only: the projection, the copy if it is of one, the index, its bounds and the direction. In the place of the token, that
// of a copy has its position.
func (c *cursor) seal(l *listing) string {
	return seal(cursorKind, l.projection, l.fingerprint(), strconv.FormatUint(uint64(c.pin.generation), 10), c.at.value, c.at.key, c.watch+c.pin.position)
}

// parseCursor reads a cursor of a listing. It returns ErrInvalidCursor.
func parseCursor(l *listing, text string) (*cursor, error) {
	if len(text) == 0 {
		return &cursor{}, nil
	}
	parts, ok := unseal(cursorKind, text, 6)
	if !ok {
		return nil, events.Errorf(projections.ErrInvalidCursor, "the cursor is not one that a page ended with").
			Hint("Pass the cursor as it is in the page before, or none to begin anew.")
	}
	generation, err := strconv.ParseUint(parts[2], 10, 32)
	if parts[0] != l.projection || parts[1] != l.fingerprint() {
		return nil, events.Errorf(projections.ErrInvalidCursor, "the cursor belongs to another query").
			Hint("Pass it with the projection, copy, index, bounds and order of the page that it is from, or none to begin anew.")
	}
	if err != nil || generation == 0 || projections.ValidateKey(parts[4]) != nil {
		return nil, events.Errorf(projections.ErrInvalidCursor, "the cursor names no place").Hint("Pass none, to begin anew.")
	}
	c := &cursor{pin: pin{generation: uint32(generation)}, at: place{value: parts[3], key: parts[4]}}
	if l.copy == "" {
		c.watch = parts[5]
	} else {
		c.pin.position = parts[5]
	}
	return c, nil
}
