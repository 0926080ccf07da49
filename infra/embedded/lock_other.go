//go:build !unix

package embedded

import (
	"errors"
	"os"

	"tidemark.dev/events"
)

const errLocked = events.Code("locked")

// tryLock refuses: without a lock two processes could write one store.
func tryLock(*os.File) error { return errors.ErrUnsupported }
