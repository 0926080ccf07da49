package projector

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// A repair is executed by the engine that follows the log, between two batches. It is the only one that writes, so nothing moves meanwhile: each document is folded again up to its
// partition's checkpoint, compared with what is stored in one atomic step, and written when it differs. Nothing that whoever asked has seen is believed.
//
// A repaired document has no record of the log as its reason, and watchers go by sequences: see Commit.LogSequence for how they are told.

const (
	// repairStep is how many documents are repaired at once: queries go on, and no event is applied, while they are.
	repairStep = 200
	// repairPause is the pause after one, for events to be applied.
	repairPause = 2 * time.Millisecond
)

// repairing is one step of a repair.
type repairing struct {
	generation uint32
	documents  []projections.RepairDocument
	recount    int // a partition; -1: none

	written, right, recounted int
	err                       error
	refused                   bool // the step is refused, and the engine is well
	done                      chan struct{}
}

// answer executes a step and tells whoever asked for it. It returns the error that ends the engine.
func (e *engine) answer(ctx context.Context, r *repairing) error {
	r.err = e.repair(ctx, r)
	close(r.done)
	if r.refused {
		return nil
	}
	return r.err
}

// repair executes a step.
func (e *engine) repair(ctx context.Context, r *repairing) error {
	if r.generation != e.gen.Number {
		r.refused = true
		return events.Errorf(events.ErrConflict, "generation %d of %s is live now, and the repair is of generation %d; nothing more was changed", e.gen.Number, e.def.Name, r.generation)
	}
	if err := e.options.trusted(e.def); err != nil {
		r.refused = true
		return err
	}
	e.abandon("documents are repaired")
	e.begin()
	e.batch.again = true
	if err := e.mend(ctx, r); err != nil {
		r.refused = errors.Is(err, projections.ErrDocumentDamaged) || errors.Is(err, projections.ErrWrongType) || errors.Is(err, events.ErrEvicted)
		return err
	}
	if r.recount >= 0 {
		if err := e.recount(ctx, r); err != nil {
			r.refused = errors.Is(err, projections.ErrDocumentDamaged)
			return err
		}
	}
	if err := e.collect(); err != nil {
		return err
	}
	if err := e.retireEntries(ctx, r); err != nil {
		return err
	}
	if err := e.commit(ctx); err != nil {
		return err
	}
	e.cache.shrink()
	if r.written > 0 && e.options.Observer != nil {
		e.options.Observer.Refolded(e.def.Name, r.written, time.Since(e.batch.began))
	}
	return nil
}

// mend folds the documents of a step again and takes those into the batch that are not stored as they should be.
func (e *engine) mend(ctx context.Context, r *repairing) error {
	again := &refolding{e: e}
	mine := make(map[string]*entry, len(r.documents))
	for i := range r.documents {
		d := &r.documents[i]
		n := projections.PartitionOf(d.Key, len(e.parts))
		if d.Partition != n || mine[d.Key] != nil {
			continue // in the wrong place: it goes, whatever it is
		}
		entry := e.cache.get(d.Key)
		newer, older := entry.newer, entry.older
		*entry = cleared(d.Key, n, e.proj.NewState())
		entry.newer, entry.older = newer, older
		mine[d.Key] = entry
		again.add(&suspect{entry: entry, upto: e.parts[n].seq})
	}
	if err := again.run(ctx); err != nil {
		e.cache.clear()
		return err
	}
	for n := range e.parts {
		if err := e.compare(ctx, n, mine, r); err != nil {
			e.cache.clear()
			return err
		}
	}
	return nil
}

func cleared(key string, partition int, state projections.State) entry {
	return entry{key: key, partition: partition, state: state, loaded: true}
}

// compare takes those documents of a partition into the batch whose document, listing or entries are not what they should be.
func (e *engine) compare(ctx context.Context, partition int, mine map[string]*entry, r *repairing) error {
	var asked []projections.Inspected
	var folded []*entry
	for _, key := range slices.Sorted(maps.Keys(mine)) {
		d := mine[key]
		if d.partition != partition {
			continue
		}
		if err := e.replaced(d); err != nil {
			return err
		}
		asked = append(asked, projections.Inspected{Key: key, Entries: e.entriesOf(d)})
		folded = append(folded, d)
	}
	if len(asked) == 0 {
		return nil
	}
	h, found, err := e.store.Inspect(ctx, e.gen, e.def, partition, asked)
	if err != nil {
		return err
	}
	if !h.Checkpoint.Equal(e.parts[partition].head.Checkpoint) {
		return resync("partition %d is at %s, remembered %s", partition, h.Checkpoint, e.parts[partition].head.Checkpoint)
	}
	for i, d := range folded {
		if found[i].Foreign {
			return events.Errorf(projections.ErrWrongType, "something that is no document is stored under the name of %q of %s; its step of the repair was not carried out", d.key, e.def.Name).
				Hint("Remove it from the store, then repair again.")
		}
		if e.isStored(d, &found[i]) {
			r.right++
			d.repaired, d.stored = false, d.exists
			continue
		}
		if doc := found[i].Document; doc != nil && doc.Values != nil { // where it is in the indexes: that goes
			if err := e.placed(d, doc.Parked, doc.Values); err != nil {
				d.indexed = indexed{} // it is nowhere that can be told
			}
		}
		r.written++
		d.dirty = true
		e.batch.dirty = append(e.batch.dirty, d)
	}
	return nil
}

