package importer

import (
	"errors"

	"tidemark.dev/events"
)

// The codes of this package.
const (
	// ErrInvalidMap: a map that cannot be understood. The message names the line of the map.
	ErrInvalidMap = events.Code("invalid-map")
	// ErrInvalidLine: a line that does not become events. Every line before it is imported. The message names the line.
	ErrInvalidLine = events.Code("invalid-line")
	// ErrChanged: the map, or the lines that are imported already, are not those that the import was begun with.
	ErrChanged = events.Code("import-changed")
	// ErrRunning: another import of the same name wrote meanwhile.
	ErrRunning = events.Code("import-running")
)

// Codes lists every code of this package.
func Codes() []events.Code {
	return []events.Code{ErrInvalidMap, ErrInvalidLine, ErrChanged, ErrRunning}
}

// badLine returns the ErrInvalidLine of a line, counted from 1. An argument that is an error of package events tells only what happened: its
// code would be a second one.
func badLine(line uint64, format string, args ...any) error {
	for i, arg := range args {
		if e, ok := arg.(error); ok {
			args[i] = what(e)
		}
	}
	return events.Errorf(ErrInvalidLine, "line %d: "+format, append([]any{line}, args...)...).
		Hint("The lines before it are imported. Mend it and run the same import again: it goes on there.")
}

func what(err error) string {
	if e, ok := errors.AsType[*events.Error](err); ok {
		return e.What
	}
	return err.Error()
}
