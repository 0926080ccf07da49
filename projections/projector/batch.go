package projector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// batch is the working memory of one batch, used again for the next.
type batch struct {
	ops     projections.Ops
	targets []*entry // of each operation; nil: nothing to do
	missing []*entry
	refs    []projections.Ref
	dirty   []*entry
	fresh   []*entry // those of dirty that changed since the mark before
	values  []string
	entries []projections.IndexEntry // of all writes
	gone    []projections.IndexEntry // of one
	come    []projections.IndexEntry
	commits []projections.Commit
	order   []int
	marks   []markAt // among the records
	again   bool     // partitions that were touched are written also where they stand
	parked  []*entry // documents whose fold stopped in this batch
	began   time.Time
}

// smallBatch is the number of records up to which partitions that no event touched keep their checkpoint for the moment.
const smallBatch = 500

// apply folds a batch of records and commits it. After an error everything in memory is to be forgotten: see load.
func (e *engine) apply(ctx context.Context, records []events.Record) error {
	if err := e.options.trusted(e.def); err != nil {
		return err
	}
	if err := e.contiguous(records); err != nil {
		return err
	}
	if work, upto := e.whole.take(records); upto != nil {
		work, err := e.obey(ctx, work)
		if err == nil {
			err = e.applyWhole(ctx, work, upto, len(records) >= smallBatch)
		}
		if err != nil {
			return err
		}
	}
	e.lowerTargets()
	return nil
}

// applyWhole folds and commits the records of whole transactions. upto is the last record that is decided; with everywhere, partitions that
// no event touched move there too.
func (e *engine) applyWhole(ctx context.Context, work []*events.Record, upto *events.Record, everywhere bool) error {
	e.begin()
	for i, r := range work {
		switch r.Kind {
		case events.KindEvent, events.KindMessage:
			e.proj.Route(r, i, &e.batch.ops)
		case events.KindMalformed:
			e.unrouted(r.Subject, r, r.Reason)
		case events.KindControl:
			if err := e.learn(r); err != nil {
				return err
			}
			e.noteMark(r, i)
		}
	}
	e.target(work)
	if err := e.fetch(ctx); err != nil {
		return err
	}
	e.preserve(e.batch.targets)
	if err := e.fold(ctx, work); err != nil {
		return err
	}
	if err := e.collect(); err != nil {
		return err
	}
	if everywhere {
		e.touchAll()
	}
	return e.advance(ctx, work, upto)
}

// advance commits what was folded of some records, moves the tip to the record up to which everything is decided, and tells of it.
func (e *engine) advance(ctx context.Context, work []*events.Record, upto *events.Record) error {
	applied := upto.Time
	if upto.Kind.Gone() {
		applied = e.tip.applied // nobody knows when that was stored
	}
	e.tip = tip{seq: upto.Sequence, at: e.position(upto.Sequence), seen: upto.Fingerprint(), applied: applied}
	if err := e.commit(ctx); err != nil {
		return err
	}
	e.committed(ctx, work)
	e.cache.shrink()
	return nil
}

func (e *engine) touchAll() {
	for i := range e.parts {
		e.parts[i].touched = true
	}
}

// contiguous returns ErrHole unless the records follow what was read before. The reader promises it; a hole that gets by would never
// be found again. What a stream that is not ours does not hold any more has records in its place; ErrEvicted says that they cannot be passed over.
func (e *engine) contiguous(records []events.Record) error {
	for i := range records {
		r := &records[i]
		first := r.Sequence
		if e.sparse && r.Kind.Gone() {
			first = r.First
		}
		if first != e.next || r.Sequence < first || r.Kind.Gone() && !e.sparse {
			return events.Errorf(events.ErrHole, "the log of %s was read up to %d and then at %d; nothing was applied from there on",
				e.log.Origin(), e.next-1, r.Sequence)
		}
		if err := e.passable(r); err != nil {
			return err
		}
		e.next = r.Sequence + 1
	}
	return nil
}

