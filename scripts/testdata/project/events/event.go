// Package events is what happened.
package events

// Event is a fact.
type Event struct{ ID string }

// Box holds anything.
type Box[T any] struct{ V T }

// Held is a generic alias.
type Held[T any] = Box[T]
