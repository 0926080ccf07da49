package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// Bounds of a connection. A request may append, and wait as long as query.MaxWait for a position or for other regions. The time for reading it must be longer than that too:
// the server goes on reading while a request is served, to notice that the client is gone, and a time-out there ends the request.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = appendPatience + query.MaxWait + 10*time.Second
	writeTimeout  = appendPatience + query.MaxWait + 30*time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10 // bytes
	// drainTimeout is how long requests under way get when the service stops.
	drainTimeout = 10 * time.Second
)

// Listen begins to listen on a TCP address. It returns ErrCannotListen.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, events.Errorf(failure.ErrCannotListen, "something else listens on %s", address).
			Hint("Use another address; port 0 takes a free one.")
	}
	if err != nil {
		return nil, events.Errorf(failure.ErrCannotListen, "cannot listen on %q: %w", address, err).Hint("Write it as host:port, for example 127.0.0.1:7070.")
	}
	return l, nil
}

// Local reports whether only this machine can reach an address.
func Local(address net.Addr) bool { return loopback(address.String()) }

// Handler is an API, or a Host of one after the other.
type Handler interface {
	http.Handler
	// Stop ends every wait.
	Stop()
}

// Host answers with the API it was given last.
type Host struct {
	now     atomic.Pointer[API]
	stopped atomic.Bool
}

// NewHost returns a Host of an API.
func NewHost(a *API) *Host {
	h := &Host{}
	h.now.Store(a)
	return h
}

// Set exchanges the API.
func (h *Host) Set(a *API) {
	if h.now.Store(a); h.stopped.Load() {
		a.Stop()
	}
}

// ServeHTTP answers one request.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.now.Load().ServeHTTP(w, r) }

// Stop ends every wait.
func (h *Host) Stop() {
	h.stopped.Store(true)
	h.now.Load().Stop()
}

// Serve answers requests until ctx ends; then it ends the waits, lets the requests under way finish, and returns nil. It closes the listener.
func Serve(ctx context.Context, l net.Listener, api Handler, logger *slog.Logger) error {
	s := &http.Server{
		Handler: api, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	result := make(chan error, 1)
	go func() { result <- s.Serve(l) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	api.Stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := s.Shutdown(end); err != nil {
		logger.WarnContext(end, "requests under way were cut off", "reason", err.Error())
		_ = s.Close() // what is left has had its time
	}
	if err := <-result; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
