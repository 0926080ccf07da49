package events

import (
	"context"
	"time"
)

// CopyState says how a region's copy of an origin stands to the leader's.
type CopyState string

// States of a copy.
const (
	// CopyLeads: this copy accepts the writes; the others follow it.
	CopyLeads CopyState = "leads"
	// CopyFollows: the link is up, the copy is on the leader's history, and its lag is known.
	CopyFollows CopyState = "follows"
	// CopyUnknown: the leader does not answer, or nothing came over the link for too long. The copy can be read; how far it is behind is not known.
	CopyUnknown CopyState = "unknown"
	// CopyDiverged: the copy holds what the leader's history does not. It takes nothing from the leader until a person has decided.
	CopyDiverged CopyState = "diverged"
)

// Replication is how a region's copy of an origin stands to the leader's, at one moment.
type Replication struct {
	Origin string    `json:"origin"`
	Region string    `json:"region"` // that holds the copy
	Leader string    `json:"leader"` // region whose copy accepts the writes
	State  CopyState `json:"state"`
	// Begins is the first sequence that this copy was made to hold; 0: it is a copy of the whole log, or leads.
	Begins uint64 `json:"begins,omitempty"`
	// Head of this copy; zero while there is none, and for a copy that leads: that one's log tells it.
	Head Position `json:"head"`
	// LeaderHead is the leader's head as it was known last; zero when it never was.
	LeaderHead Position `json:"leader_head"`
	// Lag of this copy behind the leader's. Nil means that it is not known, which is never the same as none.
	Lag *ReplicationLag `json:"lag"`
	// Since is when the state began; zero for a copy that leads, and where it is not known.
	Since time.Time `json:"since,omitzero"`
	// Looked is when the two were compared last, by the clock of whoever did it; zero for a copy that leads, and where it is not known.
	Looked time.Time `json:"looked,omitzero"`
	// Code and Message say why the state is unknown or diverged.
	Code    Code   `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// ReplicationLag is how far a copy is behind.
type ReplicationLag struct {
	// Events is the number of the leader's records that the copy does not hold.
	Events uint64 `json:"events"`
	// Seconds is the age of the oldest of them by the leader's time; 0 when there is none.
	Seconds float64 `json:"seconds"`
}

// Copy is a region's copy of an origin.
type Copy interface {
	// Replication returns how the copy stands now. It does not wait for anything.
	Replication() Replication
}

// Leader tells how far an origin's log has come where it is written.
type Leader interface {
	// Head asks the leader for its last record and returns its position: whatever was acknowledged before the call is covered by it. Errors: ErrUnreachable, ErrUnauthorized,
	// ErrNoLog, or the context's cause.
	Head(ctx context.Context) (Position, error)
}

// Floor is how much of an origin a region has confirmed to hold: every record up to Sequence.
type Floor struct {
	Region   string `json:"region"`
	Sequence uint64 `json:"sequence"`
	// Connected says that the region follows the leader now. One that does not may catch up later; nobody should wait for it.
	Connected bool `json:"connected"`
}

// Floors tells how much each region has confirmed to hold.
type Floors interface {
	// Floors returns the leader's own floor, which is its head, and that of each region that mirrors it, sorted by region. Errors:
	// ErrUnreachable, ErrUnauthorized, ErrNoLog, or the context's cause.
	Floors(ctx context.Context) ([]Floor, error)
}