// entriesOf returns the entries that a document should have.
func (e *engine) entriesOf(d *entry) (list []projections.IndexEntry) {
	for i, v := range d.indexed.values {
		list = append(list, projections.IndexEntry{Index: i, Value: v})
	}
	if d.indexed.parked != "" {
		list = append(list, projections.IndexEntry{Index: projections.ParkedIndex, Value: d.indexed.parked})
	}
	if d.indexed.expires != "" {
		list = append(list, projections.IndexEntry{Index: projections.ExpiryIndex, Value: d.indexed.expires})
	}
	return list
}

// isStored reports whether a document that was folded again is stored so, listed, and in its indexes.
func (e *engine) isStored(d *entry, found *projections.Inspected) bool {
	if found.Listed != d.exists || (found.Document != nil) != d.exists || slices.Contains(found.Has, false) {
		return false
	}
	if !d.exists {
		return true
	}
	c := Case{Found: found.Document, Right: &projections.Document{At: d.at, Parked: d.parked, Digest: d.digest, Values: d.state.AppendFields(nil)}}
	return !c.Wrong()
}

// retireEntries adds to the writes of a step the removal of entries, and of documents, that should not be where they are.
func (e *engine) retireEntries(ctx context.Context, r *repairing) error {
	for i := range r.documents {
		d := &r.documents[i]
		p := &e.parts[d.Partition]
		if projections.PartitionOf(d.Key, len(e.parts)) != d.Partition {
			if err := e.misplaced(ctx, d, r); err != nil {
				return err
			}
			continue
		}
		target := e.cache.byKey[d.Key]
		gone := entriesThatGo(d, e.entriesOf(target))
		if len(gone) == 0 {
			continue
		}
		at := slices.IndexFunc(p.writes, func(w projections.Write) bool { return w.Key == d.Key })
		if at < 0 {
			_, found, err := e.store.Inspect(ctx, e.gen, e.def, d.Partition, []projections.Inspected{{Key: d.Key, Entries: gone}})
			if err != nil {
				return err
			}
			if !slices.Contains(found[0].Has, true) {
				continue
			}
			r.written, r.right = r.written+1, r.right-1
			p.writes = append(p.writes, e.asItIs(target))
			at = len(p.writes) - 1
		}
		p.writes[at].Unindex = append(p.writes[at].Unindex, gone...)
		p.touched = true
	}
	return nil
}

// misplaced removes a document from a partition that is not its own.
func (e *engine) misplaced(ctx context.Context, d *projections.RepairDocument, r *repairing) error {
	gone := entriesThatGo(d, nil)
	_, found, err := e.store.Inspect(ctx, e.gen, e.def, d.Partition, []projections.Inspected{{Key: d.Key, Entries: gone}})
	if err != nil {
		return err
	}
	if found[0].Document == nil && !found[0].Foreign && !found[0].Listed && !slices.Contains(found[0].Has, true) {
		r.right++
		return nil
	}
	if doc := found[0].Document; doc != nil && doc.Values != nil {
		at := &entry{}
		if err := e.placed(at, doc.Parked, doc.Values); err == nil { // otherwise it is nowhere that can be told
			gone = append(gone, e.entriesOf(at)...)
		}
	}
	p := &e.parts[d.Partition]
	p.writes = append(p.writes, projections.Write{Document: projections.Document{Key: d.Key}, Remove: true, Unindex: gone})
	p.touched = true
	r.written++
	return nil
}

// entriesThatGo returns the entries to remove, without those that are right.
func entriesThatGo(d *projections.RepairDocument, right []projections.IndexEntry) (gone []projections.IndexEntry) {
	for _, x := range d.Unindex {
		entry := projections.IndexEntry{Index: x.Index, Value: string(x.Value)}
		if !slices.Contains(right, entry) {
			gone = append(gone, entry)
		}
	}
	return gone
}

// asItIs returns a write that changes nothing.
func (e *engine) asItIs(d *entry) projections.Write {
	w := projections.Write{Remove: !d.exists, Document: projections.Document{Key: d.key, At: d.at, Parked: d.parked, Digest: d.digest}}
	if d.exists {
		w.Values = d.state.AppendFields(nil)
	}
	return w
}

