// Package service runs one deployable: it listens, waits for its servers in any order of start, works, and ends in a written order.
//
// A service that waits is alive and not ready. It says what it waits for on one line each time that changes, and asks again with a growing pause; it does
// not crash, so an orchestrator has nothing to loop on. What waiting cannot mend, such as a wrong password, ends it with an exit code.
package service

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

const (
	// pauseFrom and pauseTo bound the pause between two attempts to open.
	pauseFrom = 250 * time.Millisecond
	pauseTo   = 5 * time.Second
	// openPatience bounds one attempt.
	openPatience = 30 * time.Second
	// stopPatience bounds the end of a service, from the signal to the last closed connection.
	stopPatience = 20 * time.Second
)

// The codes of this package.
const (
	// ErrStuck: a service did not end in time.
	ErrStuck = events.Code("stuck")
	// ErrNotReady: a health check found the service not ready, or not there.
	ErrNotReady = events.Code("not-ready")
)

// Codes lists every code of this package.
func Codes() []events.Code { return []events.Code{ErrStuck, ErrNotReady} }

// Part is what a service consists of once its servers answer.
type Part struct {
	// API answers requests.
	API *httpapi.API
	// Run works until ctx ends.
	Run func(ctx context.Context) error
}

// Open opens what a service consists of, and returns how to close it. An attempt that fails leaves nothing open. The part may use
// ctx's values, not its end.
type Open func(ctx context.Context) (Part, func(), error)

// Service is a deployable.
type Service struct {
	name     string
	listener net.Listener
	open     Open
	logger   *slog.Logger

	stopPatience time.Duration

	mu      sync.Mutex
	waiting error // what is waited for
}

// New returns a service that answers on a listener, which it closes.
func New(name string, l net.Listener, open Open, logger *slog.Logger) *Service {
	return &Service{
		name: name, listener: l, open: open, logger: logger, stopPatience: stopPatience,
		waiting: events.Errorf(failure.ErrStarting, "the %s is starting", name).Hint("Ask again in a moment."),
	}
}

// Run opens the service, runs it until ctx ends, and closes it:
//
//  1. it says that it is not ready, and waits for positions end;
//  2. requests under way are finished, and no new ones accepted;
//  3. the work ends: projectors give up their leases, appends under way get their answer;
//  4. connections, and servers of its own, are closed.
//
// It returns nil when ctx ended it, ErrStuck when that took longer than 20 s, or why it could not go on.
func (s *Service) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	bound := time.NewTimer(s.stopPatience)
	defer bound.Stop()
	select {
	case err := <-ended:
		return err
	case <-bound.C:
		return events.Errorf(ErrStuck, "the %s did not end within %s of being told to; it ends without cleaning up", s.name, s.stopPatience).
			Hint("Nothing that was acknowledged is lost. Leases run out by themselves within seconds.")
	}
}

func (s *Service) run(ctx context.Context) error {
	host := httpapi.NewHost(httpapi.New(nil, nil, httpapi.Options{Address: s.listener.Addr(), Logger: s.logger, Waiting: s.waitsFor}))
	answering, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAnswering()
	front, running := errgroup.WithContext(ctx)
	drained := make(chan struct{})
	front.Go(func() error {
		defer close(drained)
		return httpapi.Serve(answering, s.listener, host, s.logger)
	})
	front.Go(func() error {
		defer stopAnswering()
		part, closePart, err := s.wait(running)
		if err != nil {
			return err
		}
		defer closePart() // 4
		drain := sync.OnceFunc(func() {
			s.logger.Info("the service stops", "service", s.name)
			host.Stop()     // 1
			stopAnswering() // 2
			<-drained
		})
		defer drain() // also when the work ended by itself
		host.Set(part.API)
		s.logger.Info("the service is up", "service", s.name, "http", s.listener.Addr().String())
		return s.work(running, part, drain)
	})
	err := front.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// work runs the part until ctx ends; then drain finishes the requests, and the part is stopped.
func (s *Service) work(ctx context.Context, part Part, drain func()) error {
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	result := make(chan error, 1)
	go func() { result <- part.Run(working) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	drain()
	stopWork() // 3
	if err := <-result; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// wait opens the part, again and again while a server does not answer.
func (s *Service) wait(ctx context.Context) (Part, func(), error) {
	said := ""
	for pause := pauseFrom; ; pause = min(2*pause, pauseTo) {
		attempt, cancel := context.WithTimeout(ctx, openPatience)
		part, closePart, err := s.open(attempt)
		cancel()
		switch {
		case err == nil:
			return part, closePart, nil
		case ctx.Err() != nil:
			return Part{}, nil, context.Cause(ctx)
		case !waits(err):
			return Part{}, nil, err
		}
		told := failure.Tell(err)
		s.mu.Lock()
		s.waiting = events.Errorf(failure.ErrStarting, "the %s waits: %s", s.name, told.Message).Hint("%s", told.Next)
		s.mu.Unlock()
		if now := withoutLocalEnd(told.Message); now != said { // which is another one at each attempt
			said = now
			s.logger.Warn("waiting", "for", what(told.Code), "service", s.name, "code", string(told.Code), "reason", told.Message)
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2)) //nolint:gosec // a jitter needs no secrecy
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return Part{}, nil, context.Cause(ctx)
		}
	}
}

// withoutLocalEnd removes our end of a connection, such as 127.0.0.1:1234-> before the other end, from the text of an error.
func withoutLocalEnd(text string) string {
	before, after, found := strings.Cut(text, "->")
	if !found {
		return text
	}
	return before[:strings.LastIndexByte(before, ' ')+1] + after
}

func (s *Service) waitsFor() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// waits reports whether waiting can mend what kept a service from opening.
func waits(err error) bool {
	for _, code := range [...]events.Code{events.ErrUnreachable, events.ErrNoLog, projections.ErrStoreUnreachable, projections.ErrStoreFull, projections.ErrUnavailable} {
		if errors.Is(err, code) {
			return true
		}
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// what names the thing that a code says is missing.
func what(code events.Code) string {
	switch code {
	case events.ErrNoLog:
		return "the log to be set up by the writer"
	case projections.ErrStoreUnreachable:
		return "Redis"
	case events.ErrUnreachable:
		return "a server"
	}
	return "the region"
}
