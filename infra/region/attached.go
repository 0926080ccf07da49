package region

import (
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/infra/natsstream"
	"tidemark.dev/projections"
)

// Reader returns what a projection is folded from: the region's copy of the log or, for one with a source, that stream of the region's NATS. Neither the stream nor the
// servers need to be there: who reads is told, and may try again. The same source has one reader, which is closed with the region.
//
// It returns projections.ErrInvalidProjection for a source that cannot be one: a log of ours, or a history that would be called like the log in positions. After
// Close it returns events.ErrClosed.
func (r *Region) Reader(source *projections.Source) (events.Reader, error) {
	if source == nil {
		return r.log, nil
	}
	if source.Origin == r.config.Origin {
		return nil, events.Errorf(projections.ErrInvalidProjection, "the stream %s would be called %s in positions, as the log of this installation is; nothing was read",
			source.Stream, source.Origin).Hint("Give it another name: origin, below stream in the projection.")
	}
	return r.attached.reader(r, *source)
}

// attached are the streams that are not ours.
type attached struct {
	mu      sync.Mutex
	streams map[projections.Source]*natsstream.Stream
	closed  bool
}

func (a *attached) reader(r *Region, source projections.Source) (events.Reader, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, events.Errorf(events.ErrClosed, "region %s was closed by its owner", r.config.Name)
	}
	if s := a.streams[source]; s != nil {
		return s, nil
	}
	s, err := natsstream.New(r.nats, source, natsstream.Options{Logger: r.config.Logger.With("region", r.config.Name)})
	if err != nil {
		return nil, err
	}
	if a.streams == nil {
		a.streams = make(map[projections.Source]*natsstream.Stream)
	}
	a.streams[source] = s
	return s, nil
}

func (a *attached) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, s := range a.streams {
		s.Close()
	}
}
