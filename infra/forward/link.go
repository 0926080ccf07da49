package forward

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

// Bounds of a link.
const (
	// pingEvery and pingsOut find a half-open connection within 10 s to 15 s, which is before an append in doubt is given up.
	pingEvery = 5 * time.Second
	pingsOut  = 2
	// reconnectFrom and reconnectTo bound the wait between two attempts to connect.
	reconnectFrom = 50 * time.Millisecond
	reconnectTo   = 2 * time.Second
)

// Causes of a request without answer.
var (
	errDisconnected = errors.New("the connection to this region's servers broke")
	errNoAnswer     = errors.New("no answer in time")
)

// link is a connection of our own, made with the options of the caller's. It differs from his in what forwarding relies on: nothing is
// buffered while it is down, because a request sent minutes later could be stored a second time; it reconnects for ever; it notices a
// half-open connection in seconds; and a right that is missing ends what waits for it, instead of a time-out.
type link struct {
	nc     *nats.Conn
	logger *slog.Logger

	mu     sync.Mutex
	epoch  *epoch        // the time from a connection's beginning to its break
	up     chan struct{} // closed while connected
	denied map[string]func(error)
}

// epoch is the life of one connection.
type epoch struct {
	ctx context.Context // ends when the connection breaks
	end context.CancelCauseFunc
}

func newEpoch() *epoch {
	e := &epoch{}
	e.ctx, e.end = context.WithCancelCause(context.Background())
	return e
}

// connect opens a link with the options of model.
func connect(model *nats.Conn, name string, logger *slog.Logger) (*link, error) {
	l := &link{logger: logger, epoch: newEpoch(), up: make(chan struct{}), denied: map[string]func(error){}}
	close(l.up)
	o := model.Opts
	o.Name = "tidemark " + name
	if o.Url == "" && len(o.Servers) == 0 && o.InProcessServer == nil {
		o.Url = model.ConnectedUrl()
	}
	o.AllowReconnect, o.MaxReconnect, o.IgnoreAuthErrorAbort, o.RetryOnFailedConnect = true, -1, true, false
	o.ReconnectBufSize = -1
	o.CustomReconnectDelayCB = backoff
	o.PingInterval, o.MaxPingsOut = pingEvery, pingsOut
	o.NoCallbacksAfterClientClose = true
	o.ConnectedCB, o.ClosedCB, o.DisconnectedCB, o.DiscoveredServersCB, o.LameDuckModeHandler, o.ReconnectErrCB = nil, nil, nil, nil, nil, nil
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) { l.down(err) }
	o.ReconnectedCB = func(*nats.Conn) { l.restored() }
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }
	nc, err := o.Connect()
	if err != nil {
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) {
			return nil, events.Errorf(events.ErrUnauthorized, "this region's servers refused the credentials: %w", err)
		}
		return nil, events.Errorf(events.ErrUnreachable, "no connection to this region's servers could be made: %w", err)
	}
	l.nc = nc
	return l, nil
}

// backoff doubles from reconnectFrom to reconnectTo, with a jitter of half.
func backoff(attempts int) time.Duration {
	d := reconnectTo
	if attempts < 6 {
		d = min(reconnectFrom<<attempts, reconnectTo)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // a jitter needs no secrecy
}

func (l *link) close() {
	l.nc.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch.end(errDisconnected)
}

func (l *link) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch.ctx.Err() != nil {
		return
	}
	l.epoch.end(errDisconnected)
	l.up = make(chan struct{})
	l.logger.Warn("connection to this region's servers lost", "error", err)
}

func (l *link) restored() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = newEpoch()
	close(l.up)
	l.logger.Info("connection to this region's servers restored")
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

// onDenied sets what is called when the servers refuse an operation (Publish, Subscription) on a subject. An inbox has its prefix only.
func (l *link) onDenied(operation, subject string, f func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied[operation+" "+subject] = f
}

// asyncError finds violations: Permissions Violation for Publish to "tm.append.us".
func (l *link) asyncError(err error) {
	_, rest, found := strings.Cut(err.Error(), "Permissions Violation for ")
	if !errors.Is(err, nats.ErrPermissionViolation) || !found {
		l.logger.Debug("asynchronous error of the connection", "error", err)
		return
	}
	operation, _, _ := strings.Cut(rest, " ")
	_, quoted, _ := strings.Cut(rest, `"`)
	subject, _, _ := strings.Cut(quoted, `"`)
	what := "publish to"
	if operation == "Subscription" {
		what = "subscribe to"
	}
	l.mu.Lock()
	f := l.denied[operation+" "+subject]
	if f == nil && operation == "Subscription" {
		f = l.denied[operation+" "]
	}
	l.mu.Unlock()
	if f != nil {
		f(events.Errorf(events.ErrUnauthorized, "this region's servers refused the right to %s %q", what, subject).
			Hint("Grant it to this user; a restricted user also needs an inbox that it may subscribe to."))
	}
}

// neverSent reports whether the error of a publish says that the message was not even put into a buffer.
func neverSent(err error) bool {
	for _, e := range [...]error{nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload,
		nats.ErrBadSubject, nats.ErrHeadersNotSupported, nats.ErrInvalidConnection, nats.ErrConnectionReconnecting} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