// recount sums a partition up again from what is stored. Whoever asked has had its documents repaired before.
func (e *engine) recount(ctx context.Context, r *repairing) error {
	p := &e.parts[r.recount]
	next := p.next
	next.Digest, next.Documents, next.Parked = projections.Digest{}, 0, 0
	stored := p.head
	for after := ""; ; {
		h, page, err := e.store.Page(ctx, e.gen, e.def, r.recount, after, duePage)
		if err != nil {
			return err
		}
		if !h.Checkpoint.Equal(p.head.Checkpoint) {
			return resync("partition %d is at %s, remembered %s", r.recount, h.Checkpoint, p.head.Checkpoint)
		}
		stored = h
		for i := range page {
			if page[i].Values == nil {
				return events.Errorf(projections.ErrDocumentDamaged, "the document %q of %s is listed and is not whole, so partition %d was not summed up again", page[i].Key, e.def.Name, r.recount).
					Hint("Repair it first.")
			}
			if e.hasher.Stored(&page[i]) != page[i].Digest {
				return events.Errorf(projections.ErrDocumentDamaged, "the document %q of %s is not what was written, so partition %d was not summed up again", page[i].Key, e.def.Name, r.recount).
					Hint("Repair it first.")
			}
			next.Digest = next.Digest.Add(page[i].Digest)
			next.Documents++
			if page[i].Parked != "" {
				next.Parked++
			}
			after = page[i].Key
		}
		if len(page) < duePage {
			break
		}
	}
	if !sumsLike(&next, &stored) || !sumsLike(&next, &p.next) {
		r.recounted++
		p.next, p.touched = next, true
		p.passed, p.unmarked = nil, p.marks // what it recorded while it was wrong says nothing of what it is
	}
	return nil
}

// sumsLike reports whether two headers say the same of the documents together.
func sumsLike(a, b *projections.Header) bool {
	return a.Digest == b.Digest && a.Documents == b.Documents && a.Parked == b.Parked
}

// repairer executes the repairs that are asked for, one step after the other, until ctx ends.
func (p *Projector) repairer(ctx context.Context) {
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		for entry, err := range p.kv.Watch(ctx, projections.RepairKey(p.def.Name)) {
			if err != nil {
				break
			}
			var job projections.Repair
			if len(entry.Value) == 0 || json.Unmarshal(entry.Value, &job) != nil || !job.Running() {
				continue
			}
			if err := p.execute(ctx, &job, entry.Revision); err != nil && ctx.Err() == nil {
				p.options.Logger.WarnContext(ctx, "a repair did not go on; it is taken up again", "repair", job.ID, "reason", err.Error())
				break
			}
			wait = minWait
		}
		sleep(ctx, wait)
	}
}

// execute executes a repair. What was done before a crash is done once more, which changes nothing.
func (p *Projector) execute(ctx context.Context, job *projections.Repair, revision uint64) (err error) {
	save := func() error {
		revision, err = projections.WriteJSON(ctx, p.kv, projections.RepairKey(p.def.Name), job, revision)
		return err
	}
	end := func(state projections.RepairState) error {
		now := time.Now().UTC()
		job.State, job.Finished = state, &now
		p.options.Logger.InfoContext(ctx, "repair ended", "repair", job.ID, "state", string(state), "repaired", job.Repaired, "right", job.Right, "recounted", job.Recounted, "reason", job.Message)
		return save()
	}
	job.Repaired, job.Right, job.Recounted = 0, 0, 0
	step := func(documents []projections.RepairDocument, recount int) error {
		r, err := p.step(ctx, repairing{generation: job.Generation, documents: documents, recount: recount})
		if err == nil {
			job.Repaired, job.Right, job.Recounted = job.Repaired+r.written, job.Right+r.right, job.Recounted+r.recounted
		}
		return err
	}
	for list := job.Documents; len(list) > 0 && err == nil; {
		n := min(len(list), repairStep)
		err = step(list[:n], -1)
		list = list[n:]
	}
	for _, n := range job.Recount {
		if err == nil {
			err = step(nil, n)
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		code, _ := events.CodeOf(err)
		job.Code, job.Message = string(code), err.Error()
		return end(projections.RepairFailed)
	}
	return end(projections.RepairDone)
}

// step has the engine execute one step, and again while servers do not answer.
func (p *Projector) step(ctx context.Context, r repairing) (*repairing, error) {
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		made := r
		made.done = make(chan struct{})
		select {
		case p.repairs <- &made:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		<-made.done
		if made.err == nil {
			sleep(ctx, repairPause)
			return &made, nil
		}
		if made.refused {
			return nil, made.err
		}
		sleep(ctx, wait)
	}
}
