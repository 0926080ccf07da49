package command

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/failure"
)

const (
	// verifyPatience is how long one region gets to answer, beside what it waits for a mark.
	verifyPatience = 5 * time.Second
	// verifyAtOnce bounds the projections that are asked about at the same time.
	verifyAtOnce = 4

	markLatest = "latest"
	markNow    = "now"
)

func (p *program) verify() *cobra.Command {
	mark := markLatest
	deep := deepFlags{}
	cmd := &cobra.Command{
		Use:   "verify [projection]",
		Short: "Compare the read models of all regions, of one projection or of all",
		Long: `Compare the read models of all regions. The log has marks, and each partition of a read model records what it is at exactly the sequence of a mark; so regions are
compared at the newest mark that they have in common, while writes go on and however far each of them has come.

equal: every region had the same documents there. different: two regions had not; the partitions that differ are named. unknown: not everything could be compared, because a region does
not answer, has recorded no common mark, or answers from another version; what is unknown is never equal. A region that stopped passing marks is unhealthy, however equal its old ones are.

Equal is as written: what was changed in Redis behind the projectors' back shows when the documents are looked at. --deep does that, in every region or in the one that --region names: it
reads each stored document, entry of an index and sum, and folds all of them again from the region's own copy of the log. What is not as the log says is printed as a finding: which region,
projection and key; missing, extra, stale, altered, index-entry, or partition; the fields; since which record of the log, or that it was changed outside of the log. It changes nothing, goes on while
events are applied, and takes a core while it does. Values are hidden; --reveal shows them. tidemark repair puts right what is found.

All regions are those of the topology file, or those that run on this machine and those that follow its leader. Exit code 0: all are equal, and none unhealthy, and with --deep nothing was found. 1: some
are different, or something was found. 3: nothing is known to be wrong, and something is unknown or unhealthy, or could not be examined.`,
		Example: `  tidemark verify
  tidemark verify airports --mark now      # write a mark, and wait until every region has passed it
  tidemark verify -o json --timeout 10s
  tidemark verify --deep                   # read and judge every document of every region
  tidemark verify airports --deep --region eu --reveal`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if mark != markLatest && mark != markNow {
				return events.Errorf(failure.ErrUsage, "%q is not a mark", mark).Hint("Use --mark latest or --mark now.")
			}
			if deep.reveal && !deep.deep {
				return events.Errorf(failure.ErrUsage, "--reveal shows the values of findings, and only --deep has any")
			}
			if len(args) > 0 && !projections.ValidName(args[0]) {
				return projections.UnknownProjection(args[0])
			}
			wait := time.Duration(0)
			if mark == markNow {
				wait = min(p.timeout, query.MaxWait)
			}
			ctx, cancel := p.bounded(cmd.Context(), wait)
			defer cancel()
			c, err := p.everywhere(ctx)
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // the mark is acknowledged
			v := &verified{Mark: mark}
			if err := p.compare(ctx, c, args, v, wait); err != nil {
				return err
			}
			if deep.deep {
				if v.Deep, err = p.lookDeep(cmd.Context(), v.Regions, args, deep.reveal); err != nil {
					return err
				}
			}
			if err := p.print(v, v.write); err != nil {
				return err
			}
			return worse(v.err(), v.Deep.err())
		},
	}
	cmd.Flags().BoolVar(&deep.deep, "deep", false, "also read every stored document, and fold it again from the log")
	cmd.Flags().BoolVar(&deep.reveal, "reveal", false, "with --deep: show the values of findings")
	cmd.Flags().StringVar(&mark, "mark", markLatest, "latest: the newest mark that all regions have recorded; now: write one, and wait for it")
	_ = cmd.RegisterFlagCompletionFunc("mark", cobra.FixedCompletions([]string{markLatest, markNow}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// verified is what verify prints.
type verified struct {
	// Mark is latest or now, and Position where the mark was written for it.
	Mark     string          `json:"mark"`
	Position events.Position `json:"position,omitzero"`
	// Result is different when one of the verdicts is, and equal when all are; Healthy says that no region has stopped passing marks.
	Result   reconcile.Result    `json:"result"`
	Healthy  bool                `json:"healthy"`
	Regions  []string            `json:"regions"`
	Verdicts []reconcile.Verdict `json:"verdicts"`
	// Deep is what looking at every document came to, when that was asked for.
	Deep *lookedDeep `json:"deep,omitempty"`
}

// everywhere returns a client of all regions of the installation.
func (p *program) everywhere(ctx context.Context) (*client.Regions, error) {
	var all []region.Config
	var err error
	switch {
	case p.nats != "":
		return nil, events.Errorf(failure.ErrUsage, "--nats names the servers of one region, and this is about all of them").
			Hint("Name all of them in a topology file, with --config.")
	case p.config != "":
		all, err = p.inTopology()
	default:
		all, err = client.Running(p.dir, p.region)
	}
	if err != nil {
		return nil, err
	}
	c, err := p.dial(ctx, all)
	if err != nil || p.config != "" {
		return c, err
	}
	// Those that do not run now are not in the directory; the leader knows who follows it.
	others := []string{all[0].Leader}
	asking, cancel := context.WithTimeout(ctx, floorsPatience)
	defer cancel()
	if floors, err := c.Floors(asking); err == nil { // otherwise the leader does not answer, which is said of it
		for _, f := range floors {
			others = append(others, f.Region)
		}
	}
	known := len(all)
	for _, name := range others {
		if name != "" && !slices.ContainsFunc(all, func(c region.Config) bool { return c.Name == name }) {
			all = append(all, region.Config{Name: name})
		}
	}
	if len(all) == known {
		return c, nil
	}
	_ = c.Close()
	return p.dial(ctx, all)
}

func (p *program) inTopology() ([]region.Config, error) {
	env := topology.Environment(os.Environ())
	t, err := topology.Load(p.config, env)
	if err != nil {
		return nil, err
	}
	return client.InTopology(t, p.region, env)
}

func (p *program) dial(ctx context.Context, all []region.Config) (*client.Regions, error) {
	return client.Dial(ctx, client.Config{Regions: all, Source: defaultSource, AttemptTimeout: min(p.timeout, verifyPatience), Logger: slog.New(slog.DiscardHandler)})
}

// compare compares the regions.
func (p *program) compare(ctx context.Context, c *client.Regions, names []string, v *verified, wait time.Duration) error {
	v.Regions = slices.Sorted(slices.Values(c.Names()))
	if len(names) == 0 {
		var err error
		if names, err = p.known(ctx, c); err != nil {
			return err
		}
	}
	if v.Mark == markNow {
		log, err := c.Log(ctx)
		if err == nil {
			v.Position, err = marks.New(log, marks.Options{}).Now(ctx)
		}
		if err != nil {
			return err
		}
	}
	v.Verdicts = make([]reconcile.Verdict, len(names))
	var asking errgroup.Group
	asking.SetLimit(verifyAtOnce)
	for i, name := range names {
		asking.Go(func() error {
			v.Verdicts[i] = c.Verify(ctx, name, query.Options{AtLeast: v.Position, Wait: wait})
			return nil
		})
	}
	_ = asking.Wait() // none fails: what is not known is said in the verdict
	if len(names) == 1 && unheardOf(&v.Verdicts[0]) {
		return projections.UnknownProjection(names[0])
	}
	v.conclude()
	return nil
}

// known returns the projections that any region knows of.
func (p *program) known(ctx context.Context, c *client.Regions) ([]string, error) {
	all := c.Overviews(ctx)
	names := client.Known(all)
	if len(names) > 0 {
		return names, nil
	}
	var said []string
	for i := range all {
		if all[i].Err != nil {
			said = append(said, all[i].Region+": "+failure.Tell(all[i].Err).Message)
		}
	}
	if len(said) > 0 {
		return nil, events.Errorf(events.ErrUnreachable, "not every region says which projections there are: %s; nothing was compared", strings.Join(said, "; "))
	}
	p.note("no projection yet: there is nothing to compare")
	return nil, nil
}

// unheardOf reports whether every region that answers knows no such projection, and one does answer.
func unheardOf(v *reconcile.Verdict) bool {
	return len(v.Regions) > 0 && !slices.ContainsFunc(v.Regions, func(t reconcile.Told) bool {
		return t.Unknown == nil || t.Unknown.Code != string(projections.ErrUnknownProjection)
	})
}

// conclude sums the verdicts up.
func (v *verified) conclude() {
	v.Result, v.Healthy = reconcile.Equal, true
	for i := range v.Verdicts {
		one := &v.Verdicts[i]
		v.Healthy = v.Healthy && one.Healthy()
		if one.Result == reconcile.Different || one.Result == reconcile.Unknown && v.Result == reconcile.Equal {
			v.Result = one.Result
		}
	}
}

// err returns why not all is well; nil when it is.
func (v *verified) err() error {
	names := func(is func(*reconcile.Verdict) bool) string {
		var found []string
		for i := range v.Verdicts {
			if is(&v.Verdicts[i]) {
				found = append(found, v.Verdicts[i].Projection)
			}
		}
		return strings.Join(found, ", ")
	}
	switch {
	case v.Result == reconcile.Different:
		which := names(func(one *reconcile.Verdict) bool { return one.Result == reconcile.Different })
		return events.Errorf(failure.ErrDifferent, "the regions' read models differ: %s", which).
			Hint("Only the log says which region is wrong: tidemark verify --deep asks it, and tidemark repair puts that region right.")
	case v.Result == reconcile.Unknown:
		which := names(func(one *reconcile.Verdict) bool { return one.Result == reconcile.Unknown })
		return events.Errorf(failure.ErrNotVerified, "nothing is known to differ, and not everything could be compared: %s", which).
			Hint("%s", cmp.Or(hintOf(v), "See the reasons, and compare again."))
	case !v.Healthy:
		which := names(func(one *reconcile.Verdict) bool { return !one.Healthy() })
		return events.Errorf(failure.ErrNotVerified, "a read model has stopped passing marks, so being equal at an old one says nothing of now: %s", which).
			Hint("tidemark status --region REGION says what its projector does.")
	}
	return nil
}

// hintOf says what mends the most common reason.
func hintOf(v *verified) string {
	for i := range v.Verdicts {
		for _, r := range v.Verdicts[i].Reasons {
			if r.Code == reconcile.ReasonNoMarks || r.Code == reconcile.ReasonNoCommonMark {
				return "tidemark verify --mark now writes a mark, and waits until every region has passed it."
			}
		}
	}
	return ""
}
