package topology

import (
	"tidemark.dev/events"
)

// The codes of this package. An error of Load or Parse is an ErrInvalid or an ErrNoFile; the others above ErrSecret are those of single findings.
const (
	// ErrNoFile: there is no topology file, or it cannot be read.
	ErrNoFile = events.Code("config-missing")
	// ErrInvalid: the topology file cannot be used. The error is an *Invalid, which lists every finding.
	ErrInvalid = events.Code("config-invalid")
	// ErrSyntax: the text is not YAML, or uses a part of YAML that is not read here.
	ErrSyntax = events.Code("config-syntax")
	// ErrTooLarge: the text, or a part of it, is over a bound.
	ErrTooLarge = events.Code("config-too-large")
	// ErrUnknownKey: a key that is not known there.
	ErrUnknownKey = events.Code("config-unknown-key")
	// ErrDuplicateKey: a key, or a region, that is there twice.
	ErrDuplicateKey = events.Code("config-duplicate-key")
	// ErrMissingKey: a key that must be there is not.
	ErrMissingKey = events.Code("config-missing-key")
	// ErrWrongType: a text where a number is expected, and the like.
	ErrWrongType = events.Code("config-wrong-type")
	// ErrBadValue: a value that is not possible.
	ErrBadValue = events.Code("config-bad-value")
	// ErrContradiction: values that are possible, and not together.
	ErrContradiction = events.Code("config-contradiction")
	// ErrLiteralSecret: a secret is written where only a reference to it belongs.
	ErrLiteralSecret = events.Code("config-literal-secret")
	// ErrUnknownVariable: a variable of the environment looks like an override and overrides nothing.
	ErrUnknownVariable = events.Code("config-unknown-variable")
	// ErrUnsupported: what the format allows and this program cannot do yet.
	ErrUnsupported = events.Code("config-unsupported")

	// ErrSecret: a secret cannot be read from where it should be.
	ErrSecret = events.Code("secret-unavailable")
	// ErrSecretExposed: a file with a secret is open to every user of the machine.
	ErrSecretExposed = events.Code("secret-exposed")
	// ErrTLS: the files of an encrypted connection cannot be used.
	ErrTLS = events.Code("bad-tls-files")
)

// Codes lists every code of this package, for tables that must be complete.
func Codes() []events.Code {
	return []events.Code{
		ErrNoFile, ErrInvalid, ErrSyntax, ErrTooLarge, ErrUnknownKey, ErrDuplicateKey, ErrMissingKey, ErrWrongType, ErrBadValue, ErrContradiction,
		ErrLiteralSecret, ErrUnknownVariable, ErrUnsupported, ErrSecret, ErrSecretExposed, ErrTLS,
	}
}

func secretError(format string, args ...any) *events.Error {
	return events.Errorf(ErrSecret, format, args...)
}
