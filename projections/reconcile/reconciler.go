package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

const (
	// DefaultCompare is how often regions are compared.
	DefaultCompare = 15 * time.Second
	// DefaultPause is how long after one scrub of a read model the next begins.
	DefaultPause = 10 * time.Minute
	// DefaultDeep is how often one of them folds everything again.
	DefaultDeep = 24 * time.Hour
	// suspectBudget is the share of a core for examining a read model that is known to differ from another region's.
	suspectBudget = 0.5
	// minWait is the first pause after a failure; it doubles up to maxWait.
	minWait = time.Second
	maxWait = time.Minute
	// repairPatience bounds a repair, so that a region without a projector does not hold up everything else.
	repairPatience = 5 * time.Minute
	// lookEvery is how often it is looked which read models there are, so that a new one need not wait until the others are due.
	lookEvery = 10 * time.Second
	leaseName = "reconciler"
)

// Versions finds what the live read models of a region were folded with.
type Versions interface {
	// Names returns the names of the projections that the region has a read model of.
	Names(ctx context.Context) ([]string, error)
	// Live returns the version of a projection that is live, and its log.
	Live(ctx context.Context, name string) (projector.Version, error)
}

// Observer is told what a reconciler does. Its methods must not wait.
type Observer interface {
	// Compared tells what comparing regions came to.
	Compared(v *Verdict)
	// Examined tells of an examination that ended.
	Examined(r *Report)
	// Mended tells what became of findings: err is why not all of them were repaired.
	Mended(projection string, out Outcome, err error)
}

// ReconcilerOptions adjust a Reconciler. The zero value works.
type ReconcilerOptions struct {
	// Holder names the process to whoever waits for its lease.
	Holder string
	// Budget is the share of a core that scrubbing may take on average, as in Options; default DefaultBudget. Half of a core is taken, and not rested for, from where something looks wrong that was right before, until it is judged.
	Budget float64
	// Compare, Pause and Deep are how often regions are compared, how long after one scrub the next begins, and how often one folds everything again; defaults as above.
	Compare, Pause, Deep time.Duration
	// KeepWrong leaves read models as they are: findings are reported, and a person decides.
	KeepWrong bool
	// Share is that of the documents up to which they are repaired without asking; default DefaultShare.
	Share float64
	// Snapshots are those of the region, as in Options; nil: there are none.
	Snapshots projections.Snapshots
	// Standings asks every region for what it says of a read model; nil: regions are not compared.
	Standings func(ctx context.Context, projection string) []Standing
	// Announce tells whoever has subscribed of a record that changed; nil: nobody is.
	Announce func(Record)
	// Observer is told what happens; nil: nobody is.
	Observer Observer
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Reconciler keeps one region's read models what the log says: it compares them with other regions', scrubs what is stored within a budget, has the log judge what looks wrong, and has it repaired by its owner.
// Several may run in a region; one at a time works, under a lease.
type Reconciler struct {
	region   string
	versions Versions
	store    projections.Store
	kv       projections.KV
	leases   projections.Leases
	options  ReconcilerOptions
	suspects chan string // projections that differ from another region's

	mu   sync.Mutex
	told map[string]string // of each projection, what was logged last
}

// NewReconciler returns a Reconciler of a region.
func NewReconciler(region string, versions Versions, store projections.Store, kv projections.KV, leases projections.Leases, o ReconcilerOptions) *Reconciler {
	pick := func(v *time.Duration, standard time.Duration) {
		if *v <= 0 {
			*v = standard
		}
	}
	pick(&o.Compare, DefaultCompare)
	pick(&o.Pause, DefaultPause)
	pick(&o.Deep, DefaultDeep)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reconciler{
		region: region, versions: versions, store: store, kv: kv, leases: leases, options: o, suspects: make(chan string, 64), told: make(map[string]string),
	}
}

// Run works until ctx ends, and then returns nil. Servers that do not answer are waited for.
func (r *Reconciler) Run(ctx context.Context) error {
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		lease, err := r.leases.Acquire(ctx, leaseName, r.options.Holder)
		if err == nil {
			began := time.Now()
			r.hold(ctx, lease)
			if time.Since(began) > maxWait {
				wait = minWait
			}
		}
		rest(ctx, wait)
	}
	return nil
}

// hold works under a lease.
func (r *Reconciler) hold(ctx context.Context, lease projections.Lease) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(lease.Context(), cancel) //nolint:contextcheck // the lease's own end
	defer stop()
	defer func() {
		end, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		_ = lease.Release(end) // it runs out
	}()
	var working sync.WaitGroup
	if r.options.Standings != nil {
		working.Go(func() { r.compareAll(ctx) })
	}
	working.Go(func() { r.scrubAll(ctx) })
	working.Wait()
}

