package query

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// A read that waits looks again after firstPoll, then after twice as long, up to lastPoll, and up to latePoll once it has waited for lateAfter; unless it hears
	// something earlier.
	firstPoll = time.Millisecond
	lastPoll  = 25 * time.Millisecond
	latePoll  = 100 * time.Millisecond
	lateAfter = 250 * time.Millisecond
	// It posts its demand at once, again after firstDemand in case that it was lost, and then after twice as long, up to lastDemand.
	firstDemand = 50 * time.Millisecond
	lastDemand  = time.Second
	// switches bounds how often one request follows a generation that is being replaced.
	switches = 5
)

// question is what a read asks of the live generation, or of a copy.
type question struct {
	projection string
	// at is the copy that is asked instead; empty: the live generation.
	at string
	// pin is what must still be read; the zero pin: anything.
	pin pin
	// from returns the partitions that the answer is from.
	from func(m *model) projections.PartitionSet
	// do asks, and returns the header of the partition that says least.
	do func(ctx context.Context, m *model) (projections.Header, error)
}

// everywhere is from all partitions.
func everywhere(m *model) projections.PartitionSet {
	return projections.AllPartitions(m.gen.Partitions)
}

// read asks the live generation until the header may answer and covers what is wanted.
func (r *Reader) read(ctx context.Context, q question, o Options) (model, projections.Header, error) {
	wait, err := o.wait()
	if err != nil {
		return model{}, projections.Header{}, err
	}
	if q.at = o.At; q.at != "" {
		m, h, err := r.readCopy(ctx, &q, o, wait)
		return m, h, caused(ctx, err)
	}
	begun := time.Now()
	if !o.Waits() {
		m, h, err := r.look(ctx, &q)
		if err == nil {
			err = r.judge(ctx, &m, h, events.Position{})
		}
		return m, h, caused(ctx, err)
	}
	m, err := r.models.get(ctx, q.projection, "", false) // an unknown one is no reason to ask the leader
	if err != nil {
		return model{}, projections.Header{}, caused(ctx, err)
	}
	wanted, err := o.wanted(ctx, r.headsOf(&m), wait)
	if err != nil {
		return model{}, projections.Header{}, caused(ctx, err)
	}
	return r.await(ctx, &q, wanted, begun.Add(wait))
}

// await asks until the header covers a position, or until a deadline.
func (r *Reader) await(ctx context.Context, q *question, wanted events.Position, deadline time.Time) (model, projections.Header, error) {
	waiter := r.waiting.join(q.projection, lowestSequence(wanted))
	defer r.waiting.leave(waiter)
	begun := time.Now()
	demandAt, demandGap := begun, firstDemand
	for poll := firstPoll; ; poll *= 2 {
		m, h, err := r.look(ctx, q)
		if err != nil {
			return m, h, caused(ctx, err)
		}
		verdict := r.judge(ctx, &m, h, wanted)
		behind := errors.Is(verdict, projections.ErrNotReached)
		if verdict == nil || !behind && !errors.Is(verdict, projections.ErrUnavailable) || !time.Now().Before(deadline) {
			return m, h, verdict
		}
		now := time.Now()
		if behind && !now.Before(demandAt) {
			r.waiting.demand(projections.Demand{Projection: q.projection, Partitions: q.from(&m), Position: wanted})
			demandAt, demandGap = now.Add(demandGap), min(2*demandGap, lastDemand)
		}
		if most := lastPoll; poll > most {
			if now.Sub(begun) > lateAfter {
				most = latePoll
			}
			poll = min(poll, most)
		}
		if err := waiter.wait(ctx, q.from(&m), min(poll, time.Until(deadline))); err != nil {
			return m, h, err
		}
	}
}

