// Package projections folds events.
package projections

import "tidemark.dev/events"

// Fold keeps the last id.
func Fold(all []events.Event) (last string) {
	for _, e := range all {
		last = e.ID
	}
	return last
}
