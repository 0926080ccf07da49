package command

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/projections/runner"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// site is a region whose stored documents are looked at: its own store, state and copy of the log are used, and nobody else's.
type site struct {
	name     string
	region   *region.Region // nil: it cannot be used
	versions *runner.Versions
	names    []string // the read models that it has
	err      error    // why it cannot be used, or does not say which read models it has
}

// sites opens the regions that are meant: the one that is named or, without a name, all of the installation. One that cannot be opened is among them. The caller closes them.
func (p *program) sites(ctx context.Context, all []string) ([]*site, error) {
	own, err := flights.All()
	if err != nil {
		return nil, err
	}
	if p.region != "" {
		if _, err := p.findNamed(p.region); err != nil { // a name that no region has
			return nil, err
		}
		all = []string{p.region}
	}
	list := make([]*site, len(all))
	var opening sync.WaitGroup
	for i, name := range slices.Sorted(slices.Values(all)) {
		list[i] = &site{name: name}
		opening.Go(func() { list[i].open(ctx, p, own) })
	}
	opening.Wait()
	return list, nil
}

// open opens a region, and asks it for its read models.
func (s *site) open(ctx context.Context, p *program, own []projections.Projection) {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	var c region.Config
	if c, s.err = p.findNamed(s.name); s.err != nil {
		return
	}
	if s.region, s.err = region.Open(ctx, c); s.err != nil {
		s.region = nil
		return
	}
	s.versions = runner.NewVersions(own, s.region.Log(), s.region.KV(), s.region.Reader)
	s.names, s.err = s.versions.Names(ctx)
}

// findNamed returns how to use a region that is known by its name.
func (p *program) findNamed(name string) (region.Config, error) {
	named := *p
	named.region = name
	c, _, err := named.find()
	switch {
	case err != nil:
		return c, err
	case c.Name != name: // the folder of a single region knows no names
		return c, events.Errorf(region.ErrNotRunning, "no region %s runs in %s", name, p.dir)
	}
	return c, nil
}

func closeSites(ctx context.Context, list []*site) {
	for _, s := range list {
		if s.region != nil {
			_ = s.region.Close(context.WithoutCancel(ctx)) // what was asked for is acknowledged
		}
	}
}

