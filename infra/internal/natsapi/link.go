// Package natsapi asks the leader of one JetStream stream, over a connection of its own that says at once when it breaks and when a right is missing.
// The log and the reader of streams that are not ours share it.
package natsapi

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/internal/natsconn"
)

// freshFor is how long after a connection came back a missing stream is believed to be on its way.
const freshFor = 2 * time.Second

// Causes of an attempt that got no answer.
var (
	ErrDisconnected = errors.New("the connection broke")
	ErrNoAnswer     = errors.New("no answer in time")
)

// Link is a connection of our own: natsconn says how it differs from the caller's. Appending and reading have one each, so that answers to appends do not
// queue behind a replay.
type Link struct {
	nc      *nats.Conn
	name    string
	logger  *slog.Logger
	timeout time.Duration

	mu       sync.Mutex
	denied   func(operation, subject string) // called for each violation
	epoch    *Epoch
	up       chan struct{} // closed while connected
	back     time.Time     // when the connection came back last
	watchers map[string]map[*context.CancelCauseFunc]struct{}
	deaf     error // set when the servers refused the subscription that answers arrive on
}

// Epoch is the time from a connection's beginning to its break.
type Epoch struct{ over chan struct{} }

func newEpoch() *Epoch { return &Epoch{over: make(chan struct{})} }

// IsOver reports whether the connection has broken since.
func (e *Epoch) IsOver() bool {
	select {
	case <-e.over:
		return true
	default:
		return false
	}
}

// Over is closed when the connection breaks.
func (e *Epoch) Over() <-chan struct{} { return e.over }

// Connect opens a link with the options of model.
func Connect(model *nats.Conn, name string, logger *slog.Logger, timeout time.Duration) (*Link, error) {
	l := &Link{name: name, logger: logger, timeout: timeout, up: make(chan struct{}), watchers: map[string]map[*context.CancelCauseFunc]struct{}{}}
	l.epoch = newEpoch()
	close(l.up)
	o := natsconn.Options(model, name, timeout)
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) { l.down(err) }
	o.ReconnectedCB = func(*nats.Conn) { l.restored() }
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }
	nc, err := natsconn.Establish(o.Connect)
	if err != nil {
		return nil, natsconn.DialError("the servers", err)
	}
	l.nc = nc
	return l, nil
}

// Conn returns the connection.
func (l *Link) Conn() *nats.Conn { return l.nc }

// Timeout is how long one attempt waits for its answer.
func (l *Link) Timeout() time.Duration { return l.timeout }

// Close ends the connection and everything that waits for an answer.
func (l *Link) Close() {
	l.nc.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broke()
}

// broke ends the epoch and everything that waits for an answer in it.
func (l *Link) broke() {
	if l.epoch.IsOver() {
		return
	}
	close(l.epoch.over)
	for _, w := range l.watchers {
		for cancel := range w {
			(*cancel)(ErrDisconnected)
		}
	}
}

func (l *Link) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broke()
	l.up = make(chan struct{})
	l.logger.Warn("connection to the log's servers lost", "link", l.name, "error", err)
}

func (l *Link) restored() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = newEpoch()
	l.deaf, l.back = nil, time.Now()
	close(l.up)
	l.logger.Info("connection to the log's servers restored", "link", l.name)
}

// Fresh reports whether the connection came back a moment ago. For that moment a restarted server can be reachable without its streams.
func (l *Link) Fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.back) < freshFor
}

// Present returns the epoch of this moment.
func (l *Link) Present() *Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// Wait returns when the link is connected, or ctx's cause.
func (l *Link) Wait(ctx context.Context) error {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// asyncError finds violations.
func (l *Link) asyncError(err error) {
	operation, subject, ok := natsconn.Violation(err)
	if !ok {
		l.logger.Debug("asynchronous error of the connection", "link", l.name, "error", err)
		return
	}
	refused := unauthorized(operation, subject)
	l.mu.Lock()
	watchers := l.watchers[subject]
	if operation == "Subscription" {
		l.deaf = refused
		for _, w := range l.watchers { // no answer can arrive any more
			for cancel := range w {
				(*cancel)(refused)
			}
		}
	}
	for cancel := range watchers {
		(*cancel)(refused)
	}
	denied := l.denied
	l.mu.Unlock()
	if denied != nil {
		denied(operation, subject)
	}
}

// OnDenied sets what is called with the operation (Publish, Subscription) and the subject of each violation.
func (l *Link) OnDenied(denied func(operation, subject string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied = denied
}

func unauthorized(operation, subject string) error {
	return natsconn.Refused("the servers", operation, subject)
}

// Request sends one message and waits for its answer. The error is ErrNoAnswer, ErrDisconnected, nats.ErrNoResponders, an
// ErrUnauthorized, or ctx's cause; unsent says that the message certainly never left.
func (l *Link) Request(ctx context.Context, m *nats.Msg) (answer *nats.Msg, unsent bool, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, l.timeout, ErrNoAnswer)
	defer stop()
	ctx, release, err := l.Bind(ctx, m.Subject)
	if err != nil {
		return nil, true, err
	}
	defer release()
	answer, err = l.nc.RequestMsgWithContext(ctx, m)
	switch {
	case err == nil:
		return answer, false, nil
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case errors.Is(err, nats.ErrNoResponders):
		return nil, true, nats.ErrNoResponders
	case natsconn.NeverSent(err):
		return nil, true, ErrDisconnected
	}
	return nil, false, err
}

// Bind returns a context that also ends when the connection breaks (ErrDisconnected), or when publishing to subject, or hearing any
// answer at all, is refused (ErrUnauthorized).
func (l *Link) Bind(ctx context.Context, subject string) (context.Context, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.deaf != nil:
		return nil, nil, l.deaf
	case l.epoch.IsOver():
		return nil, nil, ErrDisconnected
	}
	w := l.watchers[subject]
	if w == nil {
		w = map[*context.CancelCauseFunc]struct{}{}
		l.watchers[subject] = w
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w[&cancel] = struct{}{}
	return ctx, func() {
		cancel(nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		if delete(w, &cancel); len(w) == 0 && len(l.watchers[subject]) == 0 {
			delete(l.watchers, subject)
		}
	}, nil
}
