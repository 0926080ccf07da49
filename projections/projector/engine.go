package projector

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// errResync: what the store holds is not what this engine remembers. It forgets everything and starts from what is stored.
var errResync = errors.New("the read model is not at the remembered checkpoint") //nolint:gochecknoglobals // a sentinel

// errPaused: the engine stopped at a position where every partition has the same checkpoint.
var errPaused = errors.New("paused") //nolint:gochecknoglobals // a sentinel

// engine keeps one generation of one projection equal to the fold of the log.
//
// Its loop: read a batch ahead, keep whole transactions, route events to documents, load the missing ones in one round trip, fold in
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
	parts  []partition
	tip    tip
	cache  *cache
	hasher *projections.Hasher
	whole  whole
	batch  batch

	loaded  func()        // called when the history is proven and reading begins
	pause   chan struct{} // closed to ask for a stop at an even position
	applied atomic.Uint64 // the smallest checkpoint
	docs    atomic.Uint64
	head    atomic.Uint64
}

// tip is the record up to which everything has been folded. Partitions that no event touched may be behind it for a moment.
type tip struct {
	seq     uint64
	at      events.Position
	seen    events.Hash
	applied time.Time
}

// partition is what the engine remembers of a partition.
type partition struct {
	head projections.Header
	seq  uint64 // of the checkpoint

	// Of the batch being prepared:
	next    projections.Header
	writes  []projections.Write
	touched bool
}

func newEngine(p projections.Projection, log events.Reader, store projections.Store, gen projections.Generation, owner uint64, o Options) *engine {
	def := p.Definition()
	return &engine{
		proj: p, def: def, finger: def.Fingerprint(), log: log, store: store, gen: gen, owner: owner, options: o,
		cache: newCache(o.CacheDocuments), hasher: projections.NewHasher(def), pause: make(chan struct{}), loaded: func() {},
	}
}

// run keeps going until it has applied the sequence to (0: for ever), until pause is closed (errPaused), or until an error
// that only a person, a new lease or a server that comes back can mend.
func (e *engine) run(ctx context.Context, to uint64) error {
	for {
		if err := e.load(ctx); err != nil {
			return err
		}
		err := e.follow(ctx, to)
		if !errors.Is(err, errResync) {
			return err
		}
		e.options.Logger.Info("reading the stored checkpoints again", "projection", e.def.Name, "generation", e.gen.Number, "reason", err.Error())
	}
}

// load claims the partitions, makes the missing ones, proves that the log continues their history, and forgets every document.
func (e *engine) load(ctx context.Context) error {
	e.cache.clear()
	e.whole.reset()
	info, err := e.log.Info(ctx)
	if err != nil {
		return err
	}
	e.terms = info.Terms
	e.head.Store(info.Last)
	headers, err := e.store.Claim(ctx, e.gen, e.owner)
	if err != nil {
		return err
	}
	if err := e.prove(ctx, info, headers); err != nil {
		return err
	}
	e.parts, e.tip = make([]partition, len(headers)), tip{at: info.Position(0)}
	for i := range headers {
		if headers[i].State == projections.Absent {
			headers[i] = projections.Header{
				Partition: i, State: projections.Building, Owner: e.owner, Checkpoint: info.Position(0),
				Target: info.Head(), Definition: e.finger,
			}
			if err := e.store.Create(ctx, e.gen, headers[i]); err != nil {
				return err
			}
		}
		point, _ := headers[i].Checkpoint.Point(e.log.Origin())
		e.parts[i] = partition{head: headers[i], seq: point.Sequence}
		if h := &headers[i]; point.Sequence > e.tip.seq {
			e.tip = tip{seq: point.Sequence, at: h.Checkpoint, seen: h.Seen, applied: h.Applied}
		}
	}
	e.report()
	e.loaded()
	return nil
}

// follow reads from the smallest checkpoint.
func (e *engine) follow(ctx context.Context, to uint64) error {
	from := e.lowest() + 1
	if to != 0 && from > to {
		return nil
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
	waiting := false // even is running
	for {
		select {
		case records, open := <-f.batches:
			if !open {
				return e.ended(ctx, f.err)
			}
			err := e.apply(ctx, records)
			f.release()
			if err != nil {
				return err
			}
			if !waiting && e.uneven() {
				even.Reset(e.options.EvenInterval)
				waiting = true
			}
		case <-even.C:
			waiting = false
			if err := e.even(ctx); err != nil {
				return err
			}
		case <-check.C:
			if err := e.check(ctx); err != nil {
				return err
			}
		case <-e.pause:
			if err := e.even(ctx); err != nil {
				return err
			}
			return errPaused
		}
	}
}

// ended decides what the end of the feed means.
func (e *engine) ended(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return e.even(ctx)
}

// check compares the stored headers with the remembered ones, so that a store that was emptied or went back in time is noticed
// without an event.
func (e *engine) check(ctx context.Context) error {
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
		case stored.Owner != e.owner, !stored.Checkpoint.Equal(mine.Checkpoint):
			return resync("partition %d is at %s, remembered %s", i, stored.Checkpoint, mine.Checkpoint)
		}
	}
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

// uneven reports whether some partition is behind the tip.
func (e *engine) uneven() bool { return e.lowest() < e.tip.seq }

// even moves the checkpoint of partitions that no event touched up to the tip.
func (e *engine) even(ctx context.Context) error {
	if !e.uneven() {
		return nil
	}
	e.begin()
	for i := range e.parts {
		e.parts[i].touched = true
	}
	return e.commit(ctx)
}

// report publishes progress for others to read.
func (e *engine) report() {
	e.applied.Store(e.lowest())
	var docs uint64
	for i := range e.parts {
		docs += e.parts[i].head.Documents
	}
	e.docs.Store(docs)
}

// sum returns the digest, number of documents and checkpoint over all partitions. The checkpoint is zero when they differ.
func (e *engine) sum() (projections.Digest, uint64, events.Position) {
	return projections.Sum(e.headers())
}

func (e *engine) headers() []projections.Header {
	out := make([]projections.Header, len(e.parts))
	for i := range e.parts {
		out[i] = e.parts[i].head
	}
	return out
}
