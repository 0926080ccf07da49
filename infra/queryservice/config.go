package queryservice

import (
	"context"
	"log/slog"
	"time"
)

const (
	// DefaultTimeout is how long an answer may take when the asker does not say how long he waits; a wait for a position comes on top.
	DefaultTimeout = 10 * time.Second
	// maxTimeout bounds what an asker may say.
	maxTimeout = 2 * time.Minute
)

// Defaults of Options.
const (
	// DefaultMaxRequests bounds the requests at work.
	DefaultMaxRequests = 256
	// DefaultMaxWaits bounds the requests that wait for a position. One costs a goroutine and a look at the store now and then.
	DefaultMaxWaits = 1_024
	// DefaultGrace is how long a service that is stopped goes on with the requests it has taken.
	DefaultGrace = 5 * time.Second
)

// Observer is told of every request.
type Observer interface {
	// Asked tells that a request for an operation came. What it returns is called once, with the code of the problem that was answered, empty for none.
	Asked(ctx context.Context, operation string) func(code string)
}

// Options adjusts a Server. The zero value works.
type Options struct {
	// Logger receives changes of state, and errors that have no code; nil means none.
	Logger *slog.Logger
	// Observer is told of every request; nil: nobody is.
	Observer Observer
	// MaxRequests, MaxWaits and MaxWatches bound what is served at once. One more is answered events.ErrOverloaded at once, nothing is queued. 0 means the default.
	MaxRequests, MaxWaits, MaxWatches int
	// AckPatience is how long a watcher may take to ask for the next update. 0 means DefaultAckPatience.
	AckPatience time.Duration
	// Grace is how long requests that were taken may still finish when the Server is stopped. 0 means DefaultGrace.
	Grace time.Duration
	// Program is the version of the program, which a service's metadata show.
	Program string
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observer == nil {
		o.Observer = unobserved{}
	}
	if o.MaxRequests <= 0 {
		o.MaxRequests = DefaultMaxRequests
	}
	if o.MaxWaits <= 0 {
		o.MaxWaits = DefaultMaxWaits
	}
	if o.MaxWatches <= 0 {
		o.MaxWatches = DefaultMaxWatches
	}
	if o.AckPatience <= 0 {
		o.AckPatience = DefaultAckPatience
	}
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	return o
}

type unobserved struct{}

func (unobserved) Asked(context.Context, string) func(string) { return func(string) {} }
