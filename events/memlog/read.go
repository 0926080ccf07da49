package memlog

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"

	"tidemark.dev/events"
)

// Origin returns the origin's name.
func (l *Log) Origin() string { return l.origin }

// view is what a reader sees of the log at one moment. It stays as it is while the log moves on.
type view struct {
	info     events.Info
	entries  []entry
	subjects []uint64      // the sequences of the subject asked for
	changed  chan struct{} // closed when there is something else to see
	skipped  map[uint64]bool
	disorder uint64
}

// look returns a view, or why there is none.
func (l *Log) look(ctx context.Context, subject string) (view, error) {
	if ctx.Err() != nil {
		return view{}, context.Cause(ctx)
	}
	if l.isClosed() {
		return view{}, events.Errorf(events.ErrClosed, "the log was closed")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.faults.takeUnreachable():
		return view{}, unreachable("nothing was read")
	case l.store.deleted:
		return view{}, noLog(l.origin)
	case l.store.foreign != nil:
		return view{}, l.store.foreign
	case l.store.terms.Lineage == "":
		return view{}, events.Errorf(events.ErrForeignHistory, "the log of origin %s has no genesis", l.origin)
	}
	return view{
		info: l.store.info(), entries: l.store.entries, subjects: l.store.subjects[subject], changed: l.changed,
		skipped: l.faults.skipped, disorder: l.faults.disorder,
	}, nil
}

// Info returns the log's identity and bounds.
func (l *Log) Info(ctx context.Context) (events.Info, error) {
	v, err := l.look(ctx, "")
	return v.info, err
}

// Record returns one record.
func (l *Log) Record(ctx context.Context, seq uint64) (events.Record, error) {
	var r events.Record
	v, err := l.look(ctx, "")
	if err != nil {
		return r, err
	}
	if seq == 0 || seq > v.info.Last || v.skipped[seq] {
		return r, events.Errorf(events.ErrNotFound, "the log of origin %s has no record at sequence %d; its last is %d", l.origin, seq, v.info.Last)
	}
	err = v.decode(&r, seq)
	return r, err
}

// History yields an entity's records.
func (l *Log) History(ctx context.Context, e events.Entity, from uint64) iter.Seq2[events.Record, error] {
	if err := e.Validate(); err != nil {
		return func(yield func(events.Record, error) bool) { yield(events.Record{}, err) }
	}
	return l.subject(ctx, events.EventSubject(l.origin, e), from)
}

// Controls yields the control records of a name.
func (l *Log) Controls(ctx context.Context, name string, from uint64) iter.Seq2[events.Record, error] {
	if !events.ValidControlName(name) {
		return func(func(events.Record, error) bool) {}
	}
	return l.subject(ctx, events.ControlSubject(l.origin, name), from)
}

