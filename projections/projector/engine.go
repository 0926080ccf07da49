package projector

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/skips"
)

// errResync: what the store holds is not what this engine remembers. It forgets everything and starts from what is stored.
var errResync = errors.New("the read model is not as remembered")

// errPaused: the engine stopped because it was asked to, with no partition behind the tip.
var errPaused = errors.New("paused")

// maxResyncWait bounds the pause between two resyncs that brought nothing.
const maxResyncWait = time.Second

// engine keeps one generation of one projection equal to the fold of the log.
//
// Its loop: read a batch, keep whole transactions, route events to documents, load the missing ones in one round trip, fold in
// memory, and commit what changed in one atomic step per partition. The checkpoint is compared and set with the data, so a
// crash, a second projector or a store that went back in time can never make an event count twice or not at all.
type engine struct {
	proj    projections.Projection
	def     *projections.Definition
	finger  string // the definition's fingerprint
	log     events.Reader
	store   projections.Store
	gen     projections.Generation
	owner   uint64
	options Options

	terms  events.Terms
	sparse bool // the log is a stream that is not ours, from which records may be missing
	parts  []partition
	tip    tip
	next   uint64 // the sequence to read next
	cache  *cache
	hasher *projections.Hasher
	// indexer is nil when there are no indexes.
	indexer *projections.Indexer
	expiry  expiry
	whole   whole
	batch   batch

	skipName string      // of the projection's skip records
	skips    *skips.List // recorded so far; nil: not read yet

	// wanted is asked before missing partitions are made: a projector that slept must not bring back a generation that was dropped.
	wanted func(context.Context) error
	// follows is called when log and store work. After trouble that is only said once something was done with both.
	follows  func()
	troubled bool
	told     bool // follows was called since reading began

	// repairs that were asked for; nil: none can be.
	repairs <-chan *repairing

	// demands of readers that wait; nil: nobody can tell.
	demands <-chan projections.Demand

	// base says what a generation begins with of which nothing is there; its zero value: with the first record.
	base base
	// copies are snapshots to be taken, and copying the one that is; nil: none.
	copies  <-chan *copying
	copying *copying
	// pace is asked before records are applied, and waits as long as they may not be yet; nil: they may.
	pace func(ctx context.Context, records int) error

	pause  chan struct{} // closed to ask for a stop
	restAt uint64        // the lowest sequence at which to stop; set before pause is closed

	panics map[string]bool // texts whose stack was logged

	// What the log said about its head when it was asked last; zero while it does not answer.
	head  uint64
	asked time.Time

	proofs map[uint64]*projections.PartitionMark // of marks, by sequence: what all partitions together are there; nil until they have passed it

	mark newestMark // that every partition has passed, for the observer

	applied atomic.Uint64 // the smallest checkpoint
	reached atomic.Uint64 // up to where records were folded
	docs    atomic.Uint64
	live    atomic.Bool // queries are answered from this generation
}

// tip is the record up to which every event has been folded into every partition. Between two runs the partitions' checkpoints
// may differ, so it begins at the smallest of them: a partition whose stored checkpoint is ahead of the tip is left alone until
// the tip has come there. A partition that no event touched may be behind it for a moment.
type tip struct {
	seq     uint64
	at      events.Position
	seen    events.Hash
	applied time.Time
}

// partition is what the engine remembers of a partition.
type partition struct {
	head  projections.Header
	seq   uint64   // of the checkpoint
	wants []uint64 // the sequences that readers wait for, rising; see demand.go
	marks []projections.PartitionMark

	// Of the batch being prepared:
	next             projections.Header
	writes           []projections.Write
	touched          bool
	stray            uint64                      // sequence of the last unrouted event
	passed           []projections.PartitionMark // marks, with those of the batch
	marked, unmarked []projections.PartitionMark // those to record, and those to forget
}

