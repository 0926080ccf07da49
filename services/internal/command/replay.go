package command

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/runner"
	"tidemark.dev/services/internal/failure"
)

func (p *program) replay() *cobra.Command {
	var flags replayFlags
	cmd := &cobra.Command{
		Use:   "replay <projection>",
		Short: "Build a read model anew from the log, beside the live one, and switch; or as it was at a position",
		Long: `Build a new generation of a read model beside the live one. When it stands where the live one stands, the two are compared, and queries are switched over at once: readers see the old or the new
one, never a mixture, and never nothing. The generation before goes on being followed for a while: tidemark replay rollback has it take over again.

--from-start trusts nothing: every record of the log is folded. --from-seq and --from-time trust what was before that record: they begin with a snapshot, or fold the documents again that records since
then are about, whichever is cheaper; what comes of it has to be proven equal to what another region or the live generation has, or the replay goes further back by itself. --dry-run says what would
be done, and what that would cost. --require-equal switches nothing that is not proven equal.

--to POSITION --as NAME makes a copy: the read model as it was at a position, a sequence, or a time, for --at NAME of get, list and count. It is dropped after a day, or when --expires says.

The projector of the region does the work. Ctrl-C only stops watching it; when the projector is killed, the next one goes on with it. --resume ID watches it again, or asks again for what failed;
--cancel ID gives it up, which leaves what is live as it is.

Exit code 0: done. 1: it failed, was given up, or is not proven equal though that is required. 2: no replay can begin or end there; nothing was started. 3: something does not answer.`,
		Example: `  tidemark replay airports --from-start
  tidemark replay airports --from-seq 12000 --dry-run
  tidemark replay airports --from-time 2026-11-26T06:00:00Z --require-equal
  tidemark replay airports --from-start --all-regions --rate 20000
  tidemark replay airports --to us.7f3a11d2@1:12000 --as before-the-import --expires 48h
  tidemark replay airports --cancel 01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11
  tidemark replay list`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.given = cmd.Flags().Changed
			if err := flags.check(p.region); err != nil {
				return err
			}
			if !projections.ValidName(args[0]) {
				return projections.UnknownProjection(args[0])
			}
			if flags.all {
				return p.replayEverywhere(cmd.Context(), args[0], &flags)
			}
			s, err := p.here(cmd.Context())
			if err != nil {
				return err
			}
			defer closeSites(cmd.Context(), []*site{s})
			switch {
			case flags.given("resume"):
				return p.resumeReplay(cmd.Context(), s, args[0], flags.resume)
			case flags.given("cancel"):
				return p.cancelReplay(cmd.Context(), s, args[0], flags.cancel)
			}
			return p.rebuild(cmd.Context(), s, args[0], &flags)
		},
	}
	set := cmd.Flags()
	set.BoolVar(&flags.fromStart, "from-start", false, "begin with the first record of the log, and trust nothing")
	set.Uint64Var(&flags.fromSeq, "from-seq", 0, "trust what was before the record of this sequence")
	set.StringVar(&flags.fromTime, "from-time", "", "trust what was before this time, such as 2026-11-26T06:00:00Z; times are the broker's")
	set.StringVar(&flags.to, "to", "", "make a copy: the read model as it was at this position, sequence, or time")
	set.StringVar(&flags.as, "as", "", "with --to: the name of the copy")
	set.StringVar(&flags.expires, "expires", defaultExpires.String(), "with --to: after how long the copy is dropped, such as 48h; or never")
	set.IntVar(&flags.rate, "rate", 0, "records in each second at most (default as many as it can)")
	set.BoolVar(&flags.dry, "dry-run", false, "say how it would be done and what it would cost, and start nothing")
	set.BoolVar(&flags.requireEqual, "require-equal", false, "switch only what is proven equal")
	set.BoolVar(&flags.all, "all-regions", false, "in every region of the installation")
	set.StringVar(&flags.resume, "resume", "", "watch the replay of this id again, or ask again for what failed or was given up")
	set.StringVar(&flags.cancel, "cancel", "", "give up the replay of this id")
	for _, name := range []string{"resume", "cancel"} {
		_ = cmd.RegisterFlagCompletionFunc(name, p.replayIDs)
	}
	_ = cmd.RegisterFlagCompletionFunc("expires", cobra.FixedCompletions([]string{"24h", "168h", never}, cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(p.replayList(), p.replayShow(), p.replayRollback(), p.replayDrop())
	return cmd
}

// here opens the region that the flags mean. The caller closes it.
func (p *program) here(ctx context.Context) (*site, error) {
	own, err := flights.All()
	if err != nil {
		return nil, err
	}
	c, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	r := c.Region()
	return &site{name: r.Name(), region: r, versions: runner.NewVersions(own, r.Log(), r.KV(), r.Reader)}, nil
}

// prepared is a replay that can be asked for, and what would be done.
type prepared struct {
	Region     string                    `json:"region"`
	Projection string                    `json:"projection"`
	Version    int                       `json:"version"` // that would be built
	Request    projections.ReplayRequest `json:"request"`
	Plan       projections.ReplayPlan    `json:"plan"`
	// MemoryUsed is what the store uses now, and MemoryMax what it may use at most, in bytes; 0: it has no bound, or does not say.
	MemoryUsed uint64 `json:"memory_used_bytes"`
	MemoryMax  uint64 `json:"memory_max_bytes"`

	site *site
}

// prepare makes the plan of a replay, so that what cannot be done is refused before anything is started.
func (p *program) prepare(ctx context.Context, s *site, name string, request func(context.Context, events.Reader) (projections.ReplayRequest, error)) (*prepared, error) {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	pointer, _, err := projections.ReadPointer(ctx, s.region.KV(), name)
	switch {
	case err != nil:
		return nil, err
	case pointer.Generation == 0:
		return nil, projections.UnknownProjection(name)
	}
	v, err := s.versions.Current(ctx, name)
	if err != nil {
		return nil, err
	}
	asked, err := request(ctx, v.Log)
	if err != nil {
		return nil, err
	}
	planning := projector.Planning{Version: v, Partitions: pointer.Partitions, Store: s.region.Store(), KV: s.region.KV()}
	if v.Projection.Definition().Source == nil { // what is not ours has no marks, so no snapshots
		planning.Snapshots = s.region.Snapshots()
	}
	plan, err := projector.Plan(ctx, planning, asked)
	if err != nil {
		return nil, err
	}
	memory, err := s.region.Store().Memory(ctx)
	if err != nil && !errors.Is(err, events.ErrUnauthorized) { // without the right it is not known, which the plan says
		return nil, err
	}
	return &prepared{
		Region: s.name, Projection: name, Version: v.Projection.Definition().Version, Request: asked, Plan: plan, MemoryUsed: memory.Used, MemoryMax: memory.Max, site: s,
	}, nil
}

// ask asks for a replay that was prepared.
func (x *prepared) ask(ctx context.Context, p *program) (projections.Replay, error) {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	return projections.AskReplay(ctx, x.site.region.KV(), x.Projection, x.Request, time.Now())
}

// rebuild carries out what the flags ask for in one region.
func (p *program) rebuild(ctx context.Context, s *site, name string, flags *replayFlags) error {
	x, err := p.prepare(ctx, s, name, flags.request)
	if err != nil {
		return err
	}
	if flags.dry {
		return p.print(map[string]any{"dry_run": true, "replays": []*prepared{x}}, x.write)
	}
	job, err := x.ask(ctx, p)
	if err != nil {
		return err
	}
	return p.attend(ctx, s.region.KV(), job)
}

// resumeReplay watches a replay again, or asks again for what it was to do.
func (p *program) resumeReplay(ctx context.Context, s *site, name, id string) error {
	job, err := p.remembered(ctx, s, name, id)
	if err != nil {
		return err
	}
	if job.Running() {
		return p.attend(ctx, s.region.KV(), job)
	}
	if job.State == projections.ReplayDone {
		return p.result(&job)
	}
	x, err := p.prepare(ctx, s, name, func(context.Context, events.Reader) (projections.ReplayRequest, error) {
		again := job.ReplayRequest
		again.Reason = "tidemark replay --resume " + job.ID
		if again.Until != nil { // as long as before, from now on
			until := time.Now().UTC().Add(again.Until.Sub(job.Requested))
			again.Until = &until
		}
		return again, nil
	})
	if err != nil {
		return err
	}
	next, err := x.ask(ctx, p)
	if err != nil {
		return err
	}
	p.note("the replay %s had %s; the same was asked for again, as %s", job.ID, ending(job.State), next.ID)
	return p.attend(ctx, s.region.KV(), next)
}

func ending(s projections.ReplayState) string {
	if s == projections.ReplayCancelled {
		return "been given up"
	}
	return string(s)
}

// remembered returns the replay of an id.
func (p *program) remembered(ctx context.Context, s *site, name, id string) (projections.Replay, error) {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	pointer, _, err := projections.ReadPointer(ctx, s.region.KV(), name)
	switch {
	case err != nil:
		return projections.Replay{}, err
	case pointer.Generation == 0:
		return projections.Replay{}, projections.UnknownProjection(name)
	}
	list, err := projections.Replays(ctx, s.region.KV(), name)
	if err != nil {
		return projections.Replay{}, err
	}
	for i := range list {
		if list[i].ID == id {
			return list[i], nil
		}
	}
	return projections.Replay{}, projections.UnknownReplay(name, id)
}

// cancelPatience bounds how long it is waited for that a replay is given up.
const cancelPatience = 15 * time.Second

// cancelReplay has a replay given up, and waits for that.
func (p *program) cancelReplay(ctx context.Context, s *site, name, id string) error {
	job, err := p.remembered(ctx, s, name, id)
	if err != nil {
		return err
	}
	asking, cancel := p.bounded(ctx, 0)
	defer cancel()
	if job, err = projections.CancelReplay(asking, s.region.KV(), name, id); err != nil {
		return err
	}
	if job.Running() {
		waiting, cancel := context.WithTimeout(ctx, min(p.timeout, cancelPatience))
		defer cancel()
		job, err = follow(waiting, s.region.KV(), job, func(*projections.Replay) {})
		switch {
		case ctx.Err() != nil:
			return events.Errorf(failure.ErrInterrupted, "the replay %s of %s is to be given up; only waiting for that ended", id, name).Hint("%s replay show %s", p.self, id)
		case waiting.Err() != nil:
			return events.Errorf(failure.ErrTimedOut, "the replay %s of %s is to be given up, and nobody has done so yet: no projector of %s executes it now, or it is busy", id, name, s.name).
				Hint("It is given up as soon as a projector runs: %s replay show %s%s.", p.self, id, p.inRegion())
		case err != nil:
			return err
		}
	}
	if err := p.result(&job); err != nil {
		return err
	}
	if job.State != projections.ReplayCancelled {
		return events.Errorf(failure.ErrReplayEnded, "the replay %s of %s had ended before (%s); nothing was given up", id, name, job.State)
	}
	return nil
}