// compareAll compares regions again and again.
func (r *Reconciler) compareAll(ctx context.Context) {
	last := make(map[string]uint64) // the mark at which a projection was found different
	for rest(ctx, r.options.Compare) {
		names, err := r.versions.Names(ctx)
		if err != nil {
			continue // whoever scrubs says so
		}
		for _, name := range names {
			v := Compare(r.options.Standings(ctx, name))
			if ctx.Err() != nil {
				return
			}
			v.Projection = name
			if r.options.Observer != nil {
				r.options.Observer.Compared(&v)
			}
			if v.Result != Different || last[name] == v.Sequence {
				continue
			}
			last[name] = v.Sequence
			select {
			case r.suspects <- name:
			default: // there is enough to do
			}
		}
	}
}

// due is when a projection is examined next. Before calm it is not examined because another region differs: it was a moment ago, and it may be the other one that is wrong and stays so.
type due struct{ scrub, deep, calm time.Time }

// scrubAll examines one projection after the other.
func (r *Reconciler) scrubAll(ctx context.Context) {
	next := make(map[string]due)
	for wait := minWait; ctx.Err() == nil; {
		names, err := r.versions.Names(ctx)
		if err != nil {
			r.say(ctx, "", "which there are", err)
			rest(ctx, wait)
			wait = min(2*wait, maxWait)
			continue
		}
		wait = minWait
		r.say(ctx, "", "", nil)
		now, idle := time.Now(), min(r.options.Pause, lookEvery)
		for _, name := range names {
			d, known := next[name]
			if !known {
				d = r.resume(ctx, name, now)
			}
			if now.Before(d.scrub) {
				next[name], idle = d, min(idle, d.scrub.Sub(now))
				continue
			}
			deep := !now.Before(d.deep)
			err := r.tend(ctx, name, Options{Budget: r.options.Budget, Deep: deep, Snapshots: r.options.Snapshots})
			d.scrub = time.Now().Add(r.options.Pause)
			switch {
			case err != nil:
				d.scrub = time.Now().Add(min(maxWait, r.options.Pause))
			case deep:
				d.deep = time.Now().Add(r.options.Deep)
			}
			next[name] = d
		}
		t := time.NewTimer(max(idle, minWait))
		select {
		case <-t.C:
		case <-ctx.Done():
		case name := <-r.suspects:
			r.doubt(ctx, name, next)
		}
		t.Stop()
	}
}

// doubt examines a read model that differs from another region's.
func (r *Reconciler) doubt(ctx context.Context, name string, next map[string]due) {
	d, known := next[name]
	if !known || time.Now().Before(d.calm) {
		return // at the next mark it is said again
	}
	r.options.Logger.WarnContext(ctx, "regions differ: this one is examined", "projection", name)
	err := r.tend(ctx, name, Options{Budget: suspectBudget, Deep: true})
	now := time.Now()
	if d.calm = now.Add(r.options.Pause); err != nil { // it has been said
		d.calm = now.Add(min(maxWait, r.options.Pause))
	} else {
		d.scrub, d.deep = now.Add(r.options.Pause), now.Add(r.options.Deep)
	}
	next[name] = d
}

// resume returns when a projection is due that another process may have examined before.
func (r *Reconciler) resume(ctx context.Context, name string, now time.Time) due {
	record, err := ReadRecord(ctx, r.kv, name)
	d := due{scrub: now, deep: now.Add(r.options.Deep)}
	if err != nil || record.Open {
		return d
	}
	if record.Scrubbed != nil {
		d.scrub = record.Scrubbed.Ended.Add(r.options.Pause)
	}
	if record.Folded != nil {
		d.deep = record.Folded.Ended.Add(r.options.Deep)
	}
	return d
}

// tend examines a read model, and has repaired what is wrong.
func (r *Reconciler) tend(ctx context.Context, name string, o Options) error {
	v, err := r.versions.Live(ctx, name)
	if err == nil {
		err = r.unblock(ctx, v)
	}
	if err == nil {
		err = r.examine(ctx, v, o)
	}
	if ctx.Err() != nil || isGone(err) {
		return err // it was replaced or removed meanwhile: there is nothing to say
	}
	r.say(ctx, name, "the read model", err)
	if err != nil {
		_ = update(ctx, r.kv, name, func(record *Record) { record.Region, record.Projection, record.Failed = r.region, name, err.Error() })
	}
	return err
}

// unblock asks for a read model to be built anew whose projector refuses because the headers of some of its partitions, and not of all, are of no history of this log: these were damaged. When
// all of them are, it is the log that is another one, and a person decides.
func (r *Reconciler) unblock(ctx context.Context, v projector.Version) error {
	name := v.Projection.Definition().Name
	status, _, err := projections.ReadStatus(ctx, r.kv, name)
	if err != nil || r.options.KeepWrong || status.State != projections.ProjectorRefused || status.Code != string(events.ErrForeignHistory) && status.Code != string(projections.ErrDocumentDamaged) {
		return err
	}
	pointer, _, err := projections.ReadPointer(ctx, r.kv, name)
	if err != nil {
		return err
	}
	headers, err := r.store.Headers(ctx, pointer.Live(name))
	if err != nil {
		return err
	}
	proven, wrong := 0, 0
	for i := range headers {
		at := projections.SequenceOf(headers[i].Checkpoint)
		record, err := v.Log.Record(ctx, at)
		switch {
		case err == nil && record.Fingerprint() == headers[i].Seen:
			proven++
		case err == nil, errors.Is(err, events.ErrNotFound):
			wrong++
		default:
			return err
		}
	}
	if proven == 0 || wrong == 0 {
		return nil
	}
	r.options.Logger.WarnContext(ctx, "the headers of some partitions were changed outside of the log: the read model is built anew", "projection", name, "partitions", wrong)
	if _, err := projections.RequestReplay(ctx, r.kv, name, "headers of partitions were changed outside of the log", time.Now()); !errors.Is(err, projections.ErrReplayRunning) {
		return err
	}
	return nil
}

