package up

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
	"tidemark.dev/services/internal/parts"
)

// Config of one region.
type Config struct {
	// Config of its parts. Address is set by New.
	parts.Config
	// HTTP is the address of the API; empty: no API.
	HTTP string
	// Announce writes the region's address into Region.DataDir, so that commands find it.
	Announce bool
}

const (
	// knownPatience bounds how long a start waits for its projectors. Where another process runs them, there is nothing to wait for.
	knownPatience = 30 * time.Second
	knownPoll     = 10 * time.Millisecond
)

// App is one region in this process, with all its parts.
type App struct {
	region     *region.Region
	reader     *query.Reader
	projectors *parts.Projectors
	reconciler *parts.Reconciler
	service    *queryservice.Server
	listener   net.Listener // nil: no API
	api        *httpapi.API
	config     Config
	logger     *slog.Logger
}

func newApp(
	c Config, r *region.Region, reader *query.Reader, p *parts.Projectors, reconciler *parts.Reconciler, service *queryservice.Server, l net.Listener, api *httpapi.API,
	logger *slog.Logger,
) *App {
	return &App{region: r, reader: reader, projectors: p, reconciler: reconciler, service: service, listener: l, api: api, config: c, logger: logger}
}

// Region returns the open region.
func (a *App) Region() *region.Region { return a.region }

// Reader returns the region's queries.
func (a *App) Reader() *query.Reader { return a.reader }

// Dir returns the region's data directory.
func (a *App) Dir() string { return a.config.Region.DataDir }

// Address returns what another process needs to use the region.
func (a *App) Address() region.Address {
	address := a.region.Address()
	address.PID = os.Getpid()
	if a.listener != nil {
		address.HTTP = "http://" + a.listener.Addr().String()
	}
	return address
}

// Public reports whether other machines can reach the API.
func (a *App) Public() bool { return a.listener != nil && !httpapi.Local(a.listener.Addr()) }

// Run works until ctx ends, and then returns nil, or until a part of the region ends by itself. It ends things in this order:
//
//  1. The address goes, so that no new command finds us.
//  2. The API and the query service: waits end, requests under way are finished.
//  3. The reconciler, then the projectors: each ends its batch and gives its lease free, so that the next start need not wait for it.
//  4. The region: log, connections, Redis, NATS, the lock of the data directory. That is the cleanup that New returned.
//
// ready is called once, as soon as commands and requests are answered; its error ends Run.
func (a *App) Run(ctx context.Context, ready func(context.Context) error) error {
	projecting, stopProjectors := context.WithCancel(context.WithoutCancel(ctx))
	defer stopProjectors()
	front, serving := errgroup.WithContext(ctx)
	projectors := make(chan error, 1)
	go func() { projectors <- a.projectors.Run(projecting) }()
	answering, stopAnswering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAnswering()
	if a.listener != nil {
		front.Go(func() error { return httpapi.Serve(answering, a.listener, a.api, a.logger) })
	}
	front.Go(func() error { return a.service.Run(answering) })
	front.Go(func() error { return a.reconciler.Run(serving) })
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
		if err := ready(serving); err != nil {
			return err
		}
		select {
		case <-serving.Done():
			return nil
		case err := <-projectors:
			projectors <- nil // for the end below
			return err
		}
	})
	err := front.Wait()
	stopProjectors() // 3
	return errors.Join(err, <-projectors)
}

// known waits until the region knows its projections, so that the first query after the start does not meet an unknown one. That it takes too long is no reason
// to fail: queries say what is missing.
func (a *App) known(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, knownPatience)
	defer cancel()
	tick := time.NewTicker(knownPoll)
	defer tick.Stop()
	for !a.projectors.Begun(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// announce writes the region's address, and returns how to withdraw it.
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

// partsOf returns the configuration of the parts.
func partsOf(c Config) parts.Config { return c.Config }

func listen(ctx context.Context, c Config) (net.Listener, func(), error) {
	if c.HTTP == "" {
		return nil, func() {}, nil
	}
	l, err := httpapi.Listen(ctx, c.HTTP)
	if err != nil {
		return nil, nil, err
	}
	return l, func() { _ = l.Close() }, nil // closed already, unless the app never ran
}

// newAPI returns the resources of all parts.
func newAPI(
	o httpapi.Options, r *region.Region, log events.Log, reader *query.Reader, p *parts.Projectors, l net.Listener, expected *parts.Expected,
) *httpapi.API {
	o.Expected, o.Floors, o.Check = expected.Names, r.Floors(), p.Missing
	if l != nil {
		o.Address = l.Addr()
	}
	return httpapi.New(log, reader, o)
}
