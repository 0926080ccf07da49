package embedded

import "tidemark.dev/events"

// The codes of this package. Beside them its functions return ErrUnreachable, ErrUnauthorized, ErrClosed and
// ErrInvalidEvent (a name that is no region) of package events.
const (
	// ErrDirInUse: another process holds the data directory, or a server of it runs already.
	ErrDirInUse = events.Code("data-directory-in-use")
	// ErrUnsafeDir: the data directory cannot be used safely: not a directory, not writable, or open to other users.
	ErrUnsafeDir = events.Code("unsafe-data-directory")
	// ErrBadCredentials: the file with the passwords is damaged.
	ErrBadCredentials = events.Code("bad-credentials")
	// ErrAddressInUse: something else listens on the address.
	ErrAddressInUse = events.Code("address-in-use")
	// ErrBadAddress: a text that is no address.
	ErrBadAddress = events.Code("bad-address")
	// ErrNATSFailed: the NATS server could not be started.
	ErrNATSFailed = events.Code("nats-failed")
	// ErrRedisMissing: a redis-server was asked for, and none is installed.
	ErrRedisMissing = events.Code("redis-missing")
	// ErrRedisFailed: the private redis-server could not be started, or ended unexpectedly.
	ErrRedisFailed = events.Code("redis-failed")
	// ErrUnsafeRedis: a Redis with settings under which a guarantee would not hold.
	ErrUnsafeRedis = events.Code("unsafe-redis")
)

// Codes lists every code of this package, for tables that must be complete.
func Codes() []events.Code {
	return []events.Code{
		ErrDirInUse, ErrUnsafeDir, ErrBadCredentials, ErrAddressInUse, ErrBadAddress, ErrNATSFailed, ErrRedisMissing,
		ErrRedisFailed, ErrUnsafeRedis,
	}
}

// redisFailed makes an ErrRedisFailed. An argument wrapped by %w becomes the cause.
func redisFailed(format string, args ...any) *events.Error {
	return events.Errorf(ErrRedisFailed, format, args...)
}
