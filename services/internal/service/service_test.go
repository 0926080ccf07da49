package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

const patience = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := httpapi.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func get(t *testing.T, l net.Listener, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + l.Addr().String() + path) //nolint:noctx // a test
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come true in time that %s", what)
		}
	}
}

// run runs a service and returns how to stop it.
func run(t *testing.T, s *Service) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("it did not end")
		}
	}
}

func TestAServiceWaitsForItsServersAndSaysSoOnce(t *testing.T) {
	l := listen(t)
	var log lines
	var mu sync.Mutex
	reason := events.Errorf(events.ErrUnreachable, "NATS at nats-us:4222 does not answer")
	attempts := 0
	become := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if attempts = 0; err == nil {
			reason = nil
		} else {
			reason, _ = errors.AsType[*events.Error](err)
		}
	}
	tried := func() int { mu.Lock(); defer mu.Unlock(); return attempts }
	closed := make(chan struct{})
	stop := run(t, New("query", l, func(context.Context) (Part, func(), error) {
		mu.Lock()
		defer mu.Unlock()
		if attempts++; reason != nil {
			return Part{}, nil, reason
		}
		return Part{API: httpapi.New(nil, nil, httpapi.Options{}), Run: func(ctx context.Context) error { <-ctx.Done(); return nil }}, func() { close(closed) }, nil
	}, slog.New(slog.NewTextHandler(&log, nil))))

	eventually(t, "it tries again", func() bool { return tried() >= 3 })
	if status, _ := get(t, l, "/healthz"); status != http.StatusOK {
		t.Errorf("while it waits /healthz is %d", status)
	}
	if status, body := get(t, l, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "NATS at nats-us:4222 does not answer") {
		t.Errorf("while it waits /readyz is %d %s", status, body)
	}
	if status, body := get(t, l, "/v1/models/airports"); status != http.StatusServiceUnavailable || !strings.Contains(body, string(failure.ErrStarting)) {
		t.Errorf("while it waits a query is answered %d %s", status, body)
	}
	for _, port := range []string{"37946", "37980"} {
		become(events.Errorf(projections.ErrStoreUnreachable, "Redis at redis-us:6379 does not answer: read tcp 127.0.0.1:%s->127.0.0.1:1: i/o timeout", port))
		eventually(t, "it tries again", func() bool { return tried() >= 2 })
	}
	eventually(t, "it tries again", func() bool { return tried() >= 3 })
	if a, b := log.count("nats-us:4222"), log.count("redis-us:6379"); a != 1 || b != 1 || log.count("msg=waiting for=") != 2 {
		t.Errorf("it said %d and %d times what it waits for", a, b)
	}
	become(nil)
	eventually(t, "it is ready", func() bool { status, _ := get(t, l, "/readyz"); return status == http.StatusOK })
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	<-closed
}

