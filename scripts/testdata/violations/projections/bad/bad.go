// Package bad is bad.
package bad

import "github.com/nats-io/nats.go"

// Conn is one.
type Conn = nats.Conn
