package catalog

import "tidemark.dev/events"

// The codes of this package. Beside them its functions return projections.ErrDefinitionChanged, ErrVersionLowered and ErrUnknownProjection.
const (
	// ErrNameTaken: the name belongs to a projection of the other kind: one compiled into the program, or one from a file.
	ErrNameTaken = events.Code("name-taken")
	// ErrFull: there are as many projections as there may be.
	ErrFull = events.Code("catalog-full")
	// ErrUnreadable: the catalog, or a definition in it, is not what this release can read.
	ErrUnreadable = events.Code("catalog-unreadable")
	// ErrNotInBuild: the projection is written in Go, and this program was built without it.
	ErrNotInBuild = events.Code("not-in-this-build")
	// ErrPaused: the projection is paused, and what was asked for needs one that is not.
	ErrPaused = events.Code("projection-paused")
)

// Codes lists every code of this package.
func Codes() []events.Code {
	return []events.Code{ErrNameTaken, ErrFull, ErrUnreadable, ErrNotInBuild, ErrPaused}
}
