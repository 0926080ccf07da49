package projector

import (
	"context"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// duePage is how many entries of the index of those that expire are read at once.
const duePage = 1_000

// expiry is what an engine knows about the documents that expire. All of them expire at soon or later, so that a mark before it has nothing to do: a replay
// passes years of marks.
type expiry struct {
	field int    // that says when, in the definition's fields; -1: documents do not expire
	known bool   // soon says something
	soon  string // as FormatExpiry has it; empty: none expires
	at    []string
}

func expiryOf(def *projections.Definition) expiry {
	return expiry{field: slices.IndexFunc(def.Fields, func(f projections.Field) bool { return def.Expires != "" && f.Name == def.Expires })}
}

// forget forgets when documents expire: the store will say.
func (x *expiry) forget() { x.known, x.soon = false, "" }

// note takes over when a document expires.
func (x *expiry) note(when string) {
	if when != "" && (x.soon == "" || when < x.soon) {
		x.soon = when
	}
}

// when returns when a document in memory expires; empty: never.
func (e *engine) when(d *entry) string {
	x := &e.expiry
	if x.field < 0 || !d.exists || d.parked != "" {
		return ""
	}
	x.at = d.state.AppendFields(x.at[:0])
	return x.at[x.field]
}

// sooner takes note of a document that was folded.
func (e *engine) sooner(d *entry) {
	if e.expiry.field >= 0 {
		e.expiry.note(e.when(d))
	}
}

// expireAt removes what has expired at a mark: of the documents that the batch has changed so far, and of those that the store has. What is removed goes with the
// batch, in the same atomic step as its checkpoint.
func (e *engine) expireAt(ctx context.Context, r *events.Record, m *events.Mark) error {
	at := m.At(r)
	text, ok := projections.FormatExpiry(at)
	if x := &e.expiry; x.field < 0 || !ok || x.known && (x.soon == "" || x.soon > text) {
		return nil
	}
	changed := len(e.batch.dirty)
	e.expiry.known, e.expiry.soon = true, ""
	due, err := e.due(ctx, r.Sequence, text)
	if err != nil {
		return err
	}
	e.preserve(due)
	for _, d := range e.batch.dirty[:changed] {
		if e.expire(d, at, r.Sequence) {
			e.changed(d)
		}
		e.expiry.note(e.when(d))
	}
	for _, d := range due {
		if e.expire(d, at, r.Sequence) {
			e.changed(d)
		}
		e.expiry.note(e.when(d))
	}
	return nil
}

// expire removes a document in memory that a mark of this time removes, and reports whether it did.
func (e *engine) expire(d *entry, at time.Time, seq uint64) bool {
	if when := e.when(d); when == "" || !projections.Expired(when, d.parked, at) {
		return false
	}
	d.exists, d.state, d.last = false, e.proj.NewState(), seq
	return true
}

// due returns the documents that the store says expire at a time or before, and takes note of when the next one does. Some of them may have changed in
// memory since.
func (e *engine) due(ctx context.Context, seq uint64, text string) ([]*entry, error) {
	b := &e.batch
	b.missing, b.refs = b.missing[:0], b.refs[:0]
	var found []*entry
	for i := range e.parts {
		if e.parts[i].seq >= seq {
			e.expiry.known = false // that partition is ahead; ask again when the others have come there
			continue
		}
		keys, err := e.dueIn(ctx, i, projections.ExpiryPlace(text))
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			d := e.cache.get(key)
			d.partition = i
			found = append(found, d)
			if !d.loaded {
				d.loaded = true
				b.missing = append(b.missing, d)
				b.refs = append(b.refs, projections.Ref{Partition: i, Key: key})
			}
		}
	}
	return found, e.fetch(ctx)
}

// dueIn returns the keys of the documents of a partition that expire at a time, as the index has it, or before.
func (e *engine) dueIn(ctx context.Context, partition int, upto string) (keys []string, err error) {
	behind := projections.IndexAfter(upto)
	q := projections.IndexQuery{Index: projections.ExpiryIndexName, Limit: duePage}
	for {
		h, page, err := e.store.Find(ctx, e.gen, e.def, partition, q)
		if err != nil {
			return nil, err
		}
		if mine := &e.parts[partition].head; !h.Checkpoint.Equal(mine.Checkpoint) {
			return nil, resync("partition %d is at %s, remembered %s", partition, h.Checkpoint, mine.Checkpoint)
		}
		for i := range page {
			if page[i].Value >= behind {
				if len(page[i].Values) == len(e.def.Fields) {
					e.expiry.note(page[i].Values[e.expiry.field])
				} else {
					e.expiry.known = false // it was changed by hand
				}
				return keys, nil
			}
			keys = append(keys, page[i].Key)
		}
		if len(page) < duePage {
			return keys, nil
		}
		last := &page[len(page)-1]
		q.After, q.AfterKey = last.Value, last.Key
	}
}
