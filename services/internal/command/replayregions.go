package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// everywhereReplayed is what a replay in all regions prints.
type everywhereReplayed struct {
	Projection string          `json:"projection"`
	Regions    []*regionReplay `json:"regions"`
}

// regionReplay is a replay in one region, or why there is none.
type regionReplay struct {
	Region string              `json:"region"`
	Plan   *prepared           `json:"plan,omitempty"`
	Replay *projections.Replay `json:"replay,omitempty"`
	Failed *reconcile.Reason   `json:"failed,omitempty"`

	site *site
	err  error
}

func (x *regionReplay) fail(err error) {
	if err != nil {
		x.err, x.Failed = err, reasonOf(err)
	}
}

// replayEverywhere asks for a replay in every region, watches all of them, and says what came of each. A region that cannot do it does not keep the others from it.
func (p *program) replayEverywhere(ctx context.Context, name string, flags *replayFlags) error {
	regions, err := p.installed(ctx)
	if err != nil {
		return err
	}
	list, err := p.sites(ctx, regions)
	if err != nil {
		return err
	}
	defer closeSites(ctx, list)
	all := &everywhereReplayed{Projection: name}
	for _, s := range list {
		x := &regionReplay{Region: s.name, site: s}
		if x.fail(s.err); x.err == nil {
			x.Plan, err = p.prepare(ctx, s, name, flags.request)
			x.fail(err)
		}
		all.Regions = append(all.Regions, x)
	}
	if refused := all.refused(); refused != nil {
		return refused
	}
	if flags.dry {
		return all.dry(p)
	}
	for _, x := range all.Regions {
		if x.err != nil {
			p.note("%s: %s", x.Region, x.Failed.Message)
			continue
		}
		job, err := x.Plan.ask(ctx, p)
		if x.fail(err); err == nil {
			x.Replay = &job
		}
	}
	p.watchAll(ctx, all)
	if ctx.Err() != nil {
		return all.unwatched(p)
	}
	if err := p.print(all, all.write); err != nil {
		return err
	}
	return all.worst()
}

// refused returns the error when every region refused the replay for the same reason, and nothing is started anywhere.
func (all *everywhereReplayed) refused() error {
	first := all.Regions[0].err
	if first == nil || slices.ContainsFunc(all.Regions, func(x *regionReplay) bool { return x.err == nil || failure.Code(x.err) != failure.Code(first) }) {
		return nil
	}
	return first
}

// dry prints what would be done in each region.
func (all *everywhereReplayed) dry(p *program) error {
	var plans []*prepared
	failed := []*regionReplay{}
	for _, x := range all.Regions {
		if x.err == nil {
			plans = append(plans, x.Plan)
		} else {
			failed = append(failed, x)
		}
	}
	err := p.print(map[string]any{"dry_run": true, "replays": plans, "failed": failed}, func(w io.Writer) error {
		for _, x := range plans {
			if err := x.writePlan(w); err != nil {
				return err
			}
			fmt.Fprintln(w)
		}
		for _, x := range failed {
			fmt.Fprintf(w, "%s: %s\n", x.Region, display.Text(x.Failed.Message))
		}
		_, err := fmt.Fprintln(w, "nothing was changed")
		return err
	})
	if err != nil {
		return err
	}
	return all.worst()
}

// watchAll watches the replays of all regions until each has ended, or ctx does.
func (p *program) watchAll(ctx context.Context, all *everywhereReplayed) {
	progress := display.NewPaced(p.progressWriter(), "replay "+all.Projection)
	defer progress.End()
	patience := time.AfterFunc(unattended, func() { p.note("not every region's projector has begun the replay yet; it begins as soon as one runs") })
	defer patience.Stop()
	w := &regionsWatch{progress: progress, jobs: make(map[string]projections.Replay), began: func() { patience.Stop() }, yields: make(map[string]string), back: make(map[string]int)}
	for _, x := range all.Regions {
		if x.Replay != nil {
			w.jobs[x.Region] = *x.Replay
		}
	}
	var watching sync.WaitGroup
	for _, x := range all.Regions {
		if x.Replay == nil {
			continue
		}
		watching.Go(func() {
			job, err := follow(ctx, x.site.region.KV(), *x.Replay, func(now *projections.Replay) { w.see(x.Region, now) })
			x.Replay = &job
			if err == nil {
				err = p.outcome(&job)
			}
			x.fail(err)
			hideSamples(x.Replay)
		})
	}
	watching.Wait()
}

