package marks

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultAuditInterval is how often it is looked whether there is a new mark, and whether the log is still the one that was audited.
	DefaultAuditInterval = 2 * time.Second
	// DefaultFullInterval is how often the whole log is audited.
	DefaultFullInterval = 24 * time.Hour
	// DefaultBudget is the share of one core that auditing takes.
	DefaultBudget = 0.05
	// mendingBudget is that share while nothing is applied because of a finding.
	mendingBudget = 0.5
	// unmarked is how long a log gets no mark until the records behind the last one are read all the same. What is wrong with them may be why no mark is written.
	unmarked = 3 * DefaultIdle
)

// AuditorOptions adjust an Auditor. Region and Leader are required.
type AuditorOptions struct {
	// Region holds the copy, and Leader leads the log.
	Region, Leader string
	// Holder names this process to whoever waits for its lease; default "auditor".
	Holder string
	// Interval is how often it is looked whether there is something new; default DefaultAuditInterval.
	Interval time.Duration
	// Full is how often the whole log is audited; default DefaultFullInterval. It is once when a process begins to audit, too.
	Full time.Duration
	// Budget is the share of one core that auditing takes; default DefaultBudget.
	Budget float64
	// Others returns other regions' copies of the log, by region: at a mirror the leader's, at the leader the mirrors'. They are asked when something is wrong. Default: there
	// are none.
	Others func(ctx context.Context) (map[string]Opener, error)
	// Logger gets one line for each change of what is found; default: none.
	Logger *slog.Logger
}

// Auditor audits a region's copy of a log: it computes the chain of every mark again and compares. Several processes of a region may run one; one of them reads the log, all of them
// know what was found.
type Auditor struct {
	log     events.Reader
	kv      projections.KV
	leases  projections.Leases
	options AuditorOptions

	lease   atomic.Pointer[projections.Lease] // nil: another process audits
	verdict atomic.Pointer[said]
	known   chan struct{} // closed when there is a verdict
	knows   sync.Once

	// Of Run alone:
	audit     Audit
	revision  uint64
	full      *place        // how far a pass over the whole log is; nil: none is under way
	begun     bool          // such a pass has ended since the lease was taken
	token     uint64        // of the lease under which full and begun are true
	tail      time.Time     // when the records behind the last mark were read
	inquired  time.Time     // when other regions were asked
	suspected *Finding      // by the look before
	worked    time.Duration // in reading, of this turn
}

// said is a verdict, in a form that an atomic pointer can hold.
type said struct {
	err   error
	text  string // of the finding, without what is added to it later
	state State
}

// State is how far the audit is, in short.
type State struct {
	Origin string
	// Known says whether it is known what was found; as long as it is not, nothing else is set.
	Known bool
	// Upto is the last sequence that is audited, Audited when that was, and Full when a pass over the whole log ended last. Zero: never.
	Upto          uint64
	Audited, Full time.Time
	// Finding is the kind of what is wrong; empty: nothing is.
	Finding Kind
}

