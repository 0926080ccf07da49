package up

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// Config says what to run.
type Config struct {
	// Region says what the region is made of. Its Logger and Holder are used for everything.
	Region region.Config
	// HTTP is the address of the API; empty: no API.
	HTTP string
	// Projections that run; nil: those of the flights example.
	Projections []projections.Projection
	// Announce writes the region's address into Region.DataDir, so that commands find it.
	Announce bool
	// Projector adjusts the projectors; its Logger and Holder are set from the region's.
	Projector projector.Options
}

const (
	// knownPatience bounds how long a start waits for its projectors. Where another process runs them, there is nothing to wait for.
	knownPatience = 10 * time.Second
	knownPoll     = 10 * time.Millisecond
)

// App is a region that is put together. Run makes it work.
type App struct {
	region     *region.Region
	reader     *query.Reader
	projectors []*projector.Projector
	names      []string     // of their projections
	listener   net.Listener // nil: no API
	api        *httpapi.API
	config     Config
	logger     *slog.Logger
}

// Region returns the region.
func (a *App) Region() *region.Region { return a.region }

// Reader returns the region's queries.
func (a *App) Reader() *query.Reader { return a.reader }

// Address returns what another process needs to use the region.
func (a *App) Address() region.Address {
	address := a.region.Address()
	address.PID = os.Getpid()
	if a.listener != nil {
		address.HTTP = "http://" + a.listener.Addr().String()
	}
	return address
}

// Public reports whether other machines can reach the API, which has no users and no passwords.
func (a *App) Public() bool { return a.listener != nil && !httpapi.Local(a.listener.Addr()) }

// Run works until ctx ends, and then returns nil, or until a part of the region ends by itself. It ends things in this order:
//
//  1. The address goes, so that no new command finds us.
//  2. The API: waits end, requests under way are finished.
//  3. The projectors: each ends its batch and gives its lease free, so that the next start need not wait for it.
//  4. The region: log, connections, Redis, NATS, the lock of the data directory. That is the cleanup that New returned.
//
// ready is called once, as soon as commands and requests are answered; its error ends Run.
func (a *App) Run(ctx context.Context, ready func() error) error {
	projecting, stopProjectors := context.WithCancel(context.WithoutCancel(ctx))
	defer stopProjectors()
	var workers errgroup.Group
	for _, p := range a.projectors {
		workers.Go(func() error { return p.Run(projecting) })
	}
	front, serving := errgroup.WithContext(ctx)
	front.Go(func() error {
		select {
		case err := <-a.region.Lost():
			return err
		case <-serving.Done():
			return nil
		}
	})
	answering, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	if a.listener != nil {
		front.Go(func() error { return httpapi.Serve(answering, a.listener, a.api, a.logger) })
	}
	front.Go(func() error {
		defer stopAnswering() // 2
		if a.known(serving); serving.Err() != nil {
			return nil
		}
		withdraw, err := a.announce()
		if err != nil {
			return err
		}
		defer withdraw() // 1
		if err := ready(); err != nil {
			return err
		}
		<-serving.Done()
		return nil
	})
	err := front.Wait()
	stopProjectors() // 3
	return errors.Join(err, workers.Wait())
}

// known waits a bounded time until the projectors have made their projections known to the region, so that the first query of a new region is
// not told that there is no such projection.
func (a *App) known(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, knownPatience)
	defer cancel()
	tick := time.NewTicker(knownPoll)
	defer tick.Stop()
	for {
		if names, err := a.reader.Projections(ctx); err == nil && !slices.ContainsFunc(a.names, func(n string) bool { return !slices.Contains(names, n) }) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// announce writes the address and returns the function that takes it away.
func (a *App) announce() (withdraw func(), err error) {
	dir := a.config.Region.DataDir
	if !a.config.Announce {
		return func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { // a region of running servers has no directory yet
		return nil, err
	}
	if err := a.Address().Save(dir); err != nil {
		return nil, err
	}
	return func() {
		if now, err := region.LoadAddress(dir); err != nil || now.PID != os.Getpid() {
			return // somebody else's by now
		}
		if err := region.RemoveAddress(dir); err != nil {
			a.logger.Warn("the address of this region could not be removed; commands will look for it in vain", "reason", err.Error())
		}
	}, nil
}
