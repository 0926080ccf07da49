package forward

import (
	"log/slog"
	"time"

	"tidemark.dev/events"
)

// Subjects of the requests, and the queue group in which a leader's writers share them.
const (
	appendPrefix = "tm.append."
	floorsPrefix = "tm.floors."
	queueGroup   = "tm-writers"
)

// AppendSubject returns the subject of an origin's forwarded appends: tm.append.<origin>.
func AppendSubject(origin string) string { return appendPrefix + origin }

// FloorsSubject returns the subject on which a leader tells its floors, and its head: tm.floors.<origin>.
func FloorsSubject(origin string) string { return floorsPrefix + origin }

// Config says what is forwarded where. All fields are required.
type Config struct {
	// Origin is the name of the history.
	Origin string
	// Region is where this process runs.
	Region string
	// Leader is the region that leads the origin.
	Leader string
}

func (c Config) validate() error {
	if err := events.ValidateOrigin(c.Origin); err != nil {
		return err
	}
	if c.Region == "" || c.Leader == "" {
		return events.Errorf(events.ErrInvalidEvent, "forwarding of origin %s needs the name of this region and of the leader's", c.Origin)
	}
	return nil
}

// Defaults of Options.
const (
	// DefaultMaxPending bounds the unfinished appends of an Appender.
	DefaultMaxPending = 1_024
	// DefaultAttemptTimeout is how long one request waits for its answer.
	DefaultAttemptTimeout = 5 * time.Second
	// DefaultResolveFor is how long an append in doubt is pursued. It stays below half of the duplicate window.
	DefaultResolveFor = 30 * time.Second
	// DefaultPatience is how long an append that was never sent waits for the leader. It outlasts a restart.
	DefaultPatience = 5 * time.Second
)

// Options adjusts an Appender and a Floors. The zero value works.
type Options struct {
	// Logger receives changes of state. nil means none.
	Logger *slog.Logger
	// MaxPending bounds the appends that are submitted and not finished. A large append counts for several, so that the
	// memory they hold stays below MaxPending * 16 KiB, or one append. 0 means DefaultMaxPending.
	MaxPending int
	// AttemptTimeout is how long one request waits for its answer, round trip and storing together. 0 means DefaultAttemptTimeout.
	AttemptTimeout time.Duration
	// ResolveFor is how long an append whose outcome is in doubt is pursued before ErrUnknownOutcome, and how long one that the
	// leader has no room for is offered. 0 means DefaultResolveFor.
	ResolveFor time.Duration
	// Patience is how long an append waits for a leader that is not to be reached, before ErrUnreachable. 0 means DefaultPatience.
	Patience time.Duration
	// DuplicateWindow is the leader's log's. An append without expectation is not repeated beyond half of it. 0 means
	// events.DefaultDuplicateWindow.
	DuplicateWindow time.Duration
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultMaxPending
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&o.AttemptTimeout, DefaultAttemptTimeout}, {&o.ResolveFor, DefaultResolveFor}, {&o.Patience, DefaultPatience},
		{&o.DuplicateWindow, events.DefaultDuplicateWindow},
	} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	return o
}

// Defaults of ServerOptions.
const (
	// DefaultMaxRequests bounds the appends that a Server is at work on.
	DefaultMaxRequests = 1_024
	// DefaultMaxRequestBytes bounds their bytes together.
	DefaultMaxRequestBytes = 64 << 20
	// DefaultGrace is how long a Server that is stopped waits for the appends it has taken.
	DefaultGrace = 5 * time.Second
)

// ServerOptions adjusts a Server. The zero value works.
type ServerOptions struct {
	// Logger receives changes of state. nil means none.
	Logger *slog.Logger
	// Head tells how far the leader's log is. nil means that nobody is told.
	Head events.Leader
	// MaxRequests bounds the appends at work. One more is answered events.ErrOverloaded at once. 0 means DefaultMaxRequests.
	MaxRequests int
	// MaxRequestBytes bounds their bytes together. 0 means DefaultMaxRequestBytes.
	MaxRequestBytes int
	// Grace is how long appends that were taken may still finish when the Server is stopped. 0 means DefaultGrace.
	Grace time.Duration
}

func (o ServerOptions) withDefaults() ServerOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxRequests <= 0 {
		o.MaxRequests = DefaultMaxRequests
	}
	if o.MaxRequestBytes <= 0 {
		o.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	return o
}