func TestAServiceThatIsToldToStopWhileItWaitsStops(t *testing.T) {
	l := listen(t)
	asked := make(chan struct{}, 100)
	stop := run(t, New("query", l, func(context.Context) (Part, func(), error) {
		asked <- struct{}{}
		return Part{}, nil, events.Errorf(events.ErrNoLog, "there is no log us")
	}, slog.New(slog.DiscardHandler)))
	<-asked
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestWhatWaitingCannotMendEndsTheService(t *testing.T) {
	for _, code := range []events.Code{events.ErrUnauthorized, events.ErrUnsafeLog, projections.ErrNamespaceTaken} {
		err := New("writer", listen(t), func(context.Context) (Part, func(), error) {
			return Part{}, nil, events.Errorf(code, "no")
		}, slog.New(slog.DiscardHandler)).Run(t.Context())
		if !errors.Is(err, code) {
			t.Errorf("%s: it ended with %v", code, err)
		}
	}
}

// TestTheOrderOfTheEnd: not ready, requests finished, work ended, closed.
func TestTheOrderOfTheEnd(t *testing.T) {
	l := listen(t)
	var mu sync.Mutex
	var order []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	entered, finish := make(chan struct{}), make(chan struct{})
	check := func(context.Context) []httpapi.Missing {
		close(entered)
		<-finish
		note("request finished")
		return nil
	}
	stop := run(t, New("writer", l, func(context.Context) (Part, func(), error) {
		return Part{API: httpapi.New(nil, nil, httpapi.Options{Check: check}), Run: func(ctx context.Context) error {
			<-ctx.Done()
			note("work ended")
			return ctx.Err()
		}}, func() { note("closed") }, nil
	}, slog.New(slog.DiscardHandler)))
	answered := make(chan int, 1)
	eventually(t, "it is up", func() bool {
		_, body := get(t, l, "/")
		return !strings.Contains(body, "starting") && strings.Contains(body, "healthz")
	})
	go func() {
		for {
			if status, body := get(t, l, "/readyz"); !strings.Contains(body, "is starting") {
				answered <- status
				return
			}
		}
	}()
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	eventually(t, "new requests are refused", func() bool {
		conn, err := net.Dial("tcp", l.Addr().String()) //nolint:noctx // a test
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	note("refuses")
	close(finish)
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request under way was answered %d", status)
	}
	if want := []string{"refuses", "request finished", "work ended", "closed"}; !slices.Equal(order, want) {
		t.Errorf("the order was %v, want %v", order, want)
	}
}

func TestAServiceThatDoesNotEndIsLeft(t *testing.T) {
	l := listen(t)
	never := make(chan struct{})
	defer close(never)
	up := make(chan struct{})
	s := New("projector", l, func(context.Context) (Part, func(), error) {
		return Part{API: httpapi.New(nil, nil, httpapi.Options{}), Run: func(context.Context) error { close(up); <-never; return nil }}, func() {}, nil
	}, slog.New(slog.DiscardHandler))
	s.stopPatience = 50 * time.Millisecond
	stop := run(t, s)
	<-up
	if err := stop(); !errors.Is(err, ErrStuck) {
		t.Errorf("it ended with %v", err)
	}
}

func TestAPartThatFailsEndsTheService(t *testing.T) {
	closed := false
	err := New("projector", listen(t), func(context.Context) (Part, func(), error) {
		return Part{API: httpapi.New(nil, nil, httpapi.Options{}), Run: func(context.Context) error {
			return events.Errorf(projections.ErrDefinitionChanged, "airports changed")
		}}, func() { closed = true }, nil
	}, slog.New(slog.DiscardHandler)).Run(t.Context())
	if !errors.Is(err, projections.ErrDefinitionChanged) || !closed {
		t.Errorf("it ended with %v, closed: %t", err, closed)
	}
}

func TestTheCommandLineOfAService(t *testing.T) {
	open := func(context.Context, Settings) (Part, func(), error) {
		return Part{}, nil, events.Errorf(events.ErrUnauthorized, "NATS refused the credentials")
	}
	t.Setenv(EnvRegion, "")
	for _, c := range []struct {
		name string
		args []string
		exit int
		says string
	}{
		{"help", []string{"--help"}, failure.ExitDone, ""},
		{"no region", []string{"--http", "127.0.0.1:0"}, failure.ExitBad, "usage"},
		{"a flag that is none", []string{"--colour", "red"}, failure.ExitBad, "usage"},
		{"an argument", []string{"now"}, failure.ExitBad, "usage"},
		{"a level that is none", []string{"--region", "us", "--log-level", "loud"}, failure.ExitBad, "usage"},
		{"an address that is none", []string{"--region", "us", "--http", "nowhere"}, failure.ExitBad, "cannot-listen"},
		{"refused by a server", []string{"--region", "us", "--http", "127.0.0.1:0"}, failure.ExitUnknown, "unauthorized"},
		{"health of nobody", []string{"healthcheck", "--http", "127.0.0.1:1"}, failure.ExitNotMet, "not-ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if exit := Execute(t.Context(), "writer", "Takes events", c.args, &out, &errs, open); exit != c.exit {
				t.Errorf("the exit code is %d, want %d: %s", exit, c.exit, &errs)
			}
			if c.says != "" && !strings.Contains(errs.String(), "writer: "+c.says+": ") {
				t.Errorf("it says %q", &errs)
			}
		})
	}
}

func TestAHealthCheckRepeatsWhatIsMissing(t *testing.T) {
	for name, c := range map[string]struct {
		missing []httpapi.Missing
		exit    int
		says    string
	}{
		"ready":     {nil, failure.ExitDone, "ready"},
		"not ready": {[]httpapi.Missing{{Part: "leader", Reason: "us does not answer"}}, failure.ExitNotMet, "leader: us does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			api := httpapi.New(nil, nil, httpapi.Options{Check: func(context.Context) []httpapi.Missing { return c.missing }})
			stop := run(t, New("writer", l, func(context.Context) (Part, func(), error) {
				return Part{API: api, Run: func(ctx context.Context) error { <-ctx.Done(); return nil }}, func() {}, nil
			}, slog.New(slog.DiscardHandler)))
			eventually(t, "it is up", func() bool {
				_, body := get(t, l, "/readyz")
				var told struct{ Missing []httpapi.Missing }
				return json.Unmarshal([]byte(body), &told) == nil && slices.Equal(told.Missing, c.missing)
			})
			var out, errs bytes.Buffer
			if exit := Execute(t.Context(), "writer", "Takes events", []string{"healthcheck", "--http", l.Addr().String()}, &out, &errs, nil); exit != c.exit ||
				!strings.Contains(out.String()+errs.String(), c.says) {
				t.Errorf("the exit code is %d: %s %s", exit, &out, &errs)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
