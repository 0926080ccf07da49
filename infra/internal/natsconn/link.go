package natsconn

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

// flushTimeout is how long a write of a Link may take to get out of this process.
const flushTimeout = 5 * time.Second

// ErrDisconnected says that a request has no answer because the connection broke, or was not there.
var ErrDisconnected = errors.New("the connection to the servers broke")

// Link is a connection of our own on which requests are made and answered. What waits for an answer ends at once when the connection breaks, or when the
// servers refuse a right, instead of with a time-out.
type Link struct {
	nc     *nats.Conn
	whose  string
	logger *slog.Logger

	mu      sync.Mutex
	begun   bool          // it was connected once
	closed  bool          // a callback may come late
	epoch   *Epoch        // the time from a connection's beginning to its break
	up      chan struct{} // closed while connected
	waiting map[*request]struct{}
	refused error                  // why the servers do not let a link in that was dialled; nil when that is not known
	deaf    error                  // why the servers refuse the inbox that answers come to
	deafIn  *Epoch                 // on this connection
	inbox   string                 // what the subjects of answers begin with
	denied  map[string]func(error) // by subject
}

// request is one that waits for its answer.
type request struct {
	subject string
	end     context.CancelCauseFunc
}

// Epoch is the life of one connection.
type Epoch struct {
	ctx context.Context // ends when the connection breaks
	end context.CancelCauseFunc
}

func newEpoch() *Epoch {
	e := &Epoch{}
	e.ctx, e.end = context.WithCancelCause(context.Background())
	return e
}

// Over reports whether the connection has broken since.
func (e *Epoch) Over() bool { return e.ctx.Err() != nil }

// Connect opens a link with the options of model. name tells people what it is for, whose names the servers in errors. Errors are those of DialError.
func Connect(model *nats.Conn, name, whose string, logger *slog.Logger) (*Link, error) {
	return open(Options(model, name, flushTimeout), whose, logger, false)
}

// Dial opens a link to servers, which need not answer yet: until they do, the link is not connected, and says so, or that they refuse the credentials. Errors are
// those of DialError, for addresses that can never be used.
func Dial(o nats.Options, name, whose string, logger *slog.Logger) (*Link, error) {
	return open(own(o, name, flushTimeout), whose, logger, true)
}

func open(o nats.Options, whose string, logger *slog.Logger, later bool) (*Link, error) {
	l := &Link{whose: whose, logger: logger, epoch: newEpoch(), up: make(chan struct{}), waiting: map[*request]struct{}{}, denied: map[string]func(error){}}
	l.epoch.end(ErrDisconnected)
	l.inbox = cmp.Or(o.InboxPrefix, "_INBOX") + "."
	if o.RetryOnFailedConnect = later; later {
		o.ReconnectErrCB = func(_ *nats.Conn, err error) { l.keptOut(err) }
	}
	o.ConnectedCB = func(*nats.Conn) { l.restored() }
	o.DisconnectedErrCB = func(_ *nats.Conn, err error) { l.down(err) }
	o.ReconnectedCB = func(*nats.Conn) { l.restored() }
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { l.asyncError(err) }
	nc, err := Establish(o.Connect)
	if err != nil {
		return nil, DialError(whose, err)
	}
	l.nc = nc
	if l.mu.Lock(); !l.begun && nc.IsConnected() { // the callback comes a little later
		l.begin()
	}
	l.mu.Unlock()
	return l, nil
}

// Conn returns the connection itself, to subscribe and to answer with. Its handlers are the link's.
func (l *Link) Conn() *nats.Conn { return l.nc }

// Close ends the connection, and with it what waits.
func (l *Link) Close() {
	l.nc.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.epoch.end(ErrDisconnected)
}

func (l *Link) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch.Over() {
		return
	}
	l.epoch.end(ErrDisconnected)
	l.up = make(chan struct{})
	l.logger.Warn("connection to the servers lost", "servers", l.whose, "error", err)
}

func (l *Link) restored() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch.Over() && !l.closed {
		l.begin()
		l.logger.Info("connected to the servers", "servers", l.whose)
	}
}

// keptOut learns why an attempt to connect failed.
func (l *Link) keptOut(err error) {
	err = DialError(l.whose, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused = nil; errors.Is(err, events.ErrUnauthorized) {
		l.refused = err
	}
}

// begin begins an epoch. The lock is held.
func (l *Link) begin() {
	l.begun, l.epoch, l.refused = true, newEpoch(), nil
	close(l.up)
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

// OnDenied sets what is called when the servers refuse to let the link hear a subject; of an empty one: any other that is not its inbox.
func (l *Link) OnDenied(subject string, f func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied[subject] = f
}

// Guard returns a context that ends when an answer cannot come any more: with ErrDisconnected when the connection breaks, with an events.ErrUnauthorized when the servers refuse
// to let a question out on subject, or any answer in. release ends it. The error says that it would have ended already.
func (l *Link) Guard(ctx context.Context, subject string) (guarded context.Context, release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.epoch
	switch {
	case e.Over() && l.refused != nil:
		return nil, nil, l.refused
	case e.Over():
		return nil, nil, ErrDisconnected
	case l.deafIn == e:
		return nil, nil, l.deaf
	}
	r := &request{subject: subject}
	guarded, r.end = context.WithCancelCause(ctx)
	l.waiting[r] = struct{}{}
	stop := context.AfterFunc(e.ctx, func() { r.end(ErrDisconnected) })
	return guarded, func() {
		stop()
		r.end(nil)
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waiting, r)
	}, nil
}

// Request sends a message and waits for its answer. unsent says that nobody got it, so that it had no effect. The error is nats.ErrNoResponders, that of Guard, ctx's cause, or
// whatever else the client says.
func (l *Link) Request(ctx context.Context, m *nats.Msg) (answer *nats.Msg, unsent bool, err error) {
	ctx, release, err := l.Guard(ctx, m.Subject)
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
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, true, err
	case NeverSent(err):
		return nil, true, ErrDisconnected
	}
	return nil, false, err
}

// asyncError finds violations: Permissions Violation for Publish to "tm.append.us".
func (l *Link) asyncError(err error) {
	operation, subject, ok := Violation(err)
	if !ok {
		l.logger.Debug("asynchronous error of the connection", "servers", l.whose, "error", err)
		return
	}
	refused := Refused(l.whose, operation, subject)
	if operation == "Publish" {
		l.refuse(refused, func(r *request) bool { return r.subject == subject })
		return
	}
	l.mu.Lock()
	f := l.denied[subject]
	if f == nil && !strings.HasPrefix(subject, l.inbox) {
		f = l.denied[""]
	} else if f == nil {
		l.deaf, l.deafIn = refused, l.epoch
	}
	l.mu.Unlock()
	if f != nil {
		f(refused)
		return
	}
	l.refuse(refused, func(*request) bool { return true })
}

// refuse ends requests that wait.
func (l *Link) refuse(why error, which func(*request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.waiting {
		if which(r) {
			r.end(why)
		}
	}
}