// learn takes over a term that began after the log was asked for its terms.
func (e *engine) learn(r *events.Record) error {
	if e.options.Control != nil {
		e.options.Control(r)
	}
	if starts := e.terms.Starts; r.Control.Name != events.ControlTerm || len(starts) > 0 && r.Sequence <= starts[len(starts)-1] {
		return nil
	}
	if err := e.terms.Apply(r); err != nil {
		return err
	}
	e.retarget(e.position(r.Sequence))
	return nil
}

// begin empties the working memory.
func (e *engine) begin() {
	b := &e.batch
	b.ops.Reset()
	b.targets, b.missing, b.refs, b.dirty, b.values = b.targets[:0], b.missing[:0], b.refs[:0], b.dirty[:0], b.values[:0]
	b.entries, b.again = b.entries[:0], false
	b.parked, b.marks, b.fresh = b.parked[:0], b.marks[:0], b.fresh[:0]
	e.begins()
	for i := range e.parts {
		p := &e.parts[i]
		p.next, p.writes, p.touched, p.stray = p.head, p.writes[:0], false, 0
		p.passed, p.marked, p.unmarked = p.marks, p.marked[:0], p.unmarked[:0]
	}
}

// unrouted counts an event whose document cannot be told, in the partition that its name hashes to.
func (e *engine) unrouted(name string, r *events.Record, reason string) {
	p := &e.parts[projections.PartitionOf(name, len(e.parts))]
	if r.Sequence <= p.seq {
		return
	}
	p.touched = true
	p.next.Unrouted++
	if r.Sequence >= p.stray { // within a batch they do not come in order
		p.stray, p.next.UnroutedLast = r.Sequence, e.place(r.Sequence)+" "+clip(reason)
	}
}

// target finds the document of each operation.
func (e *engine) target(work []*events.Record) {
	b := &e.batch
	list := b.ops.List()
	for i := range list {
		op, r := &list[i], work[list[i].At]
		var target *entry
		if op.Key == "" {
			e.unrouted(nameOf(r), r, projections.ReasonOf(op.Err))
			e.panicked(r, "", op.Err)
		} else if n := projections.PartitionOf(op.Key, len(e.parts)); r.Sequence > e.parts[n].seq {
			target = e.need(op.Key, n)
		}
		b.targets = append(b.targets, target)
	}
}

// need returns the entry of a document, which fetch will load if it is not in memory.
func (e *engine) need(key string, partition int) *entry {
	b, target := &e.batch, e.cache.get(key)
	target.partition = partition
	if !target.loaded {
		target.loaded = true
		b.missing = append(b.missing, target)
		b.refs = append(b.refs, projections.Ref{Partition: partition, Key: key})
	}
	return target
}

// fetch loads the missing documents in one round trip and checks each against its digest.
func (e *engine) fetch(ctx context.Context) error {
	b := &e.batch
	if len(b.missing) == 0 {
		return nil
	}
	documents, err := e.store.Load(ctx, e.gen, e.def, b.refs)
	if err != nil {
		return err // entries that only look loaded are forgotten, as everything is
	}
	var damaged []*entry
	var reason error // of the first
	for i, target := range b.missing {
		target.state = e.proj.NewState()
		if documents[i] == nil {
			continue
		}
		if err := e.adopt(target, documents[i]); err != nil {
			if reason == nil {
				reason = err
			}
			damaged = append(damaged, target)
		}
	}
	if reason == nil {
		return nil
	}
	e.options.Logger.WarnContext(ctx, "stored documents are not what was written: folding them again from the log",
		"generation", e.gen.Number, "documents", len(damaged), "partition", damaged[0].partition, "key", damaged[0].key, "reason", projections.Mask(reason.Error()))
	began := time.Now()
	if err := e.refold(ctx, damaged); err != nil {
		return err
	}
	if e.options.Observer != nil {
		e.options.Observer.Refolded(e.def.Name, len(damaged), time.Since(began))
	}
	return nil
}

