package forward

import "tidemark.dev/events"

func errClosed() error {
	return events.Errorf(events.ErrClosed, "the appender was closed by its owner; nothing was written")
}
