// Package natsconn is what our own connections to NATS have in common. The log and the forwarding of appends each make connections with the options of
// the caller's, and rely on ways in which they differ from it:
//
//   - Nothing is buffered while one is down. A message that a client keeps and sends after minutes would be stored again, because the servers have
//     forgotten its id by then.
//   - It reconnects for ever, and notices a half-open connection in seconds.
//   - Its handlers are ours: a missing right shows up only there, and the caller's handlers stay untouched.
package natsconn

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

const (
	// pingEvery and pingsOut find a half-open connection within 10 s to 15 s, which is before an append in doubt is given up.
	pingEvery = 5 * time.Second
	pingsOut  = 2
	// reconnectFrom and reconnectTo bound the wait between two attempts to connect.
	reconnectFrom = 50 * time.Millisecond
	reconnectTo   = 2 * time.Second
	// greetings is how often a connection is begun.
	greetings = 3
)

// Options returns the options of a connection like model, without handlers. A write that does not get out within flush breaks the connection.
func Options(model *nats.Conn, name string, flush time.Duration) nats.Options {
	o := model.Opts
	if o.Url == "" && len(o.Servers) == 0 && o.InProcessServer == nil {
		o.Url = model.ConnectedUrl()
	}
	return own(o, name, flush)
}

func own(o nats.Options, name string, flush time.Duration) nats.Options {
	o.Name = "tidemark " + name
	o.AllowReconnect, o.MaxReconnect, o.IgnoreAuthErrorAbort, o.RetryOnFailedConnect = true, -1, true, false
	o.ReconnectBufSize = -1
	o.CustomReconnectDelayCB = Backoff
	o.PingInterval, o.MaxPingsOut = pingEvery, pingsOut
	o.FlusherTimeout, o.ReconnectOnFlusherError = flush, true
	o.NoCallbacksAfterClientClose = true
	o.ConnectedCB, o.ClosedCB, o.DisconnectedCB, o.DiscoveredServersCB, o.LameDuckModeHandler, o.ReconnectErrCB = nil, nil, nil, nil, nil, nil
	o.DisconnectedErrCB, o.ReconnectedCB, o.AsyncErrorCB = nil, nil, nil
	return o
}

// Establish makes a connection, and tries again, twice, when servers that are there did not greet it properly. On a busy machine, or over a slow link, that happens: a
// server pings a connection once it is two seconds old, and a client that still waits for the answer to its own greeting takes that for an error
// ("expected 'PONG', got 'PING'"). Who does not answer in time, or refuses the credentials, is not asked again.
func Establish(connect func() (*nats.Conn, error)) (*nats.Conn, error) {
	for tries := 1; ; tries++ {
		nc, err := connect()
		if err == nil || tries == greetings || !disturbed(err) {
			return nc, err
		}
		<-time.After(Backoff(tries))
	}
}

// disturbed reports whether an error of a connection may be about this attempt only.
func disturbed(err error) bool {
	for _, e := range [...]error{nats.ErrNoServers, nats.ErrTimeout, nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, e) {
			return false
		}
	}
	_, network := errors.AsType[net.Error](err) // nobody listens, no such name, no answer in time
	_, malformed := errors.AsType[*url.Error](err)
	return !network && !malformed
}

// Backoff doubles from 50 ms to 2 s, with a jitter of half.
func Backoff(attempts int) time.Duration {
	d := reconnectTo
	if attempts < 6 {
		d = min(reconnectFrom<<attempts, reconnectTo)
	}
	return d/2 + rand.N(d/2) //nolint:gosec // a jitter needs no secrecy
}

// DialError tells servers that refuse the credentials (events.ErrUnauthorized) from ones that do not answer (events.ErrUnreachable). whose names them.
func DialError(whose string, err error) error {
	for _, refused := range [...]error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, refused) {
			return events.Errorf(events.ErrUnauthorized, "%s refused the credentials: %w", whose, err)
		}
	}
	return events.Errorf(events.ErrUnreachable, "no connection to %s could be made: %w", whose, err)
}

// NeverSent reports whether the error of a publish says that the message was not even put into a buffer.
func NeverSent(err error) bool {
	for _, e := range [...]error{nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrMaxPayload,
		nats.ErrBadSubject, nats.ErrHeadersNotSupported, nats.ErrInvalidConnection} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Violation returns what an asynchronous error of a connection says was refused: the operation (Publish, Subscription) and its subject, of an inbox only the
// prefix. ok is false for an error about something else. The text is: Permissions Violation for Publish to "evt.us.a.1".
func Violation(err error) (operation, subject string, ok bool) {
	_, rest, found := strings.Cut(err.Error(), "Permissions Violation for ")
	if !errors.Is(err, nats.ErrPermissionViolation) || !found {
		return "", "", false
	}
	operation, _, _ = strings.Cut(rest, " ")
	_, quoted, _ := strings.Cut(rest, `"`)
	subject, _, _ = strings.Cut(quoted, `"`)
	return operation, subject, true
}

// Refused returns the error of a violation. whose names the servers.
func Refused(whose, operation, subject string) error {
	what := "publish to"
	if operation == "Subscription" {
		what = "subscribe to"
	}
	return events.Errorf(events.ErrUnauthorized, "%s refused the right to %s %q", whose, what, subject).
		Hint("Grant it to this user; a restricted user also needs an inbox of its own (nats.CustomInboxPrefix).")
}