// adopt takes over a stored document, or says what is wrong with it.
func (e *engine) adopt(target *entry, d *projections.Document) error {
	if d.Values == nil {
		return events.Errorf(projections.ErrDocumentDamaged, "its fields are not those of the definition")
	}
	if got := e.hasher.Stored(d); got != d.Digest {
		return events.Errorf(projections.ErrDocumentDamaged, "its digest is %s, its content's %s", d.Digest, got)
	}
	if upto := e.parts[target.partition].seq; !within(d.At, upto) {
		return events.Errorf(projections.ErrDocumentDamaged, "it is of %s, and its partition of %d", d.At, upto)
	}
	if err := target.state.SetFields(d.Values); err != nil {
		return events.Errorf(projections.ErrDocumentDamaged, "%w", err)
	}
	if err := e.placed(target, d.Parked, d.Values); err != nil {
		return events.Errorf(projections.ErrDocumentDamaged, "%w", err)
	}
	target.at, target.parked, target.digest = d.At, d.Parked, d.Digest
	target.stored, target.counted, target.exists, target.parkedOld = true, true, true, d.Parked != ""
	return nil
}

// within reports whether the position that a document carries is not beyond a sequence. A document from beyond its partition's checkpoint
// was written by somebody else in the meantime.
func within(at string, upto uint64) bool {
	seq, ok := projections.SequenceIn(at)
	return ok && seq <= upto
}

// fold applies the operations, those of one event on one document together, and the marks between them, in the order of the log.
func (e *engine) fold(ctx context.Context, work []*events.Record) error {
	b := &e.batch
	list := b.ops.List()
	marks := b.marks
	for first, next := 0, 0; first < len(list); first = next {
		at := list[first].At
		for next = first + 1; next < len(list) && list[next].At == at; {
			next++
		}
		for len(marks) > 0 && marks[0].at < at {
			if err := e.passMark(ctx, work[marks[0].at], &marks[0].Mark); err != nil {
				return err
			}
			marks = marks[1:]
		}
		for i := first; i < next; i++ {
			target := b.targets[i]
			if target == nil || slices.Contains(b.targets[first:i], target) {
				continue
			}
			if e.step(target, work[at], list[i:next], b.targets[i:next]) {
				e.changed(target)
			}
		}
	}
	for i := range marks {
		if err := e.passMark(ctx, work[marks[i].at], &marks[i].Mark); err != nil {
			return err
		}
	}
	return nil
}

// step applies an event to a document, or parks it, and reports whether it changed. ops are the event's operations from the document's
// first one on, and targets their documents.
func (e *engine) step(target *entry, r *events.Record, ops []projections.Op, targets []*entry) bool {
	if target.parked != "" {
		return false // its fold stopped earlier
	}
	if err := e.try(target, r, ops, targets); err != nil {
		e.park(target, r, err)
	}
	target.last, target.appeared = r.Sequence, target.appeared || target.exists
	e.sooner(target)
	return true
}

// try applies what an event does to a document, or returns why that cannot be done: then the document is as it was.
func (e *engine) try(target *entry, r *events.Record, ops []projections.Op, targets []*entry) error {
	state, exists := target.state, target.exists
	if slices.Contains(targets[1:], target) { // several operations: if one cannot be applied, none is
		state = e.proj.NewState()
		if err := state.SetFields(target.state.AppendFields(nil)); err != nil {
			return err
		}
	}
	for i := range ops {
		if targets[i] != target {
			continue
		}
		err := ops[i].Err
		if err == nil {
			err = e.proj.Fold(state, r, &ops[i])
		}
		switch {
		case err == nil:
			exists = true
		case errors.Is(err, projections.Delete):
			state, exists = e.proj.NewState(), false
		default:
			return err
		}
	}
	target.state, target.exists = state, exists
	return nil
}

// park stops the fold of a document at an event.
func (e *engine) park(target *entry, r *events.Record, err error) {
	target.exists = true
	target.parked = e.place(r.Sequence) + " " + clip(projections.ReasonOf(err))
	e.panicked(r, target.key, err)
}

// position returns the position of a sequence; place its text form.
func (e *engine) position(seq uint64) events.Position {
	return events.At(e.terms.Point(e.log.Origin(), seq))
}

