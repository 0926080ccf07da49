package failure

import "tidemark.dev/events"

// The codes of the services themselves.
const (
	// ErrUsage: a command line that cannot be understood.
	ErrUsage = events.Code("usage")
	// ErrInvalidRequest: an HTTP request that cannot be understood.
	ErrInvalidRequest = events.Code("invalid-request")
	// ErrMediaType: a body in a format that is not read here.
	ErrMediaType = events.Code("unsupported-media-type")
	// ErrNoResource: no such path.
	ErrNoResource = events.Code("no-such-resource")
	// ErrMethod: the path exists and does not know the method.
	ErrMethod = events.Code("method-not-allowed")
	// ErrCrossSite: a browser sent the request for a page of another site.
	ErrCrossSite = events.Code("cross-site-request")
	// ErrUnknownHost: the Host header names somebody else: a misconfigured proxy, or DNS rebinding.
	ErrUnknownHost = events.Code("unknown-host")
	// ErrStarting: the service runs, and the servers it needs do not answer yet.
	ErrStarting = events.Code("starting")
	// ErrTooSlow: whoever watches did not take what it was sent, and was cut off.
	ErrTooSlow = events.Code("too-slow")
	// ErrStopping: the service is shutting down.
	ErrStopping = events.Code("stopping")
	// ErrCannotListen: the HTTP address is malformed, taken, or not of this machine.
	ErrCannotListen = events.Code("cannot-listen")
	// ErrDifferent: the read models of two regions differ at a mark.
	ErrDifferent = events.Code("regions-differ")
	// ErrDamaged: looking at what a region stores found what the log does not say.
	ErrDamaged = events.Code("read-model-damaged")
	// ErrNotVerified: nothing is known to differ, and not everything could be compared.
	ErrNotVerified = events.Code("not-verified")
	// ErrReplayFailed: a replay ended without a result; the live read model was left alone.
	ErrReplayFailed = events.Code("replay-failed")
	// ErrReplayEnded: a replay had ended before it could be given up.
	ErrReplayEnded = events.Code("replay-ended")
	// ErrDeclined: a person was asked and said no.
	ErrDeclined = events.Code("declined")
	// ErrInterrupted: the caller, or a signal, ended the work before its result was known.
	ErrInterrupted = events.Code("interrupted")
	// ErrTimedOut: the time given was over before the result was known.
	ErrTimedOut = events.Code("timed-out")
	// ErrInternal: an error without a code of its own: a mistake in Tidemark.
	ErrInternal = events.Code("internal")
)

// Codes lists every code of this package.
func Codes() []events.Code {
	return []events.Code{
		ErrUsage, ErrInvalidRequest, ErrMediaType, ErrNoResource, ErrMethod, ErrCrossSite, ErrUnknownHost, ErrStarting, ErrTooSlow, ErrStopping,
		ErrCannotListen, ErrDifferent, ErrDamaged, ErrNotVerified, ErrReplayFailed, ErrReplayEnded, ErrDeclined, ErrInterrupted, ErrTimedOut, ErrInternal,
	}
}
