package forward

import "tidemark.dev/events"

// The codes of forwarding. With each of them nothing was written.
const (
	// ErrNotLeader: the region that was asked does not lead the origin. The error names the one that does.
	ErrNotLeader = events.Code("not-leader")
	// ErrProtocol: a request or an answer of forwarding is malformed, or of a version that its reader does not know.
	ErrProtocol = events.Code("forward-protocol")
)

// Codes lists every code of this package, for tables that must be complete.
func Codes() []events.Code { return []events.Code{ErrNotLeader, ErrProtocol} }
