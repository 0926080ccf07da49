package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// TestMain runs a region for the examples, which find it as a user's service would.
func TestMain(m *testing.M) {
	code, err := withRegion(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withRegion(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "tm")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := region.Open(ctx, region.Config{Name: "us", DataDir: dir, Redis: "mini"})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, r.Close(context.Background())) }()
	all, err := flights.All()
	if err != nil {
		return 1, err
	}
	reader := query.New(r.Name(), r.Store(), r.KV(), query.NewCopyHeads(r.Log(), r.Copy(), r.Head())).Use(r.Signals())
	service, err := r.Queries(reader, queryservice.Options{})
	if err != nil {
		return 1, err
	}
	ended := make(chan error, len(all)+1)
	go func() { ended <- service.Run(ctx) }()
	for _, p := range all {
		worker, err := projector.New(p, r.Log(), r.Store(), r.KV(), r.Leases(), projector.Options{Signals: r.Signals()})
		if err != nil {
			return 1, err
		}
		go func() { ended <- worker.Run(ctx) }()
	}
	defer func() {
		cancel()
		for range cap(ended) {
			err = errors.Join(err, <-ended)
		}
	}()
	if err := known(ctx, r, len(all)); err != nil {
		return 1, err
	}
	if err := r.Address().Save(dir); err != nil {
		return 1, err
	}
	if err := os.Setenv("TIDEMARK_DIR", dir); err != nil {
		return 1, err
	}
	return run(), nil
}

// known waits until the region knows so many projections.
func known(ctx context.Context, r *region.Region, projections int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reader := query.New(r.Name(), r.Store(), r.KV(), query.NewHeads(r.Log()))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if names, err := reader.Projections(ctx); err == nil && len(names) == projections {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func TestAReadOfItsOwnWriteSeesTheWrite(t *testing.T) {
	ctx := t.Context()
	c, err := client.Open(ctx, client.Options{Source: "urn:test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range 50 {
		e := events.Event{Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: "own"}, Data: []byte(`{}`)}
		receipt, err := c.Publish(ctx, e, events.ExpectAny())
		if err != nil {
			t.Fatal(err)
		}
		got, answer, err := client.Get[flights.Airport](ctx, c, "airports", "own", query.Options{AtLeast: receipt.Position})
		if err != nil || got.Departures != int64(i+1) {
			t.Fatalf("after %d publishes: %+v at %s, %v", i+1, got, answer.Position, err)
		}
	}
	if _, _, err := client.Get[flights.Route](ctx, c, "airports", "own", query.Options{}); !errors.Is(err, projections.ErrInvalidQuery) {
		t.Fatalf("a document of another type: %v", err)
	}
}

func TestAnEventWithoutASourceIsRefused(t *testing.T) {
	c, err := client.Open(t.Context(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e := events.Event{Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: "x"}}
	if _, err := c.Publish(t.Context(), e, events.ExpectAny()); !errors.Is(err, events.ErrInvalidEvent) {
		t.Fatalf("got %v", err)
	}
}

func TestNoRunningRegionIsSaidSo(t *testing.T) {
	if _, err := client.Open(t.Context(), client.Options{Dir: t.TempDir()}); !errors.Is(err, region.ErrNotRunning) {
		t.Fatalf("got %v", err)
	}
}
