// Package foreign is.
package foreign

import "github.com/nats-io/nats.go"

// Conn is one.
type Conn = nats.Conn
