package up

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/service"
)

// MaxRegions bounds the regions of one process; each has a NATS server and a Redis.
const MaxRegions = 9

// Regions returns the configurations of embedded regions that are to run in one process, in the order in which they start. The first one leads the log, the others mirror
// it. Each has its own folder below base's data directory; a port of the API that is not free (0) is counted up. It returns failure.ErrUsage.
func Regions(names []string, base Config) ([]Config, error) {
	switch {
	case len(names) == 0 || len(names) > MaxRegions:
		return nil, events.Errorf(failure.ErrUsage, "%d regions cannot run in one process", len(names)).Hint("Name 1 to %d of them.", MaxRegions)
	case len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names):
		return nil, events.Errorf(failure.ErrUsage, "a region is named twice")
	}
	out := make([]Config, len(names))
	for i, name := range names {
		if err := events.ValidateOrigin(name); err != nil {
			return nil, err
		}
		c := base
		c.Region.Name, c.Region.Leader, c.Region.Origin = name, names[0], names[0]
		c.Region.DataDir = filepath.Join(base.Region.DataDir, name)
		c.Region.Peers = names[i+1:] // those that start later dial this one
		if len(names) > 1 && base.Region.OneRedis() {
			c.Region.RedisPrefix = redisPrefix(base.Region.RedisPrefix, name)
		}
		var err error
		if c.HTTP, err = nextPort(base.HTTP, i); err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
}

// BeginLater says of regions that mirror the log with which sequence their copies begin when they are made. It returns failure.ErrUsage for a region that does not.
func BeginLater(configs []Config, from map[string]uint64) error {
	for name, seq := range from {
		i := slices.IndexFunc(configs, func(c Config) bool { return c.Region.Name == name })
		if i < 0 || configs[i].Region.Leader == name || configs[i].Region.Leader == "" {
			return events.Errorf(failure.ErrUsage, "region %q does not mirror the log here, so no copy of it can begin with sequence %d; nothing was started", name, seq).
				Hint("Name a region that is run here and does not lead: of --regions, one behind the first.")
		}
		configs[i].Region.LogFrom = seq
	}
	return nil
}

// redisPrefix returns what begins the keys of a region that shares its Redis with others.
func redisPrefix(prefix, name string) string { return cmp.Or(prefix, "tm:") + name + ":" }

// nextPort counts up the port of an address.
func nextPort(address string, by int) (string, error) {
	if address == "" || by == 0 {
		return address, nil
	}
	host, port, err := net.SplitHostPort(address)
	n, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil {
		return "", events.Errorf(failure.ErrCannotListen, "%q is not an address", address).Hint("Write it as host:port, for example 127.0.0.1:7070.")
	}
	if n != 0 {
		n += uint64(by) //nolint:gosec // at most MaxRegions
	}
	if n > math.MaxUint16 {
		return "", events.Errorf(failure.ErrCannotListen, "there is no port %d for the region number %d", n, by+1).Hint("Begin with a smaller port, or with 0.")
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// Fleet is the regions of one process.
type Fleet struct{ apps []*App }

// Open opens regions one after the other; each links to those before it, so that all are linked with each other. The returned function closes them in the
// opposite order. After an error nothing is left open.
func Open(ctx context.Context, configs []Config) (*Fleet, func(), error) {
	f := &Fleet{}
	var cleanups []func()
	cleanup := func() {
		for _, c := range slices.Backward(cleanups) {
			c()
		}
	}
	for _, c := range configs {
		for _, earlier := range f.apps {
			c.Region.Links = append(c.Region.Links, earlier.Region().LinkFor(c.Region.Name))
		}
		app, closeApp, err := New(ctx, c)
		if err != nil {
			cleanup()
			return nil, nil, err
		}
		f.apps, cleanups = append(f.apps, app), append(cleanups, closeApp)
	}
	return f, cleanup, nil
}

// Apps returns the regions, in the order in which they were opened.
func (f *Fleet) Apps() []*App { return f.apps }

// stopPatience bounds the end of a fleet.
const stopPatience = 30 * time.Second

// Run runs the regions until ctx ends, or one of them ends by itself; then all end. It calls ready when all of them answer. It returns
// service.ErrStuck when the end took longer than 30 s.
func (f *Fleet) Run(ctx context.Context, ready func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx, ready) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	bound := time.NewTimer(stopPatience)
	defer bound.Stop()
	select {
	case err := <-ended:
		return err
	case <-bound.C:
		return events.Errorf(service.ErrStuck, "the regions did not end within %s of being told to; the process ends without cleaning up", stopPatience).
			Hint("Nothing that was acknowledged is lost. Leases run out by themselves within seconds.")
	}
}

func (f *Fleet) run(ctx context.Context, ready func() error) error {
	group, running := errgroup.WithContext(ctx)
	var answering sync.WaitGroup
	answering.Add(len(f.apps))
	all := make(chan struct{})
	for _, app := range f.apps {
		group.Go(func() error {
			var once sync.Once
			defer once.Do(answering.Done) // one that failed does not hold back the others' end
			return app.Run(running, func(ctx context.Context) error {
				once.Do(answering.Done)
				select {
				case <-all:
				case <-ctx.Done():
				}
				return nil
			})
		})
	}
	group.Go(func() error {
		answering.Wait()
		close(all)
		select {
		case <-running.Done():
			return nil // one of them failed, or all were told to end
		default:
			return ready()
		}
	})
	err := group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