// regionsWatch shows how the replays of several regions go, as one.
type regionsWatch struct {
	began func() // is called when all have

	mu       sync.Mutex
	progress *display.Progress
	jobs     map[string]projections.Replay
	yields   map[string]string
	back     map[string]int
}

func (w *regionsWatch) see(region string, now *projections.Replay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := replayWatch{progress: w.progress, yields: w.yields[region], back: w.back[region], region: region + ": "}
	one.notes(now)
	w.yields[region], w.back[region] = one.yields, one.back
	w.jobs[region] = *now
	var said []string
	var sum replayStage
	requested := false
	for _, name := range slices.Sorted(maps.Keys(w.jobs)) {
		job := w.jobs[name]
		requested = requested || job.State == projections.ReplayRequested
		if !job.Running() {
			said = append(said, name+" "+string(job.State))
			continue
		}
		s := stageOf(&job)
		said = append(said, fmt.Sprintf("%s %s %d %%", name, s.Stage, s.percent()))
		sum.done, sum.total, sum.PerSecond, sum.Remaining = sum.done+s.done, sum.total+s.total, sum.PerSecond+s.PerSecond, max(sum.Remaining, s.Remaining)
	}
	if !requested {
		w.began()
	}
	sum.Stage, sum.Unit = strings.Join(said, ", "), "records"
	w.progress.Tell(sum.done, sum.total, sum.Pace)
}

// unwatched says that only watching ended.
func (all *everywhereReplayed) unwatched(p *program) error {
	var said []string
	var next string
	for _, x := range all.Regions {
		if x.Replay != nil && x.Replay.Running() {
			said = append(said, x.Replay.ID+" in "+x.Region)
			next = fmt.Sprintf("Each by itself: %s replay %s --resume %s --region %s watches it again, and --cancel in place of --resume gives it up.",
				p.self, all.Projection, x.Replay.ID, x.Region)
		}
	}
	if len(said) == 0 {
		return events.Errorf(failure.ErrInterrupted, "a signal ended the command; no replay of %s that it asked for is running", all.Projection)
	}
	return events.Errorf(failure.ErrInterrupted, "the replays of %s go on; only watching them ended: %s", all.Projection, strings.Join(said, ", ")).Hint("%s", next)
}

// worst returns the error of the region that is worst off; nil: all is done.
func (all *everywhereReplayed) worst() (worst error) {
	var failed []string
	for _, x := range all.Regions {
		if x.err != nil {
			failed = append(failed, x.Region)
			worst = worse(worst, x.err)
		}
	}
	if worst == nil || len(all.Regions) == 1 {
		return worst
	}
	report := failure.Tell(worst)
	what := fmt.Sprintf("not every region has done it: %d of %d regions did not (%s), for one: %s", len(failed), len(all.Regions), strings.Join(failed, ", "), report.Message)
	return events.Errorf(report.Code, "%s", what).Hint("%s", report.Next)
}

// write writes a row for each region.
func (all *everywhereReplayed) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REGION\tSTATE\tSTRATEGY\tGENERATION\tDOCUMENTS\tTOOK\tPROOF\tPOSITION\tDIGEST")
	for _, x := range all.Regions {
		r := x.Replay
		if r == nil {
			fmt.Fprintf(t, "%s\tNOT STARTED\tnone\tnone\tnone\tnone\tnone\tnone\tnone\n", x.Region)
			continue
		}
		strategy, state := "none", string(r.State)
		if r.Plan != nil {
			strategy = string(r.Plan.Strategy)
		}
		if r.State != projections.ReplayDone {
			state = strings.ToUpper(state)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", x.Region, state, strategy, r.Generation, display.Number(r.Documents), took(r), shortProof(r), orNone(r.Position), orNone(r.Digest))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range all.Regions {
		if x.err != nil {
			fmt.Fprintf(w, "%s: %s\n", x.Region, display.Text(x.Failed.Message))
		}
		if x.Replay != nil {
			for _, why := range x.Replay.Back {
				fmt.Fprintf(w, "%s went back: %s\n", x.Region, display.Text(why))
			}
		}
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return display.Name(text)
}