// NewAuditor returns an Auditor.
func NewAuditor(log events.Reader, kv projections.KV, leases projections.Leases, o AuditorOptions) *Auditor {
	o.Holder = cmp.Or(o.Holder, "auditor")
	o.Interval = cmp.Or(max(o.Interval, 0), DefaultAuditInterval)
	o.Full = cmp.Or(max(o.Full, 0), DefaultFullInterval)
	if o.Budget <= 0 || o.Budget > 1 {
		o.Budget = DefaultBudget
	}
	if o.Others == nil {
		o.Others = func(context.Context) (map[string]Opener, error) { return nil, nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("origin", log.Origin())
	a := &Auditor{log: log, kv: kv, leases: leases, options: o, known: make(chan struct{})}
	a.verdict.Store(&said{err: notKnown(log.Origin()), state: State{Origin: log.Origin()}})
	return a
}

// Verdict returns nil when nothing is wrong with the log as far as it is known, ErrUntrustedLog with the finding when something is, and ErrUnreachable as long as it is not
// known what was found before. It does not wait for anything.
func (a *Auditor) Verdict() error { return a.verdict.Load().err }

// State returns how far the audit is, as of the last look. It does not wait for anything.
func (a *Auditor) State() State { return a.verdict.Load().state }

// Known is closed as soon as it is known what was found before, and that the log is still that one.
func (a *Auditor) Known() <-chan struct{} { return a.known }

// Run audits until ctx ends, and then returns nil. Servers that do not answer are waited for. An Auditor runs once at a time.
func (a *Auditor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var owning sync.WaitGroup
	defer owning.Wait()
	defer cancel()
	owning.Go(func() { a.own(ctx) })
	var told string
	for ctx.Err() == nil {
		a.worked = 0
		more, err := a.turn(ctx)
		if ctx.Err() != nil {
			break
		}
		if code, _ := events.CodeOf(err); string(code) != told { // one line per change
			text := textOf(err)
			if told = string(code); err != nil {
				a.options.Logger.WarnContext(ctx, "the log cannot be audited now; it is tried again", "reason", text)
			}
		}
		wait := a.options.Interval
		if more {
			wait = 0
		}
		_ = pause(ctx, max(wait, a.rest(a.worked))) // the end of ctx ends the loop
	}
	return nil
}

// textOf returns what an error says, without its code and what to do about it.
func textOf(err error) string {
	if e, ok := errors.AsType[*events.Error](err); ok {
		return e.What
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// rest returns the pause after work, so that it stays within the budget.
func (a *Auditor) rest(took time.Duration) time.Duration {
	budget := a.options.Budget
	if a.audit.Finding != nil {
		budget = max(budget, mendingBudget)
	}
	return time.Duration(float64(took) * (1/budget - 1))
}

// own takes the lease again and again: whoever holds it reads the log.
func (a *Auditor) own(ctx context.Context) {
	for ctx.Err() == nil {
		lease, err := a.leases.Acquire(ctx, "audit-"+a.log.Origin(), a.options.Holder)
		if err != nil {
			_ = pause(ctx, a.options.Interval) // the end of ctx ends the loop
			continue
		}
		a.lease.Store(&lease)
		select {
		case <-lease.Context().Done():
		case <-ctx.Done():
		}
		a.lease.Store(nil)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		_ = lease.Release(end) // it runs out by itself
		cancel()
	}
}

// turn looks once. It reports whether there is more to do at once.
func (a *Auditor) turn(ctx context.Context) (more bool, err error) {
	if a.audit, a.revision, err = projections.ReadJSON[Audit](ctx, a.kv, AuditKey(a.log.Origin())); err != nil {
		return false, err
	}
	found, err := standing(ctx, a.log, &a.audit)
	switch {
	case a.audit.Finding != nil:
		a.say(ctx, a.audit.Finding)
	case err == nil:
		a.say(ctx, found)
	}
	if err != nil {
		return false, err
	}
	lease := a.lease.Load()
	if lease == nil {
		a.full, a.begun = nil, false
		return false, nil
	}
	if token := (*lease).Token(); token != a.token {
		a.token, a.full, a.begun = token, nil, false
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc((*lease).Context(), func() { cancel(projections.ErrLeaseLost) }) //nolint:contextcheck // the lease's own end
	defer stop()
	more, err = a.work(ctx, found)
	if errors.Is(err, projections.ErrRevision) {
		return true, nil // somebody else has changed it: it is read again
	}
	return more, err
}

// say makes a finding the verdict, and logs a change.
func (a *Auditor) say(ctx context.Context, f *Finding) {
	before := a.verdict.Load()
	next := &said{state: State{Origin: a.log.Origin(), Known: true, Upto: a.audit.Upto(), Audited: a.audit.Audited, Full: a.audit.Full}}
	if f != nil {
		next.state.Finding = f.Kind
		next.err, next.text = f.err(a.options.Region, a.log.Origin(), a.options.Leader), string(f.Kind)+f.Text
	}
	a.verdict.Store(next)
	a.knows.Do(func() { close(a.known) })
	switch {
	case next.text == before.text:
	case f != nil:
		a.options.Logger.ErrorContext(ctx, "the log fails its audit: nothing is applied from it", "kind", string(f.Kind), "sequence", f.First, "exact", f.Exact, "reason", next.err.Error())
	default:
		a.options.Logger.InfoContext(ctx, "the log passes its audit again")
	}
}

// save writes down what was found.
func (a *Auditor) save(ctx context.Context) (err error) {
	a.revision, err = projections.WriteJSON(ctx, a.kv, AuditKey(a.log.Origin()), a.audit, a.revision)
	return err
}

// work goes on with the audit. found is what the log's standing shows.
func (a *Auditor) work(ctx context.Context, found *Finding) (more bool, err error) {
	if a.audit.Lineage == "" {
		if err := a.begin(ctx); err != nil {
			return false, err
		}
	}
	if found != nil {
		// A server that has just come back may not know all it has. Nothing is applied meanwhile; but a finding makes every read model be built again.
		before := a.suspected
		if a.suspected = found; a.audit.Finding == nil && (before == nil || !before.same(found)) {
			return false, nil
		}
		return false, a.report(ctx, found)
	}
	a.suspected = nil
	if a.audit.Finding != nil {
		return a.mend(ctx)
	}
	if err := a.rebuild(ctx); err != nil {
		return false, err
	}
	if a.full == nil && (!a.begun || time.Since(a.audit.Full) > a.options.Full) {
		a.full = &place{}
	}
	if last := a.audit.last(); a.full == nil || a.full.Sequence < last.Sequence { // otherwise the pass over the whole log is what comes to the newest marks
		more, err = a.follow(ctx, place{last.Sequence, last.Number, last.Upto})
	}
	if err != nil || more || a.full == nil {
		return more, err
	}
	return a.pass(ctx)
}

// begin remembers which log is audited.
func (a *Auditor) begin(ctx context.Context) error {
	info, err := a.log.Info(ctx)
	if err != nil {
		return err
	}
	a.audit.Origin, a.audit.Region, a.audit.Lineage, a.audit.terms = a.log.Origin(), a.options.Region, info.Terms.Lineage, info.Terms
	return a.save(ctx)
}

// follow checks the marks that came since the last good one.
func (a *Auditor) follow(ctx context.Context, from place) (more bool, err error) {
	w, f, err := a.step(ctx, from)
	if err != nil || f != nil {
		return false, errors.Join(err, a.report(ctx, f))
	}
	if len(w.good) > 0 {
		for _, g := range w.good {
			a.audit.add(g, time.Now().UTC())
		}
		a.tail = time.Now()
		return !w.end, a.save(ctx)
	}
	if time.Since(a.tail) < unmarked {
		return false, nil
	}
	a.tail = time.Now()
	f, err = a.readable(ctx, w.at, 0)
	return false, errors.Join(err, a.report(ctx, f))
}

// pass goes on with a pass over the whole log.
func (a *Auditor) pass(ctx context.Context) (more bool, err error) {
	w, f, err := a.step(ctx, *a.full)
	if err != nil || f != nil {
		return false, errors.Join(err, a.report(ctx, f))
	}
	a.full = &w.at
	before := a.audit.last().Sequence
	for _, g := range w.good {
		a.audit.add(g, time.Now().UTC())
	}
	if !w.end {
		if a.audit.last().Sequence > before {
			return true, a.save(ctx)
		}
		return true, nil
	}
	if f, err = a.readable(ctx, w.at, 0); err != nil || f != nil {
		return false, errors.Join(err, a.report(ctx, f))
	}
	a.full, a.begun, a.tail = nil, true, time.Now()
	a.audit.Full = time.Now().UTC()
	if a.audit.Finding != nil {
		return true, a.healed(ctx)
	}
	return false, a.save(ctx)
}

// step checks the next marks. What is found is looked at twice: a log may be replaced while it is read, and then its standing tells.
func (a *Auditor) step(ctx context.Context, from place) (walked, *Finding, error) {
	begun := time.Now()
	w, f, err := step(ctx, a.log, a.audit.first, from)
	if err == nil { // otherwise it was waiting
		a.worked += time.Since(begun)
	}
	if f == nil && !errors.Is(err, events.ErrForeignHistory) {
		return w, nil, err
	}
	if stands, err := standing(ctx, a.log, &a.audit); stands != nil || err != nil {
		return w, stands, err
	}
	w, f, err = step(ctx, a.log, a.audit.first, from)
	return w, f, err
}

// readable reads records that no mark covers.
func (a *Auditor) readable(ctx context.Context, from place, to uint64) (*Finding, error) {
	begun := time.Now()
	f, err := readable(ctx, a.log, a.audit.first, from, to)
	if err == nil {
		a.worked += time.Since(begun)
	}
	return f, err
}

// mend looks whether what was found is still so, and if it is not, audits the whole log before it is trusted again.
func (a *Auditor) mend(ctx context.Context) (more bool, err error) {
	if a.full != nil {
		return a.pass(ctx)
	}
	var f *Finding
	if known := a.audit.Finding; known.Kind.within() {
		if _, f, err = a.step(ctx, known.At); f == nil && err == nil && known.Chain == "" { // no mark covers it
			f, err = a.readable(ctx, known.At, known.To)
		}
	}
	if err != nil || f != nil {
		return false, errors.Join(err, a.report(ctx, f))
	}
	a.full = &place{}
	return true, nil
}

// report writes a finding down, with what other regions hold.
func (a *Auditor) report(ctx context.Context, f *Finding) error {
	if f == nil {
		return nil
	}
	a.full = nil
	known := a.audit.Finding
	fresh := known == nil || !known.same(f)
	switch {
	case fresh && known != nil && !known.Remirrored.IsZero():
		return nil // the copy is being made again: that it is not complete is no news
	case !fresh && (len(known.Holds) > 0 || time.Since(a.inquired) < inquiry):
		return nil
	case fresh:
		f.Found = time.Now().UTC()
		a.audit.Finding = f
		a.say(ctx, f)
		if err := a.save(ctx); err != nil { // before others are asked, which takes its time
			return err
		}
	}
	told := a.audit.Finding
	a.inquired = time.Now()
	next := a.inquire(ctx, told)
	if len(next.Asked) == len(told.Asked) && len(next.Holds) == len(told.Holds) {
		return nil
	}
	a.audit.Finding = next
	a.say(ctx, next)
	return a.save(ctx)
}
