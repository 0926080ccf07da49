package query

import (
	"context"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// attached knows how far the streams have come that are not ours and that read models of this region are folded from.
type attached struct {
	open func(*projections.Source) (events.Reader, error) // nil: none can be asked

	mu    sync.Mutex
	heads map[projections.Source]*Heads
}

// Attach lets the reader ask streams that are not ours how far they are. Without it, read models that are folded from one answer, and their lag is not known. open
// gives the reader of one; it is asked once for each. It is called before the first query.
func (r *Reader) Attach(open func(*projections.Source) (events.Reader, error)) *Reader {
	r.attached.open = open
	return r
}

// headsOf returns how far the log has come that a model is read from.
func (r *Reader) headsOf(m *model) *Heads { return r.headsFrom(m.def.Source) }

// headsFrom returns how far a source has come; the installation's log for none.
func (r *Reader) headsFrom(source *projections.Source) *Heads {
	if source == nil {
		return r.heads
	}
	return r.attached.of(source)
}

func (a *attached) of(source *projections.Source) *Heads {
	if a.open == nil {
		return &Heads{log: unasked{err: events.Errorf(events.ErrUnreachable, "the stream %s cannot be asked from here how far it is", source.Stream)}}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.heads[*source]; h != nil {
		return h
	}
	log, err := a.open(source)
	if err != nil {
		return &Heads{log: unasked{err: err}} // and tried again
	}
	if a.heads == nil {
		a.heads = make(map[projections.Source]*Heads)
	}
	h := NewHeads(log)
	a.heads[*source] = h
	return h
}

// unasked is a stream that cannot be asked.
type unasked struct {
	events.Reader // never asked for anything else
	err           error
}

func (u unasked) Info(context.Context) (events.Info, error) { return events.Info{}, u.err }

// StreamStatus is how a stream stands that is not ours and that a read model is folded from.
type StreamStatus struct {
	Name string `json:"name"`
	// Head is its last position; empty when it does not answer.
	Head events.Position `json:"head"`
	// First is the first sequence that it retains; 0 when it does not answer.
	First uint64 `json:"first"`
}

// stream returns the state of the stream that a read model is folded from; nil for the installation's log.
func (r *Reader) stream(ctx context.Context, source *projections.Source) *StreamStatus {
	if source == nil {
		return nil
	}
	s := &StreamStatus{Name: source.Stream}
	if info, err := r.headsFrom(source).Info(ctx); err == nil {
		s.Head, s.First = info.Head(), info.First
	}
	return s
}
