package natslog

import (
	"log/slog"
	"time"

	"tidemark.dev/events"
)

// CommitMode is how appends travel to the server.
type CommitMode uint8

const (
	// Pipelined publishes every append on its own and waits for many answers at once. Right where the server does not sync
	// every write to disk, and on replicated streams, which gather what is under way into one sync by themselves: there an atomic batch
	// costs more than it saves (a file store is created and deleted per batch on an unreplicated stream, about 2 ms of server time).
	Pipelined CommitMode = iota
	// GroupCommit gathers concurrent appends into one atomic batch. Right on an unreplicated stream whose server syncs always: there
	// every plain publish is a sync of its own (some 5,000 a second on a fast disk), and a batch of 1,000 costs four.
	GroupCommit
)

// String returns the mode's name.
func (m CommitMode) String() string {
	if m == GroupCommit {
		return "group-commit"
	}
	return "pipelined"
}

// Defaults of Options.
const (
	// DefaultMaxPending bounds the unfinished appends.
	DefaultMaxPending = 4_096
	// DefaultAttemptTimeout is how long one request waits for its answer.
	DefaultAttemptTimeout = 5 * time.Second
	// DefaultResolveFor is how long an append in doubt is pursued. It stays far below the duplicate window.
	DefaultResolveFor = 30 * time.Second
	// DefaultReadPatience is how long a bounded read goes without a record before it gives up.
	DefaultReadPatience = 15 * time.Second
)

// Options adjusts a Log. The zero value works.
type Options struct {
	// Clock stamps appends. nil means a new clock; logs of one process should share one.
	Clock *events.Clock
	// Logger receives changes of state. nil means none.
	Logger *slog.Logger
	// Commit is how appends travel. See the two modes.
	Commit CommitMode
	// MaxPending bounds the appends that are submitted and not finished. A large append counts for several, so that the
	// memory they hold stays below MaxPending * 16 KiB, or one append. 0 means DefaultMaxPending.
	MaxPending int
	// AttemptTimeout is how long one request waits for its answer. 0 means DefaultAttemptTimeout.
	AttemptTimeout time.Duration
	// ResolveFor is how long an append whose outcome is in doubt is pursued before ErrUnknownOutcome. 0 means DefaultResolveFor.
	ResolveFor time.Duration
	// ReadPatience is how long a bounded read may go without progress before ErrUnreachable. 0 means DefaultReadPatience.
	// A read that follows has no such bound.
	ReadPatience time.Duration
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = new(events.Clock)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = DefaultAttemptTimeout
	}
	if o.ResolveFor <= 0 {
		o.ResolveFor = DefaultResolveFor
	}
	if o.ReadPatience <= 0 {
		o.ReadPatience = DefaultReadPatience
	}
	return o
}
