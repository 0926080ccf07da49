package natsstream

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/internal/natsread"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
)

// Defaults of Options.
const (
	// DefaultAttemptTimeout is how long one request waits for its answer, in which it is sent four times. Others' messages may be large.
	DefaultAttemptTimeout = 20 * time.Second
	// DefaultReadPatience is how long a bounded read goes without a record before it gives up.
	DefaultReadPatience = 15 * time.Second
)

// Options adjusts a Stream. The zero value works.
type Options struct {
	// Logger receives changes of state. nil means none.
	Logger *slog.Logger
	// AttemptTimeout is how long one request waits for its answer. 0 means DefaultAttemptTimeout.
	AttemptTimeout time.Duration
	// ReadPatience is how long a bounded read may go without progress before ErrUnreachable. 0 means DefaultReadPatience.
	// A read that follows has no such bound.
	ReadPatience time.Duration
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = DefaultAttemptTimeout
	}
	if o.ReadPatience <= 0 {
		o.ReadPatience = DefaultReadPatience
	}
	return o
}

// Stream is a stream that is not ours. It is safe for concurrent use.
type Stream struct {
	source  projections.Source
	options Options
	model   *nats.Conn

	ctx     context.Context // ends when the stream is closed
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // attempts to connect

	mu   sync.Mutex
	last *connection // being made, or made; nil: there is none
}

var _ events.Reader = (*Stream)(nil)

// connection is a connection to the servers, once done is closed.
type connection struct {
	done   chan struct{}
	api    natsapi.API
	gaps   *gaps
	reader *natsread.Reader
	err    error
}

// New returns a Stream. It takes from nc only the options (addresses, credentials, TLS, inbox prefix) and makes a connection of its own with them,
// when it is first needed. Neither the servers nor the stream need to be there yet. It returns projections.ErrInvalidProjection for a source that cannot
// be one, and for a log of ours.
func New(nc *nats.Conn, source projections.Source, o Options) (*Stream, error) {
	if err := source.Validate(); err != nil {
		return nil, err
	}
	if strings.HasPrefix(source.Stream, natslog.StreamName("")) {
		return nil, events.Errorf(projections.ErrInvalidProjection, "%s is a log of ours, which cannot be read like the stream of somebody else", source.Stream).
			Hint("Leave stream out of the projection: it is folded from the log then.")
	}
	s := &Stream{source: source, options: o.withDefaults(), model: nc}
	s.options.Logger = s.options.Logger.With("origin", source.Origin, "stream", source.Stream)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// Close ends the stream's use. Readings end with ErrClosed. It returns when nothing of it runs any more.
//
// The order: readings end and remove their consumers, while requests still pass; then the connection.
func (s *Stream) Close() {
	s.cancel(s.closed())
	s.running.Wait()
	s.mu.Lock()
	c := s.last
	s.mu.Unlock()
	if c != nil && c.err == nil {
		c.reader.Close()
		c.api.Link.Close()
	}
}

// Source returns which stream it is.
func (s *Stream) Source() projections.Source { return s.source }

// connected returns the connection, which is made if there is none. Errors: events.ErrUnreachable, events.ErrUnauthorized, ctx's cause.
func (s *Stream) connected(ctx context.Context) (*connection, error) {
	s.mu.Lock()
	c := s.last
	if c == nil {
		if s.ctx.Err() != nil {
			s.mu.Unlock()
			return nil, s.closed()
		}
		c = &connection{done: make(chan struct{})}
		s.last = c
		s.running.Go(func() { s.connect(c) })
	}
	s.mu.Unlock()
	select {
	case <-c.done:
		return c, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connect makes a connection. One that could not be made is made anew by whoever needs it next.
func (s *Stream) connect(c *connection) {
	defer close(c.done)
	link, err := natsapi.Connect(s.model, "stream "+s.source.Stream, s.options.Logger, s.options.AttemptTimeout)
	if err != nil {
		c.err = err
		s.mu.Lock()
		s.last = nil
		s.mu.Unlock()
		return
	}
	c.api = natsapi.API{
		Link: link, Prefix: natsapi.Prefix(""), Stream: s.source.Stream,
		Missing: "It has to be in this region's own NATS, in the account of this user. Reading begins when it is there.",
	}
	c.gaps = &gaps{api: c.api, logger: s.options.Logger, most: maxListed}
	c.reader = natsread.New(natsread.Config{
		API: c.api, History: history{s, c}, Gaps: c.gaps, Patience: s.options.ReadPatience, Logger: s.options.Logger,
	})
}

func (s *Stream) closed() error {
	return events.Errorf(events.ErrClosed, "the reader of stream %s was closed by its owner", s.source.Stream)
}

// within returns a context that also ends when the stream is closed.
func (s *Stream) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	if s.ctx.Err() != nil {
		cancel(context.Cause(s.ctx)) // AfterFunc takes its time
	}
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// ended returns ctx's cause when it ended, otherwise err.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
