package query

import (
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// token is where a watch goes on: everything up to the position was told. It is of one region, because generations are.
type token struct {
	region, projection string
	generation         uint32
	position           events.Position
}

const tokenKind = 'w'

// seal returns the token's text.
func (t *token) seal() string {
	return seal(tokenKind, t.region, t.projection, strconv.FormatUint(uint64(t.generation), 10), t.position.String())
}

// parseToken reads a token. It returns ErrInvalidCursor.
func parseToken(text string) (*token, error) {
	malformed := events.Errorf(projections.ErrInvalidCursor, "the token is not one that a listing or a watch gave").
		Hint("Pass the token as it was given, or list and watch from the token of that page.")
	parts, ok := unseal(tokenKind, text, 4)
	if !ok {
		return nil, malformed
	}
	generation, err := strconv.ParseUint(parts[2], 10, 32)
	position, positionErr := events.ParsePosition(parts[3])
	if err != nil || generation == 0 || positionErr != nil || position.IsZero() {
		return nil, malformed
	}
	return &token{region: parts[0], projection: parts[1], generation: uint32(generation), position: position}, nil
}