func newEngine(p projections.Projection, log events.Reader, store projections.Store, gen projections.Generation, owner uint64, o Options) *engine {
	def := p.Definition()
	return &engine{
		proj: p, def: def, finger: def.Fingerprint(), log: log, store: store, gen: gen, owner: owner, options: o,
		cache: newCache(o.CacheDocuments), hasher: projections.NewHasher(def), indexer: projections.NewIndexer(def), expiry: expiryOf(def), pause: make(chan struct{}),
		skipName: skips.Name(def.Name), wanted: func(context.Context) error { return nil }, follows: func() {},
	}
}

// run keeps going until it has applied the sequence to (0: for ever), until pause is closed (errPaused), or until an error
// that only a person, a new lease or a server that comes back can mend.
func (e *engine) run(ctx context.Context, to uint64) error {
	return e.keep(ctx, func() error { return e.follow(ctx, to) })
}

// settle makes a generation of a stream in which nothing was ever stored: it is complete as it is made.
func (e *engine) settle(ctx context.Context) error {
	return e.keep(ctx, func() error { return e.even(ctx) })
}

// keep loads and works, and begins anew whenever what is stored is not what is remembered.
func (e *engine) keep(ctx context.Context, work func() error) error {
	var wait time.Duration
	for {
		before := e.applied.Load()
		err := e.load(ctx)
		if err == nil {
			err = work()
		}
		if !errors.Is(err, errResync) {
			return err
		}
		e.options.Logger.InfoContext(ctx, "reading the stored checkpoints again", "generation", e.gen.Number, "reason", err.Error())
		if e.options.Observer != nil {
			e.options.Observer.Resynced(e.def.Name)
		}
		if e.applied.Load() > before {
			wait = 0
			continue
		}
		sleep(ctx, wait) // so that a store that contradicts itself is not asked without end
		wait = min(max(2*wait, minWait), maxResyncWait)
	}
}

// load claims the partitions, proves that the log continues their history, makes the missing ones, and forgets every document.
//
// The log is asked after the partitions were claimed: whatever their owner before could still commit is in the log by then.
func (e *engine) load(ctx context.Context) error {
	e.cache.clear()
	e.whole.reset()
	e.expiry.forget()
	e.skips = nil
	e.abandon("the stored checkpoints are read again")
	headers, err := e.store.Claim(ctx, e.gen, e.owner)
	if err != nil {
		return e.refused(err)
	}
	info, err := e.prove(ctx, headers)
	if err != nil {
		return err
	}
	if err := e.options.trusted(e.def); err != nil {
		return err
	}
	if err := e.revive(ctx, headers); err != nil {
		return err
	}
	if err := e.found(ctx, info, headers); err != nil {
		return err
	}
	if err := e.create(ctx, info, headers); err != nil {
		return err
	}
	e.terms, e.sparse = info.Terms, info.Sparse
	marks, err := e.recorded(ctx, headers)
	if err != nil {
		return err
	}
	e.parts = make([]partition, len(headers))
	for i := range headers {
		point, _ := headers[i].Checkpoint.Point(e.log.Origin())
		e.parts[i] = partition{head: headers[i], seq: point.Sequence, marks: marks[i]}
		if h := &headers[i]; i == 0 || point.Sequence < e.tip.seq {
			e.tip = tip{seq: point.Sequence, at: h.Checkpoint, seen: h.Seen, applied: h.Applied}
		}
	}
	e.asks(info, nil)
	e.remember(ctx)
	e.retarget(info.Head())
	e.report()
	e.stood()
	return nil
}

// revive makes partitions of the live generation live that are retired: a store that went back in time may remember when it was not the live one.
func (e *engine) revive(ctx context.Context, headers []projections.Header) error {
	for i := range headers {
		if headers[i].State != projections.Retired || !e.live.Load() {
			continue
		}
		next := headers[i]
		next.State, next.Owner = projections.Live, e.owner
		if err := e.store.Apply(ctx, e.gen, e.def, []projections.Commit{{Partition: i, Expect: next.Checkpoint, Next: next}})[0]; err != nil {
			return e.refusal(err)
		}
		headers[i] = next
	}
	return nil
}

