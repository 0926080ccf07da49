package natslog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/internal/room"
)

// Bounds of sending. The figures were measured on two cores with nats-server 2.15.2; see DESIGN.md.
const (
	// minShare is the smallest number of entries that share a batch: below it a batch costs the server more than plain publishes.
	minShare = 8
	// maxBatchesInFlight bounds how many atomic batches one log has open; a server allows 50 per stream, for all its writers.
	maxBatchesInFlight = 8
	// maxHotBatches bounds the batches in which the entries of busy lanes share.
	maxHotBatches = 2
	// maxGroupBytes bounds a batch that is shared. A single append may have up to events.MaxBatchBytes.
	maxGroupBytes = 4 << 20
	// dissolveBy is how many parts a refused group is cut into; a refused part is sent entry by entry.
	dissolveBy = 32
	// identityAge is how long a writer trusts what it read about the stream's lineage and terms.
	identityAge = time.Second
)

// writer sends what the queue holds.
//
// Order. An entry leaves its lanes when its outcome is known, so of one entity at most one entry is in doubt or under way, and what comes
// behind it is not sent before. A copy of an earlier attempt may still arrive late, from the buffers of a broken connection; it does no
// harm: an entry that was stored is recognised by its ids, or its expectation has failed for good; one that was refused is refused
// again for the same reason. Entries of different entities have no order among each other.
type writer struct {
	origin  string
	api     natsapi.API
	id      *identity
	flights *flights
	queue   *queue
	room    *room.Room
	options Options

	ctx    context.Context // ends when the log gives up on what is unfinished
	giveUp context.CancelCauseFunc
	work   sync.WaitGroup // settling goroutines
	loops  sync.WaitGroup // run and tend
	landed chan struct{}  // has room for one: a flight of the wave landed
	aloft  atomic.Int64   // flights of the present wave
	batch  chan struct{}  // one token per batch in the air
	head   atomic.Uint64  // the highest sequence known
	busy   atomic.Bool    // something was stored since the last look at the identity
}

func newWriter(origin string, a natsapi.API, id *identity, acknowledgements *acks, o Options) (*writer, error) {
	f, err := newFlights(a.Link, acknowledgements, o.AttemptTimeout)
	if err != nil {
		return nil, err
	}
	w := &writer{
		origin: origin, api: a, id: id, flights: f, options: o, queue: newQueue(),
		room: room.New(o.MaxPending, errClosed), landed: make(chan struct{}, 1), batch: make(chan struct{}, maxBatchesInFlight),
	}
	w.ctx, w.giveUp = context.WithCancelCause(context.Background())
	a.Link.OnDenied(func(operation, subject string) {
		if operation == "Publish" {
			f.forbid(subject)
		}
	})
	w.loops.Go(w.run)
	w.loops.Go(w.tend)
	return w, nil
}

// submit queues an entry. Errors: ErrClosed, ctx's cause.
func (w *writer) submit(ctx context.Context, e *entry) error {
	e.units = min(e.units, w.options.MaxPending)
	if err := w.room.Enter(ctx, e.units); err != nil {
		return err
	}
	if !w.queue.push(e) {
		w.room.Leave(e.units)
		return errClosed()
	}
	return nil
}

// run sends what is ready, until the log gives up.
func (w *writer) run() {
	for {
		select {
		case <-w.queue.waiting:
		case <-w.ctx.Done():
			return
		}
		if w.options.Commit == GroupCommit {
			w.waves()
		} else {
			w.stream()
		}
	}
}

// stream sends everything that is ready without waiting for answers. Only busy lanes wait: what gathers in them while a batch of
// their entries is under way shares the next one, because sent one by one each would wait for the answer to the one before it.
func (w *writer) stream() {
	for {
		if e := w.queue.takeCold(); e != nil {
			w.send([]*entry{e}, func() {})
			continue
		}
		if w.aloft.Load() >= maxHotBatches {
			return // landing wakes the queue
		}
		hot, together := w.queue.takeHot(groupBounds())
		switch {
		case len(hot) == 0:
			return
		case !together:
			for i := range hot {
				w.send(hot[i:i+1:i+1], func() {})
			}
		default:
			w.aloft.Add(1)
			w.send(hot, func() {
				w.aloft.Add(-1)
				w.queue.wake()
			})
		}
	}
}

func groupBounds() bounds { return bounds{records: events.MaxBatch, bytes: maxGroupBytes} }

// waves sends what is ready as one batch, and what became ready meanwhile as the next: the longer a commit takes, the more share one.
// A few entries are sent one by one.
func (w *writer) waves() {
	for {
		wave, together := w.queue.takeWave(groupBounds())
		if len(wave) == 0 {
			return
		}
		if together {
			w.aloft.Store(1)
			w.send(wave, w.land)
		} else {
			w.aloft.Store(int64(len(wave)))
			for i := range wave {
				w.send(wave[i:i+1:i+1], w.land)
			}
		}
		for w.aloft.Load() > 0 {
			select {
			case <-w.landed:
			case <-w.ctx.Done():
				return
			}
		}
	}
}

