package forward

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/internal/natsconn"
)

const (
	// flushTimeout is how long a write may take to get out of this process.
	flushTimeout = 5 * time.Second
	// ours names the servers in errors.
	ours = "this region's servers"
)

// Causes of a request without answer.
var (
	errDisconnected = errors.New("the connection to this region's servers broke")
	errNoAnswer     = errors.New("no answer in time")
)

// link is a connection of our own: natsconn says how it differs from the caller's. A right that is missing ends what waits for it, instead of a time-out.
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
	o := natsconn.Options(model, name, flushTimeout)
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) { l.down(err) }
	o.ReconnectedCB = func(*nats.Conn) { l.restored() }
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }
	nc, err := o.Connect()
	if err != nil {
		return nil, natsconn.DialError(ours, err)
	}
	l.nc = nc
	return l, nil
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
	operation, subject, ok := natsconn.Violation(err)
	if !ok {
		l.logger.Debug("asynchronous error of the connection", "error", err)
		return
	}
	l.mu.Lock()
	f := l.denied[operation+" "+subject]
	if f == nil && operation == "Subscription" {
		f = l.denied[operation+" "]
	}
	l.mu.Unlock()
	if f != nil {
		f(natsconn.Refused(ours, operation, subject))
	}
}
