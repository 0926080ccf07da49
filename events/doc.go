// Package events is the domain of the log: what an event is, which entity it is about, where in which history it stands,
// how it looks on the wire, and what a log must do to be one (the Log port).
//
// It knows no broker. Adapters live elsewhere: memlog beside this file for tests, the JetStream log in the infra module.
// Both pass the conformance suite in logtest. The package uses the standard library only.
//
// Reading order: event.go, position.go, log.go, then wire.go.
package events
