package natslog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/internal/natsread"
)

// Log is an origin's log in a JetStream stream. It is safe for concurrent use.
type Log struct {
	cfg     Config
	options Options
	logger  *slog.Logger
	id      *identity
	reading natsapi.API
	writer  *writer // nil for a mirror, and when it is only read

	ctx     context.Context // ends when the log is closed
	cancel  context.CancelCauseFunc
	closing sync.Once
	reader  *natsread.Reader // nil while the log is being opened
	seen    atomic.Uint64    // the highest head that the leader has told
}

var _ events.Log = (*Log)(nil)

// Open opens a log that exists. It takes from nc only the options (addresses, credentials, TLS, inbox prefix) and makes two
// connections of its own with them; nc itself is not used afterwards and keeps its handlers.
//
// Errors: ErrNoLog; ErrUnsafeLog with every finding of Audit; ErrForeignHistory when the stream's first record is not the genesis of this
// origin; ErrUnreachable; ErrUnauthorized; ErrInvalidEvent for a malformed origin.
func Open(ctx context.Context, nc *nats.Conn, cfg Config, o Options) (*Log, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg, o = cfg.withDefaults(), o.withDefaults()
	l := &Log{cfg: cfg, options: o, logger: o.Logger.With("origin", cfg.Origin)}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	if err := l.open(ctx, nc); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Log) open(ctx context.Context, nc *nats.Conn) error {
	read, err := natsapi.Connect(nc, "read "+l.cfg.Origin, l.logger, l.options.AttemptTimeout)
	if err != nil {
		return err
	}
	l.reading = apiOf(read, l.cfg)
	l.id = &identity{api: l.reading, origin: l.cfg.Origin}
	l.reader = l.newReader()
	info, err := l.reading.StreamInfo(ctx)
	if err != nil {
		return err
	}
	if err := unsafe(l.reading.Stream, Audit(l.cfg, info)); err != nil {
		return err
	}
	if _, _, err = l.id.refresh(ctx); err != nil || l.cfg.Mirror || l.cfg.ReadOnly {
		return err
	}
	write, err := natsapi.Connect(nc, "write "+l.cfg.Origin, l.logger, l.options.AttemptTimeout)
	if err != nil {
		return err
	}
	a := &acks{stream: l.reading.Stream}
	a.domain.Store(&info.Domain)
	if l.writer, err = newWriter(l.cfg.Origin, apiOf(write, l.cfg), l.id, a, l.options); err != nil {
		write.Close()
		return err
	}
	l.writer.head.Store(info.State.LastSeq)
	if most := write.Conn().MaxPayload(); most < events.MaxDataBytes+maxHeaderBytes {
		l.logger.Warn("the server's max_payload is too small for the largest events", "max_payload_bytes", most)
	}
	_, err = l.writer.api.StreamInfo(ctx) // whether this connection may hear answers
	return err
}

// Close ends the log's use. Appends that were not sent fail with ErrClosed; those that were have one attempt's time to be answered and are
// ErrUnknownOutcome after that. Readings end with ErrClosed. It returns when no goroutine of the log runs any more.
//
// The order: no new appends and what is under way finishes, while answers still arrive; then readings end and remove their consumers, while
// requests still pass; then the connections.
func (l *Log) Close() {
	l.closing.Do(func() {
		if l.writer != nil {
			l.writer.close()
		}
		l.cancel(events.Errorf(events.ErrClosed, "the log was closed by its owner"))
		if l.reader != nil {
			l.reader.Close()
		}
		if l.writer != nil {
			l.writer.api.Link.Close()
		}
		if l.reading.Link != nil {
			l.reading.Link.Close()
		}
	})
}

// Origin returns the origin's name.
func (l *Log) Origin() string { return l.cfg.Origin }

// Begins returns the first sequence that this copy of the log was made to hold, as it was known last: 1 unless it is a mirror that begins later.
func (l *Log) Begins() uint64 { return l.id.first() }

// Info returns the log's identity and bounds, as the stream's leader knows them.
func (l *Log) Info(ctx context.Context) (events.Info, error) {
	ctx, stop := l.within(ctx)
	defer stop()
	info, terms, err := l.id.refresh(ctx)
	if err != nil {
		return events.Info{}, ended(ctx, err)
	}
	for seen := l.seen.Load(); seen < info.State.LastSeq && !l.seen.CompareAndSwap(seen, info.State.LastSeq); seen = l.seen.Load() {
	}
	return events.Info{
		Origin: l.cfg.Origin, Terms: terms, Begins: l.id.first(), First: info.State.FirstSeq, Last: info.State.LastSeq, Time: info.State.LastTime.UTC(),
	}, nil
}

// within returns a context that also ends when the log is closed.
func (l *Log) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	if l.ctx.Err() != nil {
		cancel(context.Cause(l.ctx)) // AfterFunc takes its time
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

// Append submits a batch and waits for its outcome.
func (l *Log) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	p, err := l.Submit(ctx, b)
	if err != nil {
		return events.Receipt{}, err
	}
	return p.Wait(ctx)
}

// Submit queues a batch.
func (l *Log) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	if l.writer == nil {
		return nil, events.Errorf(events.ErrNoLog, "this copy of origin %s cannot be written; nothing was written", l.cfg.Origin).
			Hint("Append in the region that leads the origin.")
	}
	if l.ctx.Err() != nil {
		return nil, errClosed()
	}
	if err := b.Validate(); err != nil {
		return nil, err
	}
	if err := l.checkObserved(ctx, &b); err != nil {
		return nil, err
	}
	e, err := newEntry(l.cfg.Origin, b, l.options.Clock, l.id.position, int(l.writer.flights.link.Conn().MaxPayload()))
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, finish := events.NewPending()
	e.finish = finish
	if err := l.writer.submit(ctx, e); err != nil {
		return nil, err
	}
	return p, nil
}

// checkObserved asks the leader for its head only when an event claims to have seen more than this writer knows of.
func (l *Log) checkObserved(ctx context.Context, b *events.Batch) error {
	var info events.Info
	for i := range b.Events {
		p := b.Events[i].Observed
		if p.IsZero() {
			continue
		}
		if info.Origin == "" {
			info = events.Info{Origin: l.cfg.Origin, Terms: l.id.known(), First: 1, Last: max(l.seen.Load(), l.writer.head.Load())}
		}
		if info.CheckObserved(p) == nil {
			continue
		}
		var err error
		if info, err = l.Info(ctx); err != nil {
			return err
		}
		if err := info.CheckObserved(p); err != nil {
			return err
		}
	}
	return nil
}
