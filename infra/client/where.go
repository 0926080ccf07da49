package client

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
)

// Running returns the regions that run on this machine, below the data directory of a tidemark up, for Config.Regions: own first, then the one that leads, then the others.
// Without a name, the one that leads is one's own. Errors: region.ErrNotRunning.
func Running(dir, own string) ([]region.Config, error) {
	first, err := region.Find(cmp.Or(dir, DefaultDir()), own)
	if err != nil {
		return nil, err
	}
	all := []region.Config{first.Config()}
	for _, name := range region.Running(cmp.Or(dir, DefaultDir())) {
		if name == first.Region {
			continue
		}
		a, err := region.LoadAddress(filepath.Join(cmp.Or(dir, DefaultDir()), name))
		if errors.Is(err, region.ErrNotRunning) {
			continue // it ended just now
		}
		if err != nil {
			return nil, err
		}
		all = append(all, a.Config())
	}
	inOrder(all, first.Region)
	return all, nil
}

// InTopology returns a topology's regions for Config.Regions, in the order of Running. A region other than one's own whose secrets this process does not have
// is asked over the links to it. Errors: those of region.Of, for one's own.
func InTopology(t *topology.Topology, own string, env topology.Environment) ([]region.Config, error) {
	own = cmp.Or(own, t.Leader().Name)
	all := make([]region.Config, 0, len(t.Regions))
	first, err := region.Of(t, own, region.Publisher, env)
	if err != nil {
		return nil, err
	}
	all = append(all, first)
	for _, name := range t.RegionNames() {
		if name == own {
			continue
		}
		c, err := region.Of(t, name, region.Publisher, env)
		if code, _ := events.CodeOf(err); err != nil && code != topology.ErrSecret {
			return nil, err
		} else if err != nil {
			c = region.Config{Name: name}
		}
		all = append(all, c)
	}
	inOrder(all, own)
	return all, nil
}

// inOrder sorts regions: own first, then the one that leads, then the others by name.
func inOrder(all []region.Config, own string) {
	rank := func(c *region.Config) int {
		switch c.Name {
		case own:
			return 0
		case all[0].Leader:
			return 1
		}
		return 2
	}
	slices.SortFunc(all[1:], func(a, b region.Config) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Name, b.Name))
	})
}