// subject yields the records of a subject.
func (l *Log) subject(ctx context.Context, subject string, from uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		v, err := l.look(ctx, subject)
		if err != nil {
			yield(events.Record{}, err)
			return
		}
		start, _ := slices.BinarySearch(v.subjects, from)
		for _, seq := range v.subjects[start:] {
			if v.skipped[seq] {
				continue
			}
			if ctx.Err() != nil {
				yield(events.Record{}, context.Cause(ctx))
				return
			}
			var r events.Record
			err := v.decode(&r, seq)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// LastControl returns the newest control record of a name.
func (l *Log) LastControl(ctx context.Context, name string) (events.Record, error) {
	var r events.Record
	v, err := l.look(ctx, events.ControlSubject(l.origin, name))
	if err != nil {
		return r, err
	}
	if len(v.subjects) == 0 {
		return r, events.Errorf(events.ErrNotFound, "the log of origin %s has no control record %q", l.origin, name)
	}
	err = v.decode(&r, v.subjects[len(v.subjects)-1])
	return r, err
}

func (v *view) decode(r *events.Record, seq uint64) error {
	e := &v.entries[seq-1]
	return events.Decode(r, v.info.Origin, seq, e.time, e.message)
}

// Read yields the records of a range. Between two steps it overwrites what it yielded.
func (l *Log) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		v, err := l.look(ctx, "")
		if err != nil {
			yield(nil, err)
			return
		}
		c := cursor{next: max(r.From, 1), to: r.To, batch: r.Batch, lineage: v.info.Terms.Lineage}
		if c.batch <= 0 {
			c.batch = events.DefaultReadBatch
		}
		if !r.Follow && (c.to == 0 || c.to > v.info.Last) {
			c.to = v.info.Last
		}
		for {
			err := c.step(&v)
			if len(c.out) > 0 && !yield(c.out, nil) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if c.to > 0 && c.next > c.to {
				return
			}
			if err = l.await(ctx, &v, c.next); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// await refreshes the view, after it has changed when it holds nothing from next on.
func (l *Log) await(ctx context.Context, v *view, next uint64) error {
	if next > v.info.Last {
		select {
		case <-v.changed:
		case <-l.closed:
		case <-ctx.Done():
		}
	}
	fresh, err := l.look(ctx, "")
	if err == nil {
		*v = fresh
	}
	return err
}

// cursor is a reader's place.
type cursor struct {
	next    uint64
	to      uint64 // 0: no end
	batch   int
	lineage events.Lineage
	out     []events.Record
}

// step reads the next records of a view into out. What comes before an error is in out.
func (c *cursor) step(v *view) error {
	clear(c.out) // whoever kept the slice sees it
	c.out = c.out[:0]
	if v.info.Terms.Lineage != c.lineage {
		return events.Errorf(events.ErrForeignHistory, "the log of origin %s was made anew: its lineage is %s, the one read before %s",
			v.info.Origin, v.info.Terms.Lineage, c.lineage)
	}
	if c.next > v.info.Last+1 {
		return events.Errorf(events.ErrForeignHistory, "the log of origin %s ends at sequence %d, before sequence %d where reading should go on",
			v.info.Origin, v.info.Last, c.next)
	}
	if c.to > 0 && c.next > c.to {
		return nil
	}
	end := min(v.info.Last, c.next+uint64(c.batch)-1) //nolint:gosec // a batch is positive
	if c.to > 0 {
		end = min(end, c.to)
	}
	for _, seq := range v.feed(c.next, end) {
		// The feed repeats and reorders. What came already is dropped; what is missing is asked for by its sequence.
		for c.next <= seq {
			if err := c.take(v); err != nil {
				return err
			}
		}
	}
	for c.next <= end {
		if err := c.take(v); err != nil {
			return err
		}
	}
	return nil
}

// take reads the record at next.
func (c *cursor) take(v *view) error {
	if v.skipped[c.next] {
		return events.Errorf(events.ErrHole, "sequence %d is missing from the log of origin %s, which goes on to %d", c.next, v.info.Origin, v.info.Last).
			Hint("Compare it with another region's copy of the log.")
	}
	c.out = append(c.out, events.Record{})
	if err := v.decode(&c.out[len(c.out)-1], c.next); err != nil {
		c.out = c.out[:len(c.out)-1]
		return err
	}
	c.next++
	return nil
}

// feed returns the sequences from..end as an unreliable delivery brings them.
func (v *view) feed(from, end uint64) []uint64 {
	if end < from {
		return nil
	}
	raw := make([]uint64, 0, end-from+1)
	for seq := from; seq <= end; seq++ {
		if !v.skipped[seq] {
			raw = append(raw, seq)
		}
	}
	if v.disorder == 0 {
		return raw
	}
	random := rand.New(rand.NewPCG(v.disorder, from)) //nolint:gosec // a test's faults must be repeatable
	for i := range raw {
		switch j := random.IntN(len(raw)); random.IntN(5) {
		case 0:
			raw = append(raw, raw[j]) // delivered again
		case 1:
			raw[i], raw[min(j, i+3, len(raw)-1)] = raw[min(j, i+3, len(raw)-1)], raw[i] // delivered early or late
		}
	}
	return raw
}
