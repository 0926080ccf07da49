package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// repairFlags are what repair is told.
type repairFlags struct {
	dry, yes, deep, reveal bool
	percent, resume        string
	share                  float64
}

func (p *program) repair() *cobra.Command {
	var flags repairFlags
	cmd := &cobra.Command{
		Use:   "repair [projection]",
		Short: "Put right what a region stores and the log does not say",
		Long: `Read the stored documents of all regions, or of the one that --region names, find those that are not as the region's own copy of the log says, and put them right. Queries go on.

What is found becomes a plan, which is printed, and kept in its region under an id. It names documents, never what is to be written into them: the projector that owns the read model folds each of
them again from the log and writes it if it differs. So an old plan, and one that is carried out twice, do no harm. After that the documents are read again, and what is left is said.

Without --deep every document, entry of an index and sum is read, and whatever looks wrong is judged by the log. --deep folds everything again, and finds also what was folded wrongly.

Where more than the share of a read model's documents is wrong, nothing of it is changed: it is better built anew, by the command that is printed. On a terminal repair asks; elsewhere it wants --yes.

Exit code 0: all is right now, or a dry run found what can be put right. 1: something is left, or should be built anew. 3: nothing is known to be left, and something could not be examined.`,
		Example: `  tidemark repair --dry-run                      # what is wrong, and what would be done
  tidemark repair airports --region eu
  tidemark repair --deep --yes -o json
  tidemark repair --resume 01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.projectionNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd.Flags().Changed); err != nil {
				return err
			}
			if len(args) > 0 && !projections.ValidName(args[0]) {
				return projections.UnknownProjection(args[0])
			}
			ctx := cmd.Context()
			names, err := p.installed(ctx)
			if err != nil {
				return err
			}
			list, err := p.sites(ctx, names)
			if err != nil {
				return err
			}
			defer closeSites(ctx, list)
			return p.mend(ctx, list, args, &flags)
		},
	}
	set := cmd.Flags()
	set.BoolVar(&flags.dry, "dry-run", false, "make the plan, and carry it out not")
	set.BoolVar(&flags.yes, "yes", false, "do not ask")
	set.BoolVar(&flags.deep, "deep", false, "fold everything again from the log, to find also what was folded wrongly")
	set.BoolVar(&flags.reveal, "reveal", false, "show the values of findings")
	set.StringVar(&flags.percent, "share", fmt.Sprintf("%g%%", reconcile.DefaultShare*100), "share of a read model's documents beyond which it should be built anew; 100 documents are always repaired")
	set.StringVar(&flags.resume, "resume", "", "carry out the plan of this id, as it was made")
	return cmd
}

func (f *repairFlags) check(given func(flag string) bool) error {
	number, ok := strings.CutSuffix(strings.TrimSpace(f.percent), "%")
	percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch {
	case !ok || err != nil:
		return events.Errorf(failure.ErrUsage, "%q is not a share; nothing was changed", f.percent).Hint("Write it in per cent: --share 10%%.")
	case !(percent > 0 && percent <= 100):
		return events.Errorf(failure.ErrUsage, "a share of %s is not above 0%% and at most 100%%; nothing was changed", f.percent)
	case given("resume") && f.resume == "":
		return events.Errorf(failure.ErrUsage, "the id of the plan is empty; nothing was changed")
	case given("resume") && (given("share") || f.deep || f.reveal):
		return events.Errorf(failure.ErrUsage, "--resume carries out a plan as it was made, and nothing else is found; nothing was changed").Hint("Leave --share, --deep and --reveal out.")
	}
	f.share = percent / 100
	return nil
}

// installed returns the regions that are meant when none is named.
func (p *program) installed(ctx context.Context) ([]string, error) {
	if p.region != "" {
		return nil, nil
	}
	asking, cancel := p.bounded(ctx, 0)
	defer cancel()
	c, err := p.everywhere(asking)
	if err != nil {
		return nil, err
	}
	return c.Names(), c.Close()
}

// mended is what repair prints.
type mended struct {
	DryRun bool `json:"dry_run,omitempty"`
	// Models are the read models that were looked at, or those of the plan that was resumed.
	Models []*mendedModel `json:"read_models"`
	// Hidden says that values of findings are.
	Hidden bool `json:"values_hidden"`

	resumed bool
}

// mendedModel is what was done about one read model.
type mendedModel struct {
	*examined
	Plan *plan `json:"plan,omitempty"` // nil: nothing is wrong, or nothing is known
	// Outcome is what carrying it out came to.
	Outcome *reconcile.Outcome `json:"outcome,omitempty"`
	// Verified is when all documents were read again, and Left what was still wrong then.
	Verified *time.Time          `json:"verified,omitempty"`
	Left     []reconcile.Finding `json:"left"`
	// Failed says why it was not carried out, or not to its end.
	Failed *reconcile.Reason `json:"failed,omitempty"`

	failed error
	after  *examined
	whole  reconcile.Plan // with all its repairs
}

// plan is a plan as it is printed: its documents are those of the findings.
type plan struct {
	ID         string    `json:"id"`
	Made       time.Time `json:"made"`
	Digest     string    `json:"findings_digest"`
	Generation uint32    `json:"generation"`
	Share      float64   `json:"share"`
	Findings   int       `json:"findings"`
	Documents  int       `json:"documents"`
	Recount    int       `json:"recount,omitempty"` // partitions whose sums are summed up again
	Rebuild    string    `json:"rebuild,omitempty"` // why it should be built anew instead
	Blocked    []string  `json:"blocked,omitempty"` // what a person has to remove first
}

// planOf returns a stored plan as it is printed. whole is the same with all its repairs.
func planOf(s *reconcile.Stored, whole *reconcile.Plan) *plan {
	x := &plan{
		ID: s.ID, Made: s.Made, Digest: s.Digest, Generation: s.Plan.Generation, Share: s.Share, Findings: s.Plan.Findings, Documents: s.Plan.Documents, Rebuild: s.Plan.Rebuild, Blocked: s.Plan.Blocked,
	}
	for i := range whole.Repairs {
		x.Recount += len(whole.Repairs[i].Recount)
	}
	return x
}

// mend makes the plans, asks, has them carried out, looks again, and prints what it came to.
func (p *program) mend(ctx context.Context, list []*site, names []string, flags *repairFlags) error {
	m, err := p.plans(ctx, list, names, flags)
	if err != nil {
		return err
	}
	doable := m.doable()
	if len(doable) == 0 || flags.dry {
		if err := p.print(m, m.write); err != nil {
			return err
		}
		for _, x := range doable {
			p.note("carry it out: %s repair --resume %s --region %s", p.self, x.Plan.ID, x.Region)
		}
		return m.err()
	}
	if p.output != outputJSON {
		if err := m.write(p.out); err != nil {
			return err
		}
	}
	if !flags.yes {
		f, terminal := p.in.(io.Writer) // a terminal can be written too
		if !terminal || !display.Terminal(f) {
			if p.output == outputJSON {
				if err := p.print(m, nil); err != nil {
					return err
				}
			}
			return events.Errorf(failure.ErrUsage, "%s; nothing was changed", consequence(doable)).Hint("Add --yes if that is meant. Each plan is kept, too: tidemark repair --resume %s --region %s --yes", doable[0].Plan.ID, doable[0].Region)
		}
		if err := p.ask(ctx, consequence(doable)+". Go on?", "nothing was changed"); err != nil {
			return err
		}
	}
	for _, x := range doable {
		p.carryOut(ctx, x, flags)
		if ctx.Err() != nil {
			break
		}
	}
	if !flags.reveal {
		m.hide()
	}
	if err := p.print(m, m.writeOutcome); err != nil {
		return err
	}
	return m.err()
}

// plans makes the plan of each read model, or reads the one that is to be resumed.
func (p *program) plans(ctx context.Context, list []*site, names []string, flags *repairFlags) (*mended, error) {
	m := &mended{DryRun: flags.dry, Models: []*mendedModel{}, Hidden: !flags.reveal}
	if flags.resume != "" {
		m.resumed = true
		return m, p.stored(ctx, m, list, names, flags.resume)
	}
	all, err := p.examine(ctx, list, names, flags.deep)
	if err != nil {
		return nil, err
	}
	for _, x := range all {
		model := &mendedModel{examined: x}
		m.Models = append(m.Models, model)
		if r := x.Report; r != nil && len(r.Findings)+len(r.Recount) > 0 {
			if err := p.store(ctx, model, flags.share); err != nil {
				return nil, err
			}
		}
	}
	if !flags.reveal {
		m.hide()
	}
	return m, nil
}

// store makes a plan of what was found, and has its region keep it.
func (p *program) store(ctx context.Context, m *mendedModel, share float64) error {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	m.whole = m.Report.Plan(share)
	s, err := m.Report.Store(ctx, m.site.region.KV(), m.whole, share, time.Now())
	if err != nil {
		return err
	}
	m.Plan = planOf(&s, &m.whole)
	if m.whole.Rebuild != "" {
		m.fail(m.whole.Refusal())
	}
	return nil
}

// stored reads the plan of an id.
func (p *program) stored(ctx context.Context, m *mended, list []*site, names []string, id string) error {
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	var silent error
	for _, s := range list {
		if s.err != nil {
			silent = s.err
			continue
		}
		kept, err := reconcile.ReadStored(ctx, s.region.KV(), id)
		switch {
		case failure.Code(err) == reconcile.ErrUnknownPlan:
			continue
		case err != nil:
			return err
		case len(names) > 0 && names[0] != kept.Plan.Projection:
			return events.Errorf(failure.ErrUsage, "the plan %s is of %s, not of %s; nothing was changed", id, kept.Plan.Projection, names[0])
		}
		model := &mendedModel{examined: &examined{Region: s.name, Projection: kept.Plan.Projection, site: s}, Plan: planOf(&kept, &kept.Plan), whole: kept.Plan}
		if kept.Plan.Rebuild != "" {
			model.fail(kept.Plan.Refusal())
		}
		m.Models = append(m.Models, model)
		return nil
	}
	if silent != nil {
		return silent // it may have the plan
	}
	_, err := reconcile.ReadStored(ctx, list[0].region.KV(), id)
	return err
}

// doable returns those that can be carried out.
func (m *mended) doable() (list []*mendedModel) {
	for _, x := range m.Models {
		if len(x.whole.Repairs) > 0 && x.failed == nil {
			list = append(list, x)
		}
	}
	return list
}

// consequence says what carrying the plans out does.
func consequence(list []*mendedModel) string {
	var said []string
	for _, x := range list {
		what := display.Count(x.Plan.Documents, "document")
		if x.Plan.Documents == 0 {
			what = display.Count(x.Plan.Recount, "partition")
		}
		said = append(said, fmt.Sprintf("%s of %s in %s", what, x.Projection, x.Region))
	}
	return strings.Join(said, ", ") + " would be folded again from the log, and written where they differ"
}

func (x *mendedModel) fail(err error) { x.failed, x.Failed = err, reasonOf(err) }

// maxRounds bounds how often more is planned and carried out, where a report has no room for all that is wrong.
const maxRounds = 100

// carryOut has the owner of a read model carry out its plan, and reads the documents again.
func (p *program) carryOut(ctx context.Context, x *mendedModel, flags *repairFlags) {
	if now, err := catalog.Read(ctx, x.site.region.Log()); err == nil {
		if e, _ := now.Find(x.Projection); e.State == catalog.Paused {
			x.fail(events.Errorf(catalog.ErrPaused, "%s is paused, so nobody would repair it; nothing was changed", x.Projection).Hint("tidemark projection resume %s", x.Projection))
			return
		}
	}
	x.Outcome = &reconcile.Outcome{}
	for next := &x.whole; ; {
		before := *x.Outcome
		if err := p.execute(ctx, x, next); err != nil {
			x.fail(err)
			return
		}
		again := &examined{Region: x.Region, Projection: x.Projection, site: x.site}
		if err := p.examineOne(ctx, again, flags.deep); err != nil {
			x.fail(fmt.Errorf("the repair was carried out, and its result is not known: %w", err))
			return
		}
		more := next.Documents > documentsOf(next)
		x.after, x.Verified, x.Left, x.Unknown = again, &again.Report.Ended, again.Report.Findings, again.Unknown
		if len(x.Left) == 0 || !more || x.Outcome.Repaired == before.Repaired || len(x.Outcome.Jobs) >= maxRounds {
			return
		}
		rest := again.Report.Plan(flags.share)
		next = &rest
	}
}

// documentsOf counts the documents that a plan names.
func documentsOf(p *reconcile.Plan) (n int) {
	for i := range p.Repairs {
		n += len(p.Repairs[i].Documents)
	}
	return n
}

// execute has a plan carried out, and adds to what it came to.
func (p *program) execute(ctx context.Context, x *mendedModel, next *reconcile.Plan) error {
	progress := display.NewProgress(p.progressWriter(), "repair "+x.Projection+" in "+x.Region, "documents")
	defer progress.End()
	patience := time.AfterFunc(unattended, func() {
		p.note("the projector of %s in %s has not done it yet; it goes on as soon as one runs, and Ctrl-C only stops watching it", x.Projection, x.Region)
	})
	defer patience.Stop()
	out, err := reconcile.Execute(ctx, x.site.region.KV(), next, func(done, total int) {
		patience.Reset(unattended)
		progress.Set(uint64(done), uint64(total)) //nolint:gosec // numbers of documents
	})
	x.Outcome.Repaired, x.Outcome.Right, x.Outcome.Recounted = x.Outcome.Repaired+out.Repaired, x.Outcome.Right+out.Right, x.Outcome.Recounted+out.Recounted
	x.Outcome.Jobs = append(x.Outcome.Jobs, out.Jobs...)
	if err != nil && ctx.Err() != nil {
		return events.Errorf(failure.ErrInterrupted, "a signal ended the watching; a repair of %s in %s that had begun goes on", x.Projection, x.Region).Hint("%s repair looks again.", p.self)
	}
	return err
}

// hide takes the values of findings away.
func (m *mended) hide() {
	for _, x := range m.Models {
		x.hide()
		if x.after != nil {
			x.after.hide()
		}
	}
}

// removeIt says what a person has to do about what no repair touches.
const removeIt = "Remove it from Redis, with DEL or ZREM, and repair again."

// blocked reports whether something is there that only a person removes.
func blocked(x *examined) bool {
	return slices.ContainsFunc(x.Report.Findings, func(f reconcile.Finding) bool { return f.Foreign || f.Member != "" })
}

// err returns why not all is well; nil when it is, or a dry run found only what can be put right.
func (m *mended) err() (worst error) {
	var all, after []*examined
	for _, x := range m.Models {
		if x.failed != nil {
			worst = worse(worst, x.failed)
		}
		all = append(all, x.examined)
		switch {
		case x.after != nil:
			after = append(after, x.after)
		case x.failed == nil && x.Plan != nil && len(x.Plan.Blocked) > 0:
			worst = worse(worst, events.Errorf(failure.ErrDamaged, "%s of %s in %s can be no document, or what is there is none", display.Count(len(x.Plan.Blocked), "name"), x.Projection, x.Region).
				Hint(removeIt))
		}
	}
	if left := found(after); left > 0 {
		next := "It may be repeated. What is damaged again and again is better built anew: tidemark replay PROJECTION --from-start"
		if slices.ContainsFunc(after, blocked) {
			next = removeIt
		}
		worst = worse(worst, events.Errorf(failure.ErrDamaged, "what is stored is still not what the log says: %s", display.Count(left, "finding")).Hint("%s", next))
	}
	return worse(worst, notExamined(all))
}
