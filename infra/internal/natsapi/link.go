package natslog

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/internal/natsconn"
)

// Causes of an attempt that got no answer.
var (
	errDisconnected = errors.New("the connection broke")
	errNoAnswer     = errors.New("no answer in time")
)

// link is a connection of our own: natsconn says how it differs from the caller's. Appending and reading have one each, so that answers to appends do not
// queue behind a replay.
type link struct {
	nc      *nats.Conn
	name    string
	logger  *slog.Logger
	timeout time.Duration

	mu       sync.Mutex
	denied   func(operation, subject string) // called for each violation
	epoch    *epoch
	up       chan struct{} // closed while connected
	back     time.Time     // when the connection came back last
	watchers map[string]map[*context.CancelCauseFunc]struct{}
	deaf     error // set when the servers refused the subscription that answers arrive on
}

// epoch is the time from a connection's beginning to its break.
type epoch struct{ over chan struct{} }

func newEpoch() *epoch { return &epoch{over: make(chan struct{})} }

func (e *epoch) isOver() bool {
	select {
	case <-e.over:
		return true
	default:
		return false
	}
}

// connect opens a link with the options of model.
func connect(model *nats.Conn, name string, logger *slog.Logger, timeout time.Duration) (*link, error) {
	l := &link{name: name, logger: logger, timeout: timeout, up: make(chan struct{}), watchers: map[string]map[*context.CancelCauseFunc]struct{}{}}
	l.epoch = newEpoch()
	close(l.up)
	o := natsconn.Options(model, name, timeout)
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) { l.down(err) }
	o.ReconnectedCB = func(*nats.Conn) { l.restored() }
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }
	nc, err := o.Connect()
	if err != nil {
		return nil, natsconn.DialError("the servers", err)
	}
	l.nc = nc
	return l, nil
}

func (l *link) close() {
	l.nc.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broke()
}

// broke ends the epoch and everything that waits for an answer in it.
func (l *link) broke() {
	if l.epoch.isOver() {
		return
	}
	close(l.epoch.over)
	for _, w := range l.watchers {
		for cancel := range w {
			(*cancel)(errDisconnected)
		}
	}
}

func (l *link) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broke()
	l.up = make(chan struct{})
	l.logger.Warn("connection to the log's servers lost", "link", l.name, "error", err)
}

func (l *link) restored() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = newEpoch()
	l.deaf, l.back = nil, time.Now()
	close(l.up)
	l.logger.Info("connection to the log's servers restored", "link", l.name)
}

// fresh reports whether the connection came back a moment ago. For that moment a restarted server can be reachable without its streams.
func (l *link) fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.back) < noLogPatience
}

// present returns the epoch of this moment.
func (l *link) present() *epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// wait returns when the link is connected, or ctx's cause.
func (l *link) wait(ctx context.Context) error {
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
func (l *link) asyncError(err error) {
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

// onDenied sets what is called with the operation (Publish, Subscription) and the subject of each violation.
func (l *link) onDenied(denied func(operation, subject string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied = denied
}

func unauthorized(operation, subject string) error {
	return natsconn.Refused("the servers", operation, subject)
}

// request sends one message and waits for its answer. The error is errNoAnswer, errDisconnected, nats.ErrNoResponders, an
// ErrUnauthorized, or ctx's cause; unsent says that the message certainly never left.
func (l *link) request(ctx context.Context, m *nats.Msg) (answer *nats.Msg, unsent bool, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, l.timeout, errNoAnswer)
	defer stop()
	ctx, release, err := l.bind(ctx, m.Subject)
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
		return nil, true, errDisconnected
	}
	return nil, false, err
}

// bind returns a context that also ends when the connection breaks (errDisconnected), or when publishing to subject, or hearing any
// answer at all, is refused (ErrUnauthorized).
func (l *link) bind(ctx context.Context, subject string) (context.Context, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.deaf != nil:
		return nil, nil, l.deaf
	case l.epoch.isOver():
		return nil, nil, errDisconnected
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
