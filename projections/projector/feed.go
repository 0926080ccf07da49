package projector

import (
	"context"
	"iter"

	"tidemark.dev/events"
)

// feed turns an iteration of batches into a channel, so that the loop can also wait for other things. A batch stays valid until
// release is called.
type feed struct {
	batches chan []events.Record // closed at the end
	next    chan struct{}
	ctx     context.Context //nolint:containedctx // the life of the reading goroutine
	cancel  context.CancelFunc
	err     error // valid once batches is closed
}

func newFeed(ctx context.Context, read func(context.Context) iter.Seq2[[]events.Record, error]) *feed {
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{batches: make(chan []events.Record), next: make(chan struct{}), ctx: ctx, cancel: cancel}
	go func() {
		defer close(f.batches)
		for batch, err := range read(ctx) {
			if err != nil {
				f.err = err
				return
			}
			select {
			case f.batches <- batch:
			case <-ctx.Done():
				f.err = context.Cause(ctx)
				return
			}
			select {
			case <-f.next:
			case <-ctx.Done():
				f.err = context.Cause(ctx)
				return
			}
		}
	}()
	return f
}

// release gives the batch received last back to the reader.
func (f *feed) release() {
	select {
	case f.next <- struct{}{}:
	case <-f.ctx.Done():
	}
}

// stop ends the iteration and waits for its end.
func (f *feed) stop() {
	f.cancel()
	for range f.batches { // drains until the reader has closed it
	}
}
