package natslog

import "tidemark.dev/events"

func errClosed() error {
	return events.Errorf(events.ErrClosed, "the log was closed by its owner; nothing was written")
}
