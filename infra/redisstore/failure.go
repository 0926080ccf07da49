package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// ErrInvalidOptions is this package's addition to the codes of the read side: it cannot work with what it was given.
const ErrInvalidOptions = events.Code("invalid-options")

// failure turns an error of the client or the server into one of the port's. What it says holds no address, since it may be shown to
// whoever asks for a document; the cause does.
func failure(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*events.Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return events.Errorf(projections.ErrStoreUnreachable, "%s: the context ended before Redis answered: %w", op, context.Cause(ctx))
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		return refusal(op, answer)
	}
	reason, hint := unreachable(err)
	return &events.Error{Code: projections.ErrStoreUnreachable, What: op + ": " + reason, Next: hint, Err: err}
}

// refusal maps what the server answered, by its first word.
func refusal(op string, err error) error {
	text := strings.TrimPrefix(err.Error(), "EXECABORT Transaction discarded because of: ")
	word, _, _ := strings.Cut(text, " ")
	made := func(code events.Code, reason, hint string) error {
		return &events.Error{Code: code, What: op + ": Redis refused: " + reason, Next: hint, Err: err}
	}
	busy := func(reason, hint string) error { return made(projections.ErrStoreUnreachable, reason, hint) }
	switch word {
	case "WRONGTYPE":
		return made(projections.ErrWrongType, "a key of the read model holds a value of another type; nothing was written", wrongTypeHint)
	case "NOAUTH", "WRONGPASS":
		return made(events.ErrUnauthorized, "the user or the password is wrong or missing", credentialsHint)
	case "NOPERM":
		return made(events.ErrUnauthorized, "the user may not run this command or touch these keys",
			"Compare the user's ACL with the commands in infra/redisstore/README.md.")
	case "READONLY":
		return busy("it is a read-only replica", "Connect to the master; after a failover, check where the address points.")
	case "OOM":
		return made(projections.ErrStoreFull, "its memory is full", "Raise maxmemory or drop generations that nobody reads; the policy must stay noeviction.")
	case "LOADING":
		return busy("it is loading its data after a start", "Wait until it has finished.")
	case "BUSY":
		return busy("it is busy with a script", "Wait; if it does not end, look for it with SLOWLOG GET.")
	case "MISCONF":
		return busy("it cannot save to its disk and stopped accepting writes", "Look at its log and the free space of its disk.")
	case "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS":
		return busy("the cluster or its replicas are not complete ("+word+")", "Look at CLUSTER INFO and INFO replication.")
	case "TRYAGAIN", "MOVED", "ASK":
		return busy("a slot is being moved ("+word+")", "Try again; if it lasts, connect with a cluster client.")
	case "CROSSSLOT":
		return busy("keys of one partition are in different slots", "Something between here and the server rewrites keys; the hash tag must survive.")
	case "EXECABORT":
		return busy("the transaction was not executed", "Look at the server's log.")
	default:
		if strings.Contains(text, "unauthenticated") { // so many arguments are not even read before a password
			return made(events.ErrUnauthorized, "the user or the password is wrong or missing", credentialsHint)
		}
		return busy("it answered "+clip(text), "Look at the server's log.")
	}
}

const credentialsHint = "Check the credentials in the configuration."

const wrongTypeHint = "Look at the key with TYPE in redis-cli; if it is not needed, delete it, and the document is written again."

// unreachable says why no answer came, without an address.
func unreachable(err error) (reason, hint string) {
	var dns *net.DNSError
	var op *net.OpError
	var timeout net.Error
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	const check = "Is it running, and is its address in the configuration right?"
	switch {
	case errors.Is(err, redis.ErrClosed):
		return "the client is closed", ""
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "all connections to Redis are in use", "Raise the size of the connection pool, or ask for less at once."
	case errors.As(err, &dns):
		return "the name of the Redis server cannot be resolved", check
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "Redis refused the connection", check
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to Redis", check
	case errors.As(err, &record), errors.As(err, &unknown), errors.As(err, &name):
		return "the TLS connection to Redis failed", "Check that TLS is on at both ends, and the certificates."
	case errors.As(err, &timeout) && timeout.Timeout():
		return "Redis did not answer in time", "Look at its load with redis-cli --latency and SLOWLOG GET, and at the network."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection to Redis broke", "Look at the server's log: it may have been restarted."
	case errors.As(err, &op) && op.Err != nil:
		return "the connection to Redis failed: " + op.Err.Error(), check
	default:
		return "no usable answer from Redis", "The cause is in the log."
	}
}

// wrongType names the key of another type.
func wrongType(op, key string) error {
	return events.Errorf(projections.ErrWrongType, "%s: the key %q holds a value of another type; nothing was written", op, clip(key)).
		Hint(wrongTypeHint)
}
