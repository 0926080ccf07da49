// Package projector keeps the read models of a region equal to the fold of the log.
//
// A Projector owns one projection in one region: it takes the lease, follows the log with the live generation, and
// executes replays, which build a new generation beside the live one. The work on one generation is in engine.go.
package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Options of a projector. The zero value works.
type Options struct {
	// Partitions of a new generation; default projections.DefaultPartitions.
	Partitions int
	// Batch bounds the records folded at once; default events.DefaultReadBatch.
	Batch int
	// CacheDocuments bounds the documents kept in memory; default 100,000.
	CacheDocuments int
	// EvenInterval is how long a partition that no event touches may stay behind while nobody waits for it; default 200 ms.
	EvenInterval time.Duration
	// CheckInterval is how often the stored checkpoints are compared with the remembered ones; default 1 s.
	CheckInterval time.Duration
	// RetireDelay is how long a generation that was replaced is kept for readers that still hold it; default 5 s.
	RetireDelay time.Duration
	// Holder names this process to whoever waits for its lease; default "projector".
	Holder string
	// Logger gets one line per change of state; default: none. Lines have the keys projection and origin; others are theirs.
	Logger *slog.Logger
	// Signals tell who waits, and are told what moved; default: none, and readers find out by themselves.
	Signals projections.Signals
	// Observer is told what happens; default: none, which costs nothing.
	Observer Observer
	// Earlier are versions of the projection before this one. While one of them is live, it is followed until this version is built beside it; one
	// that is not at hand answers from where it stands.
	Earlier []Version
	// Region names where snapshots are taken.
	Region string
	// Snapshots are what read models can begin with, and where they are copied to; nil: neither is done.
	Snapshots projections.Snapshots
	// Witnesses asks other regions what their read models of a projection were at the marks that they passed; nil: nobody is asked.
	Witnesses func(ctx context.Context, projection string) []Witness
	// Keep is how long the generation before goes on being followed after a replay took its place, so that it can take over again. 0: it is dropped at once.
	Keep time.Duration
	// SnapshotInterval is how often a snapshot is taken; 0: only when one is asked for. SnapshotCount is how many of a version are kept; default 3.
	SnapshotInterval time.Duration
	SnapshotCount    int
	// Trust is asked before each batch is applied, and says why nothing is to be applied from the installation's log now, or nil. Its error is shown as a refusal, and it is asked
	// again. It must not wait, and may be called by several goroutines. Default: the log is trusted.
	Trust func() error
	// Control is told of each control record that is read, before its batch is committed, by several goroutines; it must not wait. Default: nobody is.
	Control func(*events.Record)
}

// Version is a version of a projection, and what it is folded from: another version may be folded from another log.
type Version struct {
	Projection projections.Projection
	Log        events.Reader
}

const (
	defaultCache       = 100_000
	defaultEven        = 200 * time.Millisecond
	defaultCheck       = time.Second
	defaultRetireDelay = 5 * time.Second
	defaultSnapshots   = 3

	// Waiting for a server that does not answer starts at minWait and doubles up to maxWait.
	minWait = 50 * time.Millisecond
	maxWait = 5 * time.Second
	// refusedWait is how often a projector that refused looks whether its reason is gone.
	refusedWait = 5 * time.Second
	// maxBatch bounds the records folded at once: they are in memory together.
	maxBatch = 100_000
)