// create makes the missing partitions.
func (e *engine) create(ctx context.Context, info events.Info, headers []projections.Header) error {
	asked := false
	for i := range headers {
		if headers[i].State != projections.Absent {
			continue
		}
		if !asked {
			if err := e.reaches(ctx, info); err != nil {
				return err
			}
			if err := e.wanted(ctx); err != nil {
				return err
			}
			asked = true
		}
		headers[i] = projections.Header{
			Partition: i, State: projections.Building, Owner: e.owner, Checkpoint: info.Position(0),
			Target: info.Head(), Definition: e.finger,
		}
		err := e.store.Create(ctx, e.gen, headers[i])
		if errors.Is(err, projections.ErrFenced) {
			return resync("somebody else made partition %d", i) // claiming tells whether by a newer lease
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// retarget gives partitions that are being built a new target when theirs was in a tail that a failover left behind: nothing
// would ever reach it.
func (e *engine) retarget(target events.Position) {
	for i := range e.parts {
		p := &e.parts[i]
		if p.head.State == projections.Building && e.histories().Covers(target, p.head.Target) == events.Lost {
			p.head.Target, p.next.Target = target, target
		}
	}
}

// follow reads on from the tip.
func (e *engine) follow(ctx context.Context, to uint64) error {
	from := e.tip.seq + 1
	if to != 0 && from > to {
		return nil
	}
	e.next, e.told = from, false
	if !e.troubled {
		e.works()
	}
	f := newFeed(ctx, func(ctx context.Context) iter.Seq2[[]events.Record, error] {
		return e.log.Read(ctx, events.Range{From: from, To: to, Follow: to == 0, Batch: e.options.Batch})
	})
	defer f.stop()
	check := time.NewTicker(e.options.CheckInterval)
	defer check.Stop()
	even := time.NewTimer(time.Hour)
	defer even.Stop()
	even.Stop()
	waiting := e.uneven() // even is running
	if waiting {
		even.Reset(e.options.EvenInterval)
	}
	pause, resting := e.pause, false
	demands, repairs, copies := e.wishes(to)
	defer e.abandon("the read model is not followed any more")
	for {
		if resting && e.tip.seq >= e.restAt {
			if err := e.even(ctx); err != nil {
				return err
			}
			return errPaused
		}
		select {
		case records, open := <-f.batches:
			if !open {
				return e.ended(ctx, to, f.err)
			}
			err := e.take(ctx, records)
			f.release()
			if err != nil {
				return err
			}
			if !waiting && e.uneven() {
				even.Reset(e.options.EvenInterval)
				waiting = true
			}
		case d := <-demands:
			e.want(d)
			if err := e.oblige(ctx); err != nil {
				return err
			}
		case r := <-repairs:
			if err := e.answer(ctx, r); err != nil {
				return err
			}
		case c := <-copies:
			e.abandon("another one was asked for")
			e.copying = c
		case <-even.C:
			waiting = false
			if err := e.even(ctx); err != nil {
				return err
			}
		case <-check.C:
			if err := e.check(ctx); err != nil {
				return err
			}
			e.works()
		case <-pause:
			pause, resting = nil, true
		}
	}
}

// wishes returns what others ask of the engine: nothing, while it is built up to a sequence, for queries are not answered from it then.
func (e *engine) wishes(to uint64) (<-chan projections.Demand, <-chan *repairing, <-chan *copying) {
	if to != 0 {
		return nil, nil, nil
	}
	return e.demands, e.repairs, e.copies
}

// take applies a batch of records.
func (e *engine) take(ctx context.Context, records []events.Record) error {
	err := e.paced(ctx, len(records))
	if err == nil {
		records, err = e.standAt(ctx, records)
	}
	if err == nil && len(records) > 0 {
		err = e.apply(ctx, records)
	}
	if err == nil {
		err = e.oblige(ctx)
	}
	if err == nil {
		e.works()
	}
	return err
}

// paced waits until records may be applied.
func (e *engine) paced(ctx context.Context, records int) error {
	if e.pace == nil {
		return nil
	}
	return e.pace(ctx, records)
}

// works says that log and store do, once.
func (e *engine) works() {
	if !e.told {
		e.told, e.troubled = true, false
		e.follows()
	}
}

// ended decides what the end of the feed means.
func (e *engine) ended(ctx context.Context, to uint64, err error) error {
	switch {
	case err != nil:
		if refuses(err) {
			_ = e.even(ctx) // what was read before is right: all partitions stand there
		}
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case to == 0:
		return events.Errorf(events.ErrUnreachable, "following the log of %s ended at %d", e.log.Origin(), e.tip.seq)
	}
	return e.even(ctx)
}

// check compares the stored headers with the remembered ones, and the place in the log with the log's history, so that a store that was
// emptied or went back in time, and a log that was replaced, are noticed without an event.
func (e *engine) check(ctx context.Context) error {
	if err := e.options.trusted(e.def); err != nil {
		return err
	}
	// A log that does not answer this is no reason to forget everything: whoever reads it will say so.
	info, err := e.log.Info(ctx)
	e.asks(info, err)
	if err == nil {
		if (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), e.tip.at) != events.Yes {
			return resync("the log is at %s now, and was read up to %s", info.Head(), e.tip.at)
		}
	}
	headers, err := e.store.Headers(ctx, e.gen)
	if err != nil {
		return err
	}
	for i := range headers {
		mine := &e.parts[i].head
		switch stored := &headers[i]; {
		case stored.State == projections.Absent:
			return resync("partition %d is gone", i)
		case stored.Owner > e.owner:
			return events.Errorf(projections.ErrFenced, "partition %d of %s is owned under the newer lease %d", i, e.def.Name, stored.Owner)
		case stored.State == projections.Retired && e.live.Load():
			return resync("partition %d is retired, and it is of the live generation", i)
		case stored.Owner != e.owner, !stored.Checkpoint.Equal(mine.Checkpoint):
			return resync("partition %d is at %s, remembered %s", i, stored.Checkpoint, mine.Checkpoint)
		}
	}
	e.stood()
	return nil
}

// lowest returns the smallest checkpoint.
func (e *engine) lowest() uint64 {
	low := e.parts[0].seq
	for i := range e.parts {
		low = min(low, e.parts[i].seq)
	}
	return low
}

// highest returns the largest checkpoint. Only soon after a crash it is ahead of the tip.
func (e *engine) highest() (high uint64) {
	for i := range e.parts {
		high = max(high, e.parts[i].seq)
	}
	return high
}

// uneven reports whether some partition is behind the tip, or complete and not live yet.
func (e *engine) uneven() bool {
	for i := range e.parts {
		if p := &e.parts[i]; p.seq < e.tip.seq || e.complete(p) {
			return true
		}
	}
	return false
}

// even moves the checkpoint of partitions that no event touched up to the tip.
func (e *engine) even(ctx context.Context) error {
	if !e.uneven() {
		return nil
	}
	e.begin()
	e.touchAll()
	if err := e.commit(ctx); err != nil {
		return err
	}
	e.committed(ctx, nil)
	return nil
}

// report publishes progress for others to read.
func (e *engine) report() {
	e.applied.Store(e.lowest())
	e.reached.Store(e.tip.seq)
	var docs uint64
	for i := range e.parts {
		docs += e.parts[i].head.Documents
	}
	e.docs.Store(docs)
}

// sum returns the digest, number of documents and checkpoint over all partitions. The checkpoint is zero when they differ.
func (e *engine) sum() (projections.Digest, uint64, events.Position) {
	headers := make([]projections.Header, len(e.parts))
	for i := range e.parts {
		headers[i] = e.parts[i].head
	}
	return projections.Sum(headers)
}

func (e *engine) histories() events.Histories { return events.Histories{e.log.Origin(): e.terms} }
