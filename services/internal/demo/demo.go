// Package demo shows the main job on real input, and checks it: a region of its own, real flights published as events, queried, lost, and
// rebuilt. It says so when anything did not hold.
package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
)

// ErrFailed says that something the demo promises did not hold.
const ErrFailed = events.Code("demo-failed")

// Codes lists every code of this package.
func Codes() []events.Code { return []events.Code{ErrFailed} }

// regionName is the demo's region.
const regionName = "us"

// Options of the demo. The zero value works.
type Options struct {
	// Redis is how the region gets its Redis; see region.Config.
	Redis string
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Summary is what the demo saw.
type Summary struct {
	Events        uint64          `json:"events"`
	EventsPerSec  float64         `json:"events_per_second"`
	Position      events.Position `json:"position"`
	Unavailable   int             `json:"unavailable_answers"` // while Redis was empty
	Recovered     float64         `json:"recovered_seconds"`
	Replayed      float64         `json:"replayed_seconds"`
	Airports      int             `json:"airports"`
	Routes        int             `json:"routes"`
	DigestsEqual  bool            `json:"digests_equal"`
	DocumentsSame bool            `json:"documents_equal"`
	Seconds       float64         `json:"seconds"`
}

// Run runs the demo and tells what happens to out. It returns ErrFailed when something did not hold, or the error that ended it.
// Everything it started is stopped and removed, whatever happens.
func Run(ctx context.Context, out io.Writer, o Options) (s Summary, err error) {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "tidemark-demo-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{say: newTeller(out), summary: &s}
	d.say.line("Tidemark demo: one region, %s real flights, two events each\n", display.Number(flights.Count))
	if err := d.open(ctx, dir, o); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, d.region.Close(context.WithoutCancel(ctx))) }()
	if err := d.work(ctx, o); err != nil {
		return s, err
	}
	s.Seconds = time.Since(begin).Seconds()
	d.say.line("\nAll of it held, in %.1f s: %s events, %s documents, each equal to an independent fold of the file.",
		s.Seconds, display.Number(s.Events), display.Number(s.Airports+s.Routes))
	d.say.line("Next: tidemark up, and the five-minute tour in the README.")
	return s, d.say.err
}

// demo is one run.
type demo struct {
	say     *teller
	summary *Summary
	region  *region.Region
	reader  *query.Reader
}

func (d *demo) open(ctx context.Context, dir string, o Options) error {
	step := d.say.step("A region of its own")
	r, err := region.Open(ctx, region.Config{Name: regionName, DataDir: dir, Redis: o.Redis, Logger: o.Logger})
	if err != nil {
		return err
	}
	d.region, d.reader = r, query.New(r.Name(), r.Store(), r.KV(), query.NewHeads(r.Log()))
	step.done("NATS JetStream in this process, fsync before every acknowledgement; %s", r.RedisHint())
	for _, note := range r.Notes() {
		d.say.detail("%s", note)
	}
	return nil
}

// work runs the projectors, and the story beside them.
func (d *demo) work(ctx context.Context, o Options) error {
	all, err := flights.All()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, running := errgroup.WithContext(ctx)
	for _, p := range all {
		worker, err := projector.New(p, d.region.Log(), d.region.Store(), d.region.KV(), d.region.Leases(),
			projector.Options{Holder: d.region.Holder(), Logger: o.Logger})
		if err != nil {
			return err
		}
		group.Go(func() error { return worker.Run(running) })
	}
	group.Go(func() error {
		select {
		case err := <-d.region.Lost():
			return err
		case <-running.Done():
			return nil
		}
	})
	group.Go(func() error {
		defer cancel()
		return d.story(running)
	})
	if err := group.Wait(); !errors.Is(err, context.Canceled) || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// story is what a reader of the output follows.
func (d *demo) story(ctx context.Context) error {
	for _, part := range []func(context.Context) error{d.publish, d.busiest, d.ownWrite, d.lose, d.replay, d.compare} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func failed(format string, args ...any) error {
	return events.Errorf(ErrFailed, format, args...).Hint("This is a bug in Tidemark; please report it with this output.")
}

// at returns the options of a read that must see everything published so far.
func (d *demo) at() query.Options {
	return query.Options{AtLeast: d.summary.Position, Wait: patience}
}

// patience bounds every wait of the demo.
const patience = 30 * time.Second
