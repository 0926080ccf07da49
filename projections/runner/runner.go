// Package runner runs the projections of an installation in one region: those that the catalog in the log names, and those that are compiled into the
// program, which it enters there.
//
// It looks at the catalog once a second, and at once when a projector reads that it changed. Each projection has a slot, in which one thing is done at a time: a
// projector, or a word in the status why there is none, or the dropping of what is left of it. What is to be done follows from the catalog alone
// (plan.go), so that it does not matter what was missed.
package runner

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/projector"
)

const (
	// defaultPoll is how often the catalog is looked at.
	defaultPoll = time.Second
	// maxPoll bounds the pause while it cannot be read.
	maxPoll = 10 * time.Second
	// registerPatience is how long the first start waits for the compiled-in projections to be entered. They run without that too: the leader may be out of reach.
	registerPatience = 5 * time.Second
	// registerPause is the pause before that is tried again.
	registerPause = 10 * time.Second
	// lookPatience bounds one look at the catalog.
	lookPatience = 30 * time.Second
)

// Options of a runner. The zero value works.
type Options struct {
	// Projector adjusts the projectors; its Logger and Observer are the runner's too. Earlier is the runner's own.
	Projector projector.Options
	// Poll is how often the catalog is looked at; default 1 s.
	Poll time.Duration
	// Reader returns what a projection with a source is folded from; nil: such projections are refused.
	Reader func(*projections.Source) (events.Reader, error)
}

// Runner runs projections in one region.
type Runner struct {
	own     map[string]projections.Projection
	defs    []*projections.Definition // of own
	log     events.Log
	store   projections.Store
	kv      projections.KV
	leases  projections.Leases
	options Options
	logger  *slog.Logger

	slots  map[string]*slot
	texts  texts
	enter  registrar
	looked uint64 // the catalog at which it was looked what is left behind of removed projections

	compared map[string]string // what was logged about own projections

	hint chan struct{}
	seen atomic.Uint64 // the sequence of the catalog that was read last

	mu     sync.Mutex
	wanted []string
	known  bool
	told   string // of the last failure
}

// New returns a runner of the projections that are compiled into the program, and of those in the catalog. It returns projections.ErrInvalidProjection,
// also for options out of bounds.
func New(own []projections.Projection, log events.Log, store projections.Store, kv projections.KV, leases projections.Leases, o Options) (*Runner, error) {
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	r := &Runner{
		own: make(map[string]projections.Projection, len(own)), log: log, store: store, kv: kv, leases: leases, options: o, logger: o.Projector.Logger,
		slots: make(map[string]*slot), compared: make(map[string]string), hint: make(chan struct{}, 1), texts: texts{log: log, parsed: make(map[text]parsed)},
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	r.enter = registrar{log: log, logger: r.logger}
	r.options.Projector.Control = r.noticed(o.Projector.Control)
	for _, p := range own {
		def := p.Definition()
		if _, twice := r.own[def.Name]; twice {
			return nil, events.Errorf(projections.ErrInvalidProjection, "two projections have the name %s", def.Name)
		}
		if _, err := r.projector(p, nil); err != nil {
			return nil, err
		}
		r.own[def.Name], r.defs = p, append(r.defs, def)
	}
	return r, nil
}

// projector returns the projector of a projection.
func (r *Runner) projector(p projections.Projection, earlier []projector.Version) (*projector.Projector, error) {
	o := r.options.Projector
	o.Earlier = earlier
	log, err := r.reader(p.Definition().Source)
	if err != nil {
		return nil, err
	}
	return projector.New(p, log, r.store, r.kv, r.leases, o)
}

// reader returns what a projection is folded from.
func (r *Runner) reader(source *projections.Source) (events.Reader, error) {
	switch {
	case source == nil:
		return r.log, nil
	case r.options.Reader == nil:
		return nil, events.Errorf(projections.ErrInvalidProjection, "the stream %s cannot be read here; nothing was folded", source.Stream)
	}
	return r.options.Reader(source)
}

// noticed returns what projectors tell of control records: a newer catalog is looked at now.
func (r *Runner) noticed(also func(*events.Record)) func(*events.Record) {
	return func(record *events.Record) {
		if also != nil {
			also(record)
		}
		if record.Control.Name != catalog.Control || record.Sequence <= r.seen.Load() {
			return
		}
		select {
		case r.hint <- struct{}{}:
		default: // it is going to look anyway
		}
	}
}

// Run runs the projections until ctx ends, and then returns nil. A log that does not answer is waited for; what runs goes on meanwhile.
func (r *Runner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	// The end: nothing new begins, each slot ends what it does, and whoever enters our projections.
	defer running.Wait()
	defer cancel()
	wait := r.options.Poll
	for ctx.Err() == nil {
		err := r.look(ctx, &running)
		if ctx.Err() != nil {
			break
		}
		r.tell(ctx, err)
		if wait = min(2*wait, maxPoll); err == nil {
			wait = r.options.Poll
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-r.hint:
		case <-ctx.Done():
		}
		t.Stop()
	}
	return nil
}

// tell logs a failure once, and its end.
func (r *Runner) tell(ctx context.Context, err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	if said == r.told {
		return
	}
	if r.told = said; said == "" {
		r.logger.InfoContext(ctx, "the catalog of projections can be read again")
		return
	}
	r.logger.WarnContext(ctx, "the catalog of projections cannot be followed; what runs goes on", "reason", said)
}

// look reads the catalog and gives every slot what it has to do.
func (r *Runner) look(ctx context.Context, running *sync.WaitGroup) error {
	reading, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	c, err := catalog.Read(reading, r.log)
	if err != nil {
		return err
	}
	patience := time.Duration(0)
	if !r.isKnown() {
		patience = registerPatience
	}
	if r.enter.offer(ctx, c, r.defs, running, patience) {
		if c, err = catalog.Read(reading, r.log); err != nil {
			return err
		}
	}
	r.seen.Store(c.Sequence)
	plans, wanted, err := r.plan(reading, c)
	for name, p := range plans {
		r.slot(ctx, name, running).set(p)
	}
	r.mu.Lock()
	r.wanted, r.known = wanted, true
	r.mu.Unlock()
	return err
}

// slot returns the slot of a projection, which works from now on.
func (r *Runner) slot(ctx context.Context, name string, running *sync.WaitGroup) *slot {
	s := r.slots[name]
	if s == nil {
		s = newSlot(name, r.options.Projector.Observer, r.logger)
		r.slots[name] = s
		running.Go(func() { s.run(ctx) })
	}
	return s
}

func (r *Runner) isKnown() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

// Wanted returns the names of the projections that should be followed here, sorted, those that this program cannot run among them; and whether that is known:
// false as long as the catalog has not been read.
func (r *Runner) Wanted() ([]string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wanted), r.known
}