// readModels returns the read models that any of the regions has, sorted.
func readModels(list []*site) (names []string) {
	for _, s := range list {
		names = append(names, s.names...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// examined is what looking at one read model in one region came to, or why there is nothing to say.
type examined struct {
	Region     string            `json:"region"`
	Projection string            `json:"projection,omitempty"` // empty: it is about the whole region
	Report     *reconcile.Report `json:"report,omitempty"`
	// Unknown says why not everything was examined.
	Unknown *reconcile.Reason `json:"unknown,omitempty"`

	fields []projections.Field
	site   *site
	err    error
}

const (
	// examineTries bounds how often a read model is examined again because another generation went live meanwhile.
	examineTries = 3
	// reasonMoving: so many events were applied to a partition all the time that it was never seen as it is at one position.
	reasonMoving = "moving"
)

// examine looks at the read models of the regions that are named, or at all that any of them has, one after the other.
func (p *program) examine(ctx context.Context, list []*site, names []string, deep bool) ([]*examined, error) {
	if len(names) == 0 {
		names = readModels(list)
	}
	var all []*examined
	for _, s := range list {
		if s.err != nil {
			all = append(all, &examined{Region: s.name, Unknown: reasonOf(s.err), site: s, err: s.err})
			continue
		}
		for _, name := range names {
			x := &examined{Region: s.name, Projection: name, site: s}
			if x.err = p.examineOne(ctx, x, deep); x.err != nil {
				x.Unknown = reasonOf(x.err)
			}
			if ctx.Err() != nil {
				return nil, events.Errorf(failure.ErrInterrupted, "a signal ended the examination; it changed nothing")
			}
			all = append(all, x)
		}
	}
	heard := func(x *examined) bool { return x.site.err == nil }
	unheard := func(x *examined) bool { return heard(x) && !errors.Is(x.err, projections.ErrUnknownProjection) }
	if len(names) == 1 && slices.ContainsFunc(all, heard) && !slices.ContainsFunc(all, unheard) {
		return nil, projections.UnknownProjection(names[0])
	}
	return all, nil
}

// examineOne looks at one read model in one region.
func (p *program) examineOne(ctx context.Context, x *examined, deep bool) (err error) {
	progress := display.NewProgress(p.progressWriter(), "examine "+x.Projection+" in "+x.Region, "documents")
	defer progress.End()
	for range examineTries {
		var v projector.Version
		if v, err = x.site.versions.Live(ctx, x.Projection); err != nil {
			return err
		}
		x.fields = v.Projection.Definition().Fields
		x.Report, err = reconcile.Examine(ctx, x.Region, v, x.site.region.Store(), x.site.region.KV(), reconcile.Options{Budget: 1, Deep: deep, Snapshots: x.site.region.Snapshots(), Progress: progress.Set})
		if !errors.Is(err, events.ErrConflict) {
			break
		}
	}
	if err != nil {
		return err
	}
	switch r := x.Report; {
	case r.Compared < r.Partitions:
		x.Unknown = &reconcile.Reason{Code: reasonMoving, Message: display.Count(r.Partitions-r.Compared, "partition") + " did not stand still for long enough to compare what all documents come to"}
	case r.Unjudged > 0:
		x.Unknown = &reconcile.Reason{Code: reasonMoving, Message: display.Count(r.Unjudged, "document") + " looked wrong, and changed each time while the log was asked about it"}
	}
	return nil
}

// reasonOf says why something is not known.
func reasonOf(err error) *reconcile.Reason {
	told := failure.Tell(err)
	return &reconcile.Reason{Code: string(told.Code), Message: told.Message}
}

// hide replaces the values of a report's findings by their kinds. Names stay, and whether there is a value.
func (x *examined) hide() {
	if x.Report == nil {
		return
	}
	reconcile.Hide(x.Report.Findings, x.fields)
}

// found returns how much is wrong with all of them.
func found(all []*examined) (n int) {
	for _, x := range all {
		if x.Report != nil {
			n += len(x.Report.Findings) + x.Report.More
		}
	}
	return n
}

// damaged returns an error that says what is wrong, or not known; nil: all is well.
func damaged(all []*examined, next string) error {
	if n := found(all); n > 0 {
		return events.Errorf(failure.ErrDamaged, "what is stored is not what the log says: %s, %s", display.Count(n, "finding"), where(all, func(x *examined) bool { return found([]*examined{x}) > 0 })).
			Hint("%s", next)
	}
	return notExamined(all)
}

// notExamined returns an error that says what is not known; nil: everything is.
func notExamined(all []*examined) error {
	unknown := where(all, func(x *examined) bool { return x.Unknown != nil })
	if unknown == "" {
		return nil
	}
	return events.Errorf(failure.ErrNotVerified, "nothing is known to be wrong, and not everything could be examined: %s", unknown).Hint("See the reasons, and examine it again.")
}

// where names those that are so.
func where(all []*examined, is func(*examined) bool) string {
	var said []string
	for _, x := range all {
		switch {
		case !is(x):
		case x.Projection == "":
			said = append(said, "region "+x.Region)
		default:
			said = append(said, x.Projection+" in "+x.Region)
		}
	}
	return strings.Join(said, ", ")
}

// worse returns the error that a command ends with: what is known to be wrong is worse than what is not known.
func worse(a, b error) error {
	if b != nil && (a == nil || failure.ExitCode(a) != failure.ExitNotMet && failure.ExitCode(b) == failure.ExitNotMet) {
		return b
	}
	return a
}

// regionNames completes the name of a region.
func (p *program) regionNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if p.config == "" {
		return region.Running(p.dir), cobra.ShellCompDirectiveNoFileComp
	}
	t, err := topology.Load(p.config, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.RegionNames(), cobra.ShellCompDirectiveNoFileComp
}
