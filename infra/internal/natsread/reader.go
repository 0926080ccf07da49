// Package natsread reads a JetStream stream in order, whole, and without trust: each sequence must be the next one, or be one that the stream itself says
// it does not hold any more; and before reading goes on after a break, it is proven that the stream still holds the history that was read so far. The log and
// the reader of streams that are not ours share it.
package natsread

import (
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// History is what a stream holds.
type History interface {
	// Name is what messages call it: the log of origin us.
	Name() string
	// Identify asks the leader which history the stream holds now, and returns what it says of the stream. ErrUnreachable is waited out; ErrNoLog for
	// a moment.
	Identify(ctx context.Context) (*jetstream.StreamInfo, events.Lineage, error)
	// Decode reads a stored message into r. An error ends the reading.
	Decode(r *events.Record, seq uint64, stored time.Time, m events.Message) error
	// Observe is told of the last record of a batch.
	Observe(r *events.Record)
	// Hole returns the error of a sequence that must be there and is not.
	Hole(seq uint64) error
}

// Gaps knows what a stream does not hold any more.
type Gaps interface {
	// Gone returns the record that stands in the place of sequence from and of those after it, up to one that is to at most, or the last one
	// of the stream when to is 0: as far as the stream says that it does not hold them. It returns false when the stream holds from, or does not say.
	Gone(ctx context.Context, from, to uint64) (events.Record, bool, error)
}

// Config says what is read.
type Config struct {
	API     natsapi.API
	History History
	// Gaps is nil for a history in which nothing may be missing.
	Gaps Gaps
	// Patience is how long a bounded read goes without a record before it gives up.
	Patience time.Duration
	Logger   *slog.Logger
}

// Reader reads. It is safe for concurrent use.
type Reader struct {
	cfg   Config
	pumps pumps
}

// New returns a Reader.
func New(cfg Config) *Reader { return &Reader{cfg: cfg} }

// Read yields the records of a range, as events.Reader has it. A goroutine of its own receives and decodes ahead of the caller, at most readAhead batches.
func (r *Reader) Read(ctx context.Context, wanted events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		p, err := r.newPump(ctx, wanted)
		if err != nil {
			yield(nil, ended(ctx, err))
			return
		}
		if p.finished() {
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		if !r.pumps.start(func() { p.run(ctx) }) {
			cancel(nil)
			yield(nil, events.Errorf(events.ErrClosed, "%s was closed by its owner", r.cfg.History.Name()))
			return
		}
		defer func() {
			cancel(nil)
			for range p.out { // until it has ended
			}
		}()
		for records := range p.out {
			if !yield(records, nil) {
				return
			}
			p.giveBack(records)
		}
		if p.err != nil {
			yield(nil, p.err)
		}
	}
}

// Close starts nothing any more and returns when all that runs has ended, which is up to those contexts.
func (r *Reader) Close() { r.pumps.wait() }

// ended returns ctx's cause when it ended, otherwise err.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pumps counts what runs, so that closing can wait for it. It does not wait for those who read: one of them may be the one who closes.
type pumps struct {
	mu      sync.Mutex
	running sync.WaitGroup
	closed  bool
}

// start runs a pump, unless the reader is closed.
func (r *pumps) start(run func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.running.Go(run)
	}
	return !r.closed
}

// wait starts nothing any more and returns when all that runs has ended.
func (r *pumps) wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}