func (e *engine) place(seq uint64) string { return e.terms.Point(e.log.Origin(), seq).String() }

// collect turns the changed documents into writes, and counts them into the headers.
func (e *engine) collect() error {
	b := &e.batch
	for _, d := range b.dirty {
		d.dirty = false
		p := &e.parts[d.partition]
		came := d.appeared
		d.appeared = false
		from := len(b.values)
		b.values = d.state.AppendFields(b.values)
		values := b.values[from:len(b.values):len(b.values)]
		if d.fresh {
			e.count(d, values)
		}
		if !d.exists && !d.stored {
			if came && p.head.State == projections.Live {
				p.vanished(d.key)
			}
			continue
		}
		w := projections.Write{Create: !d.stored || d.repaired, Remove: !d.exists}
		w.Document = projections.Document{Key: d.key, At: d.at, Parked: d.parked, Values: values}
		if d.exists {
			w.Digest = d.digest
		}
		if err := e.reindex(d, &w); err != nil {
			return err
		}
		p.touched = true
		p.writes = append(p.writes, w)
		d.stored, d.repaired = d.exists, false
	}
	return nil
}

// vanished writes down that a document came and went within one commit. That changes nothing but the change log: who saw the document in between, in
// a store that went back in time since or in another generation, has to be told that it is gone.
func (p *partition) vanished(key string) {
	p.touched = true
	p.writes = append(p.writes, projections.Write{Document: projections.Document{Key: key}, Remove: true})
}

// commit executes one atomic step on each touched partition, which moves its checkpoint to the tip, unless that is ahead already, and
// makes it live when it has reached its target.
func (e *engine) commit(ctx context.Context) error {
	b := &e.batch
	b.commits, b.order = b.commits[:0], b.order[:0]
	for i := range e.parts {
		p := &e.parts[i]
		complete := e.complete(p)
		if !p.touched || p.seq >= e.tip.seq && !complete && !b.again {
			continue
		}
		p.next.Owner = e.owner
		if p.seq < e.tip.seq {
			p.next.Checkpoint, p.next.Seen, p.next.Applied = e.tip.at, e.tip.seen, e.tip.applied
		}
		if complete {
			p.next.State = projections.Live
		}
		b.commits = append(b.commits, projections.Commit{
			Partition: i, Expect: p.head.Checkpoint, Next: p.next, Writes: p.writes, Marks: p.marked, Unmark: p.unmarked,
		})
		b.order = append(b.order, i)
	}
	if len(b.commits) == 0 {
		return nil
	}
	for i, err := range e.store.Apply(ctx, e.gen, e.def, b.commits) {
		if err != nil {
			return e.refusal(err)
		}
		p := &e.parts[b.order[i]]
		p.head, p.seq, p.marks = p.next, max(p.seq, e.tip.seq), p.passed
	}
	e.notify()
	e.report()
	return nil
}

// complete reports whether a partition that is being built has reached its target, or does so with the tip.
func (e *engine) complete(p *partition) bool {
	return p.head.State == projections.Building && e.histories().Covers(e.tip.at, p.head.Target) == events.Yes
}

// lowerTargets lets a build end before a transaction that is still open at the end of the log: the link to the origin may be cut inside
// of it, and nothing more can be known until it is back.
func (e *engine) lowerTargets() {
	for i := range e.parts {
		h := &e.parts[i].head
		if h.State != projections.Building || len(e.whole.held) == 0 {
			continue
		}
		if target, _ := h.Target.Point(e.log.Origin()); target.Sequence > e.tip.seq && target.Sequence < e.next {
			h.Target = e.tip.at
		}
	}
}

// refusal decides what a failed commit means. Some partitions may have been committed: everything is read again. The owner that was
// found may also be an older one, in a store that went back in time: claiming tells.
func (e *engine) refusal(err error) error {
	if errors.Is(err, projections.ErrMoved) || errors.Is(err, projections.ErrFenced) {
		return resync("%s", e.refused(err))
	}
	return err
}

// clip bounds a reason that is stored.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s), "?")
}