func isGone(err error) bool {
	return errors.Is(err, projections.ErrUnknownProjection) || errors.Is(err, events.ErrConflict)
}

func (r *Reconciler) examine(ctx context.Context, v projector.Version, o Options) error {
	before, err := ReadRecord(ctx, r.kv, v.Projection.Definition().Name)
	if err != nil {
		return err
	}
	e := &early{r: r, told: map[finding]bool{}}
	first := o
	if first.Found = e.found; !before.Open && !r.options.KeepWrong { // what stays wrong is no reason to hurry each time
		first.Hurry = suspectBudget
	}
	report, err := Examine(ctx, r.region, v, r.store, r.kv, first)
	if err != nil {
		return err
	}
	r.examined(report)
	var now Record
	if err := update(ctx, r.kv, report.Projection, func(record *Record) {
		record.take(report)
		now = *record
	}); err != nil {
		return err
	}
	if !now.Open {
		return nil
	}
	if e.log(ctx, report); len(e.told) > maxLogged {
		r.options.Logger.WarnContext(ctx, "and more", "projection", report.Projection, "findings", now.Found)
	}
	r.announce(now)
	if r.options.KeepWrong {
		return nil
	}
	return r.repair(ctx, v, report, o, e)
}

// maxRounds bounds how often is examined and repaired in a row, where more is wrong than one report holds.
const maxRounds = 100

// repair has findings repaired, and examines again; once more as long as there was more than a report holds. e has what was repaired before, while they were found.
func (r *Reconciler) repair(ctx context.Context, v projector.Version, report *Report, o Options, e *early) (err error) {
	out := e.out
	name, left := report.Projection, len(report.Findings)+report.More
	for round := range maxRounds {
		more := report.More > 0
		plan := report.Plan(r.options.Share)
		var done Outcome
		if done, err = r.execute(ctx, &plan); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if round == 0 { // those that were repaired before are right by now, which was said of them
			done.Right = max(done.Right-e.out.Repaired, 0)
		}
		out.add(done)
		if err == nil {
			report, err = Examine(ctx, r.region, v, r.store, r.kv, o)
		}
		if err != nil {
			break
		}
		r.examined(report)
		if left = len(report.Findings) + report.More; left == 0 || !more || done.Repaired == 0 && round > 0 { // in the first one it may all have been repaired before
			break
		}
	}
	if isGone(err) {
		return err
	}
	if r.options.Observer != nil {
		r.options.Observer.Mended(name, out, err)
	}
	level, why := slog.LevelInfo, ""
	if err != nil {
		level, why = slog.LevelWarn, err.Error()
	}
	r.options.Logger.Log(ctx, level, "what was stored otherwise than the log says was repaired", "projection", name, "repaired", out.Repaired, "right", out.Right,
		"recounted", out.Recounted, "left", left, "reason", why)
	var now Record
	saved := update(ctx, r.kv, name, func(record *Record) {
		record.repaired(time.Now(), out, left, err)
		record.TotalRepaired += uint64(out.Repaired - e.counted) //nolint:gosec // not negative
		now = *record
	})
	if saved == nil {
		r.announce(now)
	}
	return errors.Join(err, saved)
}

func (r *Reconciler) examined(report *Report) {
	if r.options.Observer != nil {
		r.options.Observer.Examined(report)
	}
}

// execute has a plan carried out, within bounded time.
func (r *Reconciler) execute(ctx context.Context, plan *Plan) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, repairPatience)
	defer cancel()
	return Execute(ctx, r.kv, plan, nil)
}

func (r *Reconciler) announce(record Record) {
	if r.options.Announce != nil {
		r.options.Announce(record)
	}
}

// say logs a failure once, and its end.
func (r *Reconciler) say(ctx context.Context, projection, what string, err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	r.mu.Lock()
	same := r.told[projection] == said
	r.told[projection] = said
	r.mu.Unlock()
	switch {
	case same:
	case err != nil:
		r.options.Logger.WarnContext(ctx, "read models cannot be examined", "what", what, "projection", projection, "reason", said)
	default:
		r.options.Logger.InfoContext(ctx, "read models can be examined again", "projection", projection)
	}
}

// rest waits, and reports false when ctx ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
