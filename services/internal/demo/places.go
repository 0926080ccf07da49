package demo

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/runner"
)

// place is one region of the demo.
type place struct {
	*region.Region
	reader *query.Reader
	own    []projections.Projection
	links  []*netfault.Proxy // its links to the regions before it, which can be cut
}

// regionNames are the demo's regions. The first one leads; the last one is cut off.
func regionNames() []string { return []string{"us", "eu", "ap"} }

func (d *demo) leader() *place { return d.places[0] }

func (d *demo) far() *place { return d.places[len(d.places)-1] }

// open opens the regions one after the other. Each dials those before it, through a wire that can be cut.
func (d *demo) open(ctx context.Context, dir string, o Options) error {
	names := regionNames()
	step := d.say.step("Three regions of its own")
	for i, name := range names {
		p := &place{}
		d.places = append(d.places, p)
		c := region.Config{
			Name: name, Leader: names[0], Origin: names[0], DataDir: filepath.Join(dir, name), Peers: names[i+1:], Redis: o.Redis, Logger: o.Logger,
		}
		for _, earlier := range d.places[:i] {
			link := earlier.LinkFor(name)
			wire, err := netfault.New(link.Address, netfault.Options{})
			if err != nil {
				return err
			}
			p.links = append(p.links, wire)
			link.Address = wire.Addr()
			c.Links = append(c.Links, link)
		}
		r, err := region.Open(ctx, c)
		if err != nil {
			return err
		}
		p.Region, p.reader = r, query.New(name, r.Store(), r.KV(), query.NewCopyHeads(r.Log(), r.Copy(), r.Head())).Use(r.Signals())
	}
	d.summary.Regions = names
	step.done("us leads, with fsync before every acknowledgement; eu and ap mirror it over links that no event subject crosses")
	for _, note := range d.leader().Notes() {
		d.say.detail("%s", note)
	}
	return nil
}

// close closes what is open, the last region first.
func (d *demo) close(ctx context.Context) (err error) {
	for _, p := range slices.Backward(d.places) {
		if p.Region != nil {
			err = errors.Join(err, p.Close(ctx))
		}
		for _, l := range p.links {
			l.Close()
		}
	}
	return err
}

// work runs the projectors of every region, and the story beside them.
func (d *demo) work(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, running := errgroup.WithContext(ctx)
	for _, p := range d.places {
		all, err := flights.All()
		if err != nil {
			return err
		}
		p.own = all
		worker, err := runner.New(all, p.Log(), p.Store(), p.KV(), p.Leases(), runner.Options{Projector: projector.Options{Holder: p.Holder(), Logger: o.Logger}})
		if err != nil {
			return err
		}
		group.Go(func() error { return worker.Run(running) })
		group.Go(func() error {
			select {
			case err := <-p.Lost():
				return err
			case <-running.Done():
				return nil
			}
		})
	}
	group.Go(func() error {
		defer cancel()
		return d.story(running)
	})
	if err := group.Wait(); !errors.Is(err, context.Canceled) || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}
