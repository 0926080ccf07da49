package projector

import (
	"context"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// A mark does not cut a batch. The documents that changed since the mark before are counted into their partitions' digests as they are there, and each partition that passes the mark
// records its digest with the same atomic step as its checkpoint.

// markAt is a mark, and where it is among the records of a batch.
type markAt struct {
	events.Mark
	at int
}

// noteMark remembers a mark of a batch.
func (e *engine) noteMark(r *events.Record, at int) {
	if m, ok := events.MarkOf(r); ok {
		e.batch.marks = append(e.batch.marks, markAt{m, at})
	}
}

// passMark does what is due at a mark.
func (e *engine) passMark(ctx context.Context, r *events.Record, m *events.Mark) error {
	if err := e.expireAt(ctx, r, m); err != nil {
		return err
	}
	_, wanted := e.proofs[r.Sequence]
	newest := &e.batch.marks[len(e.batch.marks)-1]
	kept := projections.KeepsMark(m.Number, max(m.Number, newest.Number))
	if !kept && !wanted {
		return nil
	}
	e.countFresh()
	if wanted {
		e.proofs[r.Sequence] = e.sumAt(r.Sequence, m.Number)
	}
	if !kept {
		return nil
	}
	for i := range e.parts {
		if p := &e.parts[i]; r.Sequence > p.seq {
			p.pass(projections.PartitionMark{Sequence: r.Sequence, Number: m.Number, Documents: p.next.Documents, Digest: p.next.Digest})
		}
	}
	return nil
}

// sumAt returns what all partitions together are at a mark that they pass; nil when one of them is beyond it already.
func (e *engine) sumAt(sequence, number uint64) *projections.PartitionMark {
	sum := projections.PartitionMark{Sequence: sequence, Number: number}
	for i := range e.parts {
		p := &e.parts[i]
		if p.seq >= sequence {
			return nil
		}
		sum.Documents, sum.Digest = sum.Documents+p.next.Documents, sum.Digest.Add(p.next.Digest)
	}
	return &sum
}

// pass takes a mark into those that the partition records with the batch.
func (p *partition) pass(m projections.PartitionMark) {
	kept, gone := projections.AddMark(p.passed, m)
	if n := len(kept); n == 0 || kept[n-1] != m {
		return // it is none that is recorded
	}
	p.passed, p.touched = kept, true
	for _, old := range gone {
		if i := slices.Index(p.marked, old); i >= 0 {
			p.marked = slices.Delete(p.marked, i, i+1) // it never was in the store
		} else {
			p.unmarked = append(p.unmarked, old)
		}
	}
	p.marked = append(p.marked, m)
}

// changed takes a document into those that the batch has changed.
func (e *engine) changed(d *entry) {
	if !d.dirty {
		d.dirty = true
		e.batch.dirty = append(e.batch.dirty, d)
	}
	if !d.fresh {
		d.fresh = true
		e.batch.fresh = append(e.batch.fresh, d)
	}
}

// countFresh counts what has changed so far into the digests.
func (e *engine) countFresh() {
	b := &e.batch
	for _, d := range b.fresh {
		from := len(b.values)
		b.values = d.state.AppendFields(b.values)
		e.count(d, b.values[from:])
		b.values = b.values[:from]
	}
	b.fresh = b.fresh[:0]
}

// count counts a document that changed into its partition's digest, as it is now.
func (e *engine) count(d *entry, values []string) {
	d.fresh = false
	next := &e.parts[d.partition].next
	if d.counted {
		next.Digest = next.Digest.Sub(d.digest)
		next.Documents--
	}
	if d.parkedOld {
		next.Parked--
	} else if d.parked != "" {
		e.batch.parked = append(e.batch.parked, d)
	}
	d.at, d.counted, d.parkedOld = e.place(d.last), d.exists, d.exists && d.parked != ""
	if d.exists {
		d.digest = e.hasher.Document(d.key, d.at, d.parked, values)
		next.Digest = next.Digest.Add(d.digest)
		next.Documents++
		if d.parked != "" {
			next.Parked++
		}
	}
}

// recorded returns the marks that the partitions have recorded.
func (e *engine) recorded(ctx context.Context, headers []projections.Header) ([][]projections.PartitionMark, error) {
	_, marks, err := e.store.Marks(ctx, e.gen)
	if err != nil {
		return nil, err
	}
	for i := range headers {
		if headers[i].State == projections.Absent {
			marks[i] = nil
		}
	}
	return marks, nil
}

// newestMark is a mark as an observer is told of it.
type newestMark struct {
	number uint64
	at     time.Time // by the broker; zero when that is not known
}

// passed takes note of a mark, if it is one that is counted.
func (n *newestMark) passed(r *events.Record) {
	if m, _ := events.MarkOf(r); m.Number > n.number {
		n.number, n.at = m.Number, r.Time
	}
}

// remember finds out which mark every partition has passed before, if anybody wants to know. When it was the log knows; that it does not say is no reason not to go on.
func (e *engine) remember(ctx context.Context) {
	e.mark = newestMark{}
	if e.options.Observer == nil {
		return
	}
	var lowest projections.PartitionMark
	for i := range e.parts {
		marks := e.parts[i].marks
		if len(marks) == 0 {
			return
		}
		if newest := marks[len(marks)-1]; i == 0 || newest.Number < lowest.Number {
			lowest = newest
		}
	}
	e.mark.number = lowest.Number
	if r, err := e.log.Record(ctx, lowest.Sequence); err == nil {
		e.mark.at = r.Time
	}
}