func (w *writer) land() {
	if w.aloft.Add(-1) == 0 {
		select {
		case w.landed <- struct{}{}:
		default:
		}
	}
}

// send launches a group and finishes or settles it when it landed. then runs as soon as its first attempt has landed.
func (w *writer) send(group []*entry, then func()) {
	release := func() {}
	if len(group) > 1 || len(group[0].messages) > 1 {
		select {
		case w.batch <- struct{}{}:
			release = func() { <-w.batch }
		case <-w.ctx.Done():
		}
	}
	w.flights.launch(group, func(a answer) {
		release()
		switch {
		case a.verdict != stored:
			w.work.Go(func() { w.settle(group, a) })
		case a.sequence <= w.head.Load():
			w.work.Go(func() { w.anew(group, a.sequence) })
		default:
			w.finishStored(group, a.sequence)
		}
		then()
	})
}

// anew finishes entries that were stored below a sequence seen before: this is another stream of the same name. What was
// stored is stored there, so its position must name that history.
func (w *writer) anew(group []*entry, last uint64) {
	if _, _, err := w.id.refresh(w.ctx); err != nil {
		w.options.Logger.Warn("the log's sequences went back and its identity could not be read", "origin", w.origin, "sequence", last, "error", err)
	}
	w.head.Store(last)
	w.finishStored(group, last)
}

// attempt launches a group and waits for it to land.
func (w *writer) attempt(group []*entry) answer {
	if w.ctx.Err() != nil {
		return answer{verdict: unavailable, err: context.Cause(w.ctx)}
	}
	landed := make(chan answer, 1)
	w.flights.launch(group, func(a answer) { landed <- a })
	select {
	case a := <-landed:
		return a
	case <-w.ctx.Done():
		return answer{verdict: doubtful, err: context.Cause(w.ctx)}
	}
}

// finishStored gives every entry of a group its receipt. The records of a batch stand next to each other and last is the last of them.
func (w *writer) finishStored(group []*entry, last uint64) {
	records := 0
	for _, e := range group {
		records += len(e.messages)
	}
	w.saw(last)
	next := last - uint64(records) + 1
	for _, e := range group {
		first := next
		next += uint64(len(e.messages))
		w.finish(e, events.Receipt{Position: w.id.position(next - 1), First: first, Last: next - 1}, nil)
	}
}

func (w *writer) finish(e *entry, r events.Receipt, err error) {
	w.queue.done(e)
	w.room.Leave(e.units)
	e.finish(r, err)
}

// saw notes the sequence of something stored.
func (w *writer) saw(seq uint64) {
	w.busy.Store(true)
	for {
		head := w.head.Load()
		if seq <= head || w.head.CompareAndSwap(head, seq) {
			return
		}
	}
}

// tend lands flights that wait too long, and looks now and then whether the stream is still the same while something is being written.
func (w *writer) tend() {
	sweep := time.NewTicker(max(w.options.AttemptTimeout/16, time.Millisecond))
	defer sweep.Stop()
	for {
		epoch := w.flights.link.Present()
		var broke <-chan struct{}
		if !epoch.IsOver() {
			broke = epoch.Over()
		}
		select {
		case <-broke:
			w.flights.sweep(time.Now())
		case now := <-sweep.C:
			w.flights.sweep(now)
			w.checkIdentity()
		case <-w.ctx.Done():
			w.flights.abandon()
			return
		}
	}
}

// checkIdentity reads who the stream is once per identityAge while appends are stored.
func (w *writer) checkIdentity() {
	if w.id.age() < identityAge || !w.busy.Swap(false) {
		return
	}
	w.work.Go(func() {
		if _, _, err := w.id.refresh(w.ctx); err != nil && !errors.Is(err, events.ErrClosed) {
			w.options.Logger.Debug("the log's identity could not be read", "origin", w.origin, "error", err)
		}
	})
}

// close refuses what was not sent, waits for what was, for at most one attempt, and gives up on the rest.
func (w *writer) close() {
	w.room.Close()
	for _, e := range w.queue.close() {
		w.finish(e, events.Receipt{}, errClosed())
	}
	grace := time.NewTimer(w.options.AttemptTimeout)
	defer grace.Stop()
	for over := false; w.queue.holds() > 0 && !over; {
		select {
		case <-w.queue.empty:
		case <-grace.C:
			over = true
		}
	}
	w.giveUp(errClosed())
	w.loops.Wait()
	w.flights.abandon() // what run launched at the last moment
	w.work.Wait()
	w.flights.close()
}