func (o Options) withDefaults() Options {
	if o.Partitions == 0 {
		o.Partitions = projections.DefaultPartitions
	}
	if o.Batch == 0 {
		o.Batch = events.DefaultReadBatch
	}
	if o.CacheDocuments == 0 {
		o.CacheDocuments = defaultCache
	}
	if o.EvenInterval == 0 {
		o.EvenInterval = defaultEven
	}
	if o.CheckInterval == 0 {
		o.CheckInterval = defaultCheck
	}
	if o.RetireDelay == 0 {
		o.RetireDelay = defaultRetireDelay
	}
	if o.SnapshotCount == 0 {
		o.SnapshotCount = defaultSnapshots
	}
	if o.Holder == "" {
		o.Holder = "projector"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate(name string) error {
	bad := func(what string, value any, bounds string) error {
		return events.Errorf(projections.ErrInvalidProjection, "projection %q: the option %s is %v, outside %s", name, what, value, bounds)
	}
	switch {
	case o.Partitions < 1 || o.Partitions > projections.MaxPartitions:
		return bad("Partitions", o.Partitions, fmt.Sprintf("1 to %d", projections.MaxPartitions))
	case o.Batch < 1 || o.Batch > maxBatch:
		return bad("Batch", o.Batch, fmt.Sprintf("1 to %d", maxBatch))
	case o.CacheDocuments < 1:
		return bad("CacheDocuments", o.CacheDocuments, "1 and more")
	case o.EvenInterval < 0:
		return bad("EvenInterval", o.EvenInterval, "0 and more")
	case o.CheckInterval < 0:
		return bad("CheckInterval", o.CheckInterval, "0 and more")
	case o.RetireDelay < 0:
		return bad("RetireDelay", o.RetireDelay, "0 and more")
	case o.Keep < 0:
		return bad("Keep", o.Keep, "0 and more")
	case o.SnapshotInterval < 0:
		return bad("SnapshotInterval", o.SnapshotInterval, "0 and more")
	case o.SnapshotCount < 1:
		return bad("SnapshotCount", o.SnapshotCount, "1 and more")
	}
	return nil
}

// Projector owns one projection in one region.
type Projector struct {
	proj    projections.Projection
	def     *projections.Definition
	log     events.Reader
	store   projections.Store
	kv      projections.KV
	leases  projections.Leases
	options Options
	status  statusWriter
	retired chan struct{} // wakes the sweeper; holds one
	demands chan projections.Demand
	repairs chan *repairing
	copies  chan *copying
}

// New returns a projector. It returns ErrInvalidProjection, also for options out of bounds.
func New(p projections.Projection, log events.Reader, store projections.Store, kv projections.KV, leases projections.Leases, o Options) (*Projector, error) {
	def := p.Definition()
	if err := def.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if err := o.validate(def.Name); err != nil {
		return nil, err
	}
	if def.Source != nil && def.Source.Origin != log.Origin() {
		return nil, events.Errorf(projections.ErrInvalidProjection, "projection %q is folded from %s, the stream %s, and was given %s",
			def.Name, def.Source.Origin, def.Source.Stream, log.Origin())
	}
	o.Logger = o.Logger.With("projection", def.Name, "origin", log.Origin())
	return &Projector{
		proj: p, def: def, log: log, store: store, kv: kv, leases: leases, options: o, retired: make(chan struct{}, 1), demands: make(chan projections.Demand, demandRoom),
		repairs: make(chan *repairing), copies: make(chan *copying),
		status: statusWriter{kv: kv, def: def, holder: o.Holder, log: o.Logger, observer: o.Observer},
	}, nil
}

// Run keeps the read model up to date until ctx ends, and then returns nil. Servers that do not answer are waited for; a
// lost lease is waited for again; a history that is not ours is refused, shown in the status, and looked at again from time to time.
// A Projector runs once at a time.
func (p *Projector) Run(ctx context.Context) error {
	wait := minWait
	for ctx.Err() == nil {
		began := time.Now()
		err := p.turn(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > maxWait {
			wait = minWait // it worked for a while
		}
		if refuses(err) {
			p.status.set(ctx, projections.ProjectorRefused, 0, err)
			sleep(ctx, refusedWait)
			continue
		}
		p.status.set(ctx, projections.ProjectorWaiting, 0, err)
		sleep(ctx, wait)
		wait = min(2*wait, maxWait)
	}
	return nil //nolint:nilerr // the end of ctx is no failure
}

// turn takes the lease and works until the lease is lost or something fails.
func (p *Projector) turn(ctx context.Context) (err error) {
	lease, err := p.leases.Acquire(ctx, leaseOf(p.def.Name), p.options.Holder)
	if err != nil {
		return err
	}
	defer release(ctx, lease)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(lease.Context(), func() { cancel(context.Cause(lease.Context())) }) //nolint:contextcheck // the lease's own end
	defer stop()
	p.status.own(lease.Token())
	err = p.own(ctx, lease.Token())
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// own works under a lease: the live generation and the sweeper in the background, replays in front.
func (p *Projector) own(ctx context.Context, token uint64) error {
	pointer, err := p.pointer(ctx)
	if err != nil {
		return err
	}
	live, kept := &follower{p: p}, &follower{p: p, quiet: true}
	if v, ok := p.version(pointer.Definition); ok {
		live.engine = p.engine(v, pointer.Live(p.def.Name), token)
		live.engine.live.Store(true)
	}
	again, err := p.upgrade(ctx, pointer, live)
	if err != nil {
		return err
	}
	if live.engine == nil {
		p.status.set(ctx, projections.ProjectorStarting, 0, nil) // its generation has to be built first
	}
	// The end, in this order: the live engine and the watch on replays, then the sweeper and the heartbeat.
	var behind sync.WaitGroup
	defer behind.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	behind.Go(func() { p.sweep(ctx) })
	behind.Go(func() { p.status.beat(ctx) })
	behind.Go(func() { p.repairer(ctx) })
	behind.Go(func() { p.snapshotter(ctx) })
	if s := p.options.Signals; s != nil {
		defer s.Demands(p.def.Name, p.demand)()
	}
	live.start(ctx, 0)
	defer live.stop()
	defer kept.stop()
	return p.watch(ctx, token, live, kept, again)
}

// ours is the version that this projector is for.
func (p *Projector) ours() Version { return Version{Projection: p.proj, Log: p.log} }

// version returns the version with a definition: ours, or an earlier one that is at hand.
func (p *Projector) version(finger string) (Version, bool) {
	if finger == p.def.Fingerprint() {
		return p.ours(), true
	}
	for _, earlier := range p.options.Earlier {
		if finger == earlier.Projection.Definition().Fingerprint() {
			return earlier, true
		}
	}
	return Version{}, false
}

// watch executes the replays that are asked for, and returns the live engine's error when that ends. After again, unless it is 0, our version is asked for.
func (p *Projector) watch(ctx context.Context, token uint64, live, kept *follower, again time.Duration) error {
	requests := make(chan error)
	watching, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	watcher.Go(func() { p.requests(watching, requests) })
	retry := timerOf(again)
	if err := p.followKept(ctx, token, kept); err != nil {
		return err
	}
	expire, err := p.expire(ctx, kept)
	if err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case err = <-requests:
			if err == nil {
				err = p.replay(ctx, token, live, kept)
			}
			if err == nil {
				expire, err = p.expire(ctx, kept)
			}
			if err == nil && !p.isOurs(live) { // that was a replay of a version before, or one that failed: ours is still to be asked for
				retry, err = p.ask(ctx, live)
			}
		case <-retry:
			retry, err = p.ask(ctx, live)
		case <-expire:
			expire, err = p.expire(ctx, kept)
		case <-live.done:
			if !refuses(live.err) {
				return live.err
			}
			// A replay is what mends a refusal, so the lease is kept.
			p.status.set(ctx, projections.ProjectorRefused, live.engine.gen.Number, live.err)
			live.stop()
			live.start(ctx, refusedWait)
		}
		if err != nil {
			return err
		}
	}
}

// timerOf returns a channel that yields after d; never when d is 0.
func timerOf(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

// isOurs reports whether our own version is live.
func (p *Projector) isOurs(live *follower) bool {
	return live.engine != nil && live.engine.finger == p.def.Fingerprint()
}

// requests sends nil to out for each change of the projection's replay, and the error that ends the watch.
func (p *Projector) requests(ctx context.Context, out chan<- error) {
	send := func(err error) bool {
		select {
		case out <- err:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for _, err := range p.kv.Watch(ctx, projections.ReplayKey(p.def.Name)) {
		if !send(err) || err != nil {
			return
		}
	}
	send(events.Errorf(events.ErrUnreachable, "the watch on replays of %s ended", p.def.Name))
}

func (p *Projector) engine(v Version, gen projections.Generation, token uint64) *engine {
	e := newEngine(v.Projection, v.Log, p.store, gen, token, p.options)
	e.wanted = func(ctx context.Context) error { return p.wanted(ctx, gen.Number) }
	e.demands, e.repairs, e.copies = p.demands, p.repairs, p.copies
	e.base.snapshots = p.snapshotsOf(v)
	return e
}

// refuses reports whether an error stays until a person decides: going on would fold what must not be folded.
func refuses(err error) bool {
	for _, code := range [...]events.Code{
		events.ErrForeignHistory, events.ErrHole, events.ErrEvicted, events.ErrDamaged, events.ErrUnsafeLog, events.ErrLostPosition, projections.ErrUntrustedLog,
		projections.ErrDocumentDamaged, projections.ErrDefinitionChanged, projections.ErrVersionLowered, projections.ErrNamespaceTaken, projections.ErrWrongType,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// trusted returns why nothing is to be applied from what a projection is folded from, or nil. Streams that are not ours are nobody's to judge.
func (o *Options) trusted(def *projections.Definition) error {
	if o.Trust == nil || def.Source != nil {
		return nil
	}
	return o.Trust()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