// caused returns why ctx ended, if it did: what failed then says nothing.
func caused(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// look asks the live generation, or the copy. When that turns out to be replaced or missing, it looks whether another one is there now.
func (r *Reader) look(ctx context.Context, q *question) (model, projections.Header, error) {
	m, err := r.models.get(ctx, q.projection, q.at, false)
	if err == nil && q.pin.generation != 0 && m.pin() != q.pin {
		m, err = r.models.get(ctx, q.projection, q.at, true) // what is known may be older than what was pinned
	}
	for range switches {
		if err != nil {
			return m, projections.Header{}, err
		}
		if q.pin.generation != 0 && m.pin() != q.pin {
			return m, projections.Header{}, m.notPinned(q.pin)
		}
		h, err := q.do(ctx, &m)
		if err != nil || h.State != projections.Retired && h.State != projections.Absent {
			return m, h, err
		}
		now, err := r.models.get(ctx, q.projection, q.at, true)
		if err != nil || now.gen == m.gen {
			return m, h, err
		}
		m = now
	}
	return m, projections.Header{}, events.Errorf(projections.ErrUnavailable, "the read model %s is being replaced again and again", q.projection).
		Hint("Ask again in a moment.")
}

// replaced is the error of a cursor or a token whose generation is not the live one.
func replaced(projection string, pinned, live uint32) error {
	return events.Errorf(projections.ErrResync, "the read model %s was built anew: this goes on in generation %d, and %d is live now", projection, pinned, live).
		Hint("Begin anew: list without a cursor, and watch from there.")
}

// judge says whether a partition with this header may answer a read that wants a position, or none.
func (r *Reader) judge(ctx context.Context, m *model, h projections.Header, wanted events.Position) error {
	projection := m.def.Name
	if h.State != projections.Live && m.copy != nil {
		return m.missing()
	}
	switch h.State {
	case projections.Live:
	case projections.Building:
		return events.Errorf(projections.ErrUnavailable, "the read model %s is being built: it is at %s of %s", projection, h.Checkpoint, h.Target).
			Hint("Ask again in a moment; tidemark status shows the progress.")
	case projections.Loading:
		return events.Errorf(projections.ErrUnavailable, "the read model %s is being loaded from a snapshot", projection).
			Hint("Ask again in a moment; tidemark status shows the progress.")
	case projections.Retired:
		return events.Errorf(projections.ErrUnavailable, "the read model %s was replaced by one that is not known here yet", projection).
			Hint("Ask again in a moment.")
	default:
		return events.Errorf(projections.ErrUnavailable, "the read model %s is empty and is not being built yet", projection).
			Hint("Ask again in a moment. If it stays so, no projector is running: tidemark status.")
	}
	histories, err := r.headsOf(m).Contains(ctx, h.Checkpoint)
	if err != nil {
		return err
	}
	if wanted.IsZero() {
		return nil
	}
	if histories == nil {
		return events.Errorf(events.ErrUnreachable, "the log does not answer, so it cannot be said whether %s is reached", wanted).
			Hint("Ask again, or read without a position.")
	}
	switch histories.Covers(h.Checkpoint, wanted) {
	case events.Yes:
		return nil
	case events.Lost:
		return lost(wanted, h.Checkpoint)
	case events.No:
	}
	if m.copy != nil {
		return m.never(h.Checkpoint, wanted)
	}
	return notReached(projection, h.Checkpoint, wanted)
}

// worse reports whether a says less than b: a partition that cannot answer, or an earlier checkpoint.
func worse(a, b *projections.Header) bool {
	if aLive, bLive := a.State == projections.Live, b.State == projections.Live; aLive != bLive {
		return bLive
	}
	return sequences(a.Checkpoint) < sequences(b.Checkpoint)
}

// least returns the header that says least.
func least(headers []projections.Header) projections.Header {
	low := &headers[0]
	for i := range headers {
		if worse(&headers[i], low) {
			low = &headers[i]
		}
	}
	return *low
}

func sequences(p events.Position) (sum uint64) {
	for _, pt := range p.Points() {
		sum += pt.Sequence
	}
	return sum
}

// lowestSequence returns the lowest sequence that a position names: below it nothing of interest happens.
func lowestSequence(p events.Position) uint64 {
	low := ^uint64(0)
	for _, pt := range p.Points() {
		low = min(low, pt.Sequence)
	}
	return low
}
