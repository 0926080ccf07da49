package up_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/up"
)

// patience bounds every wait of these tests.
const patience = time.Minute

func config(t *testing.T) up.Config {
	t.Helper()
	return up.Config{
		Config: parts.Config{Region: region.Config{Name: "us", DataDir: filepath.Join(t.TempDir(), "region"), Redis: "mini", LazySync: true}},
		HTTP:   "127.0.0.1:0", Announce: true,
	}
}

// run runs an app and returns it once it is ready, and the function that stops it and returns what Run returned.
func run(t *testing.T, c up.Config) (*up.App, func() error) {
	t.Helper()
	app, cleanup, err := up.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, func(context.Context) error { close(ready); return nil })
	}()
	stopped := false
	stop := func() error {
		cancel()
		stopped = true
		select {
		case err := <-ended:
			cleanup()
			return err
		case <-time.After(patience):
			return errors.New("it did not end")
		}
	}
	t.Cleanup(func() {
		if !stopped {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("it was not ready in time")
	}
	return app, stop
}

func publish(t *testing.T, app *up.App) events.Position {
	t.Helper()
	e := events.Event{
		ID: events.NewID(), Source: "urn:test", Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: "ORD"},
		Data: []byte(`{"origin":"ORD"}`),
	}
	r, err := app.Region().Log().Append(t.Context(), events.One(e, events.ExpectAny()))
	if err != nil {
		t.Fatal(err)
	}
	return r.Position
}

func TestAnAppAnnouncesItselfWhileItWorks(t *testing.T) {
	c := config(t)
	app, stop := run(t, c)
	address, err := region.LoadAddress(c.Region.DataDir)
	if err != nil || address.PID != os.Getpid() || address.Region != "us" || app.Public() {
		t.Fatalf("the address is %+v, %v", address, err)
	}
	position := publish(t, app)
	response, err := http.Get(address.HTTP + "/v1/models/airports/ORD?wait=30s&at-least=" + position.String()) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || !strings.Contains(string(body), `"departures":1`) {
		t.Errorf("the answer is %s, %v", body, err)
	}
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := region.LoadAddress(c.Region.DataDir); !errors.Is(err, region.ErrNotRunning) {
		t.Errorf("afterwards the address gives %v", err)
	}
}

func TestAnAddressOfAnotherProcessIsLeftAlone(t *testing.T) {
	c := config(t)
	app, stop := run(t, c)
	other := app.Address()
	other.PID++
	if err := other.Save(c.Region.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if got, err := region.LoadAddress(c.Region.DataDir); err != nil || got.PID != other.PID {
		t.Errorf("the address is %+v, %v", got, err)
	}
}

func TestProjectionsOfOnesOwnRun(t *testing.T) {
	c := config(t)
	c.HTTP = ""
	type count struct{ Flights int64 }
	own, err := projections.New("counts", 1, projections.OnKey(flights.AirportType, flights.Departed,
		func(projections.Event[flights.Flight]) string { return "all" },
		func(c count, _ projections.Event[flights.Flight]) (count, error) { c.Flights++; return c, nil }))
	if err != nil {
		t.Fatal(err)
	}
	c.Projections = []projections.Projection{own}
	app, _ := run(t, c)
	if app.Address().HTTP != "" {
		t.Errorf("the address is %+v", app.Address())
	}
	a, err := app.Reader().Get(t.Context(), "counts", "all", query.Options{AtLeast: publish(t, app), Wait: patience})
	if v, _ := a.Document.Field("flights"); err != nil || v != "1" {
		t.Errorf("the document is %+v, %v", a, err)
	}
	if _, err := app.Reader().Get(t.Context(), "airports", "ORD", query.Options{}); !errors.Is(err, projections.ErrUnknownProjection) {
		t.Errorf("the projections of the example run too: %v", err)
	}
}

func TestAServerThatEndsByItselfEndsTheApp(t *testing.T) {
	c := config(t)
	c.Region.Redis = "server"
	app, cleanup, err := up.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(t.Context(), func(context.Context) error {
			conn, err := net.Dial("unix", strings.TrimPrefix(app.Address().Redis, "unix://")) //nolint:noctx // a test
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = fmt.Fprint(conn, "SHUTDOWN NOSAVE\r\n")
			return err
		})
	}()
	select {
	case err := <-ended:
		if code, _ := events.CodeOf(err); code != "redis-failed" {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("it went on without its Redis")
	}
}

func TestWhatCannotBeOpenedLeavesNothingOpen(t *testing.T) {
	c := config(t)
	c.HTTP = "nowhere"
	if _, _, err := up.New(t.Context(), c); err == nil {
		t.Fatal("an address that is none was accepted")
	}
	c.HTTP = "127.0.0.1:0"
	app, cleanup, err := up.New(t.Context(), c) // the directory is free again
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	failed := errors.New("nobody reads what is printed")
	if err := app.Run(t.Context(), func(context.Context) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("it ended with %v", err)
	}
}
