// Package natslog is the log on NATS.
package natslog

import (
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

// Log is a log.
type Log struct{ held events.Held[nats.Conn] }

// Hold returns a connection.
func Hold() events.Held[nats.Conn] { return events.Held[nats.Conn]{} }

// New returns a log.
func New(held events.Held[nats.Conn]) *Log { return &Log{held: held} }

// Conn returns its connection.
func (l *Log) Conn() nats.Conn { return l.held.V }
