package projector

import (
	"context"
	"errors"
	"io"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/snapshots"
)

// A generation of which nothing is there yet can begin with a snapshot instead of the first record. While it is written its partitions are loading: they equal no fold of anything, and nobody
// reads them. Only when all of it was read and found right do they get the position of its mark, and are partitions like others from then on. What a crash leaves half loaded is removed again,
// document by document, under the lease: the next one may load another snapshot.

// base says which snapshots an engine may begin with.
type base struct {
	snapshots projections.Snapshots // nil: none
	// most is the largest sequence that one may be of; 0: any.
	most uint64
	// passed over: those that turned out to be of no use.
	refused map[string]bool

	used projections.Snapshot // the one that was loaded; without an ID: none was
	bare bool                 // every partition begins with the first record, since no snapshot could be used
}

// loadStep is how many documents of a snapshot are written at once.
const loadStep = 5_000

// found brings partitions that are missing, or half loaded, to the newest snapshot that can be used. Without one, those that are half loaded are made empty.
func (e *engine) found(ctx context.Context, info events.Info, headers []projections.Header) error {
	var empty []int
	for i := range headers {
		if headers[i].State == projections.Loading {
			if err := e.empty(ctx, &headers[i]); err != nil {
				return err
			}
		}
		if s := headers[i].State; s == projections.Absent || s == projections.Loading {
			empty = append(empty, i)
		}
	}
	if len(empty) == 0 {
		return nil
	}
	list, err := e.bases(ctx, info)
	if err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		err := e.loadSnapshot(ctx, info, headers, empty, s)
		if err == nil {
			e.base.used = *s
			e.options.Logger.InfoContext(ctx, "a snapshot was loaded", "generation", e.gen.Number, "snapshot", s.ID, "sequence", s.Sequence, "documents", s.Documents)
			return nil
		}
		if !errors.Is(err, projections.ErrSnapshotDamaged) && !errors.Is(err, projections.ErrUnknownSnapshot) && !errors.Is(err, events.ErrUnauthorized) {
			return err
		}
		e.refuseBase(s.ID)
		e.options.Logger.WarnContext(ctx, "a snapshot cannot be used; the next one is tried", "generation", e.gen.Number, "snapshot", s.ID, "sequence", s.Sequence, "reason", err.Error())
		for _, n := range empty {
			if headers[n].State == projections.Loading {
				if err := e.empty(ctx, &headers[n]); err != nil {
					return err
				}
			}
		}
	}
	e.base.bare = len(empty) == len(headers)
	return e.bare(ctx, info, headers, empty)
}

func (e *engine) refuseBase(id string) {
	if e.base.refused == nil {
		e.base.refused = make(map[string]bool)
	}
	e.base.refused[id] = true
}

// bare makes partitions that were half loaded begin with the first record.
func (e *engine) bare(ctx context.Context, info events.Info, headers []projections.Header, empty []int) error {
	for _, n := range empty {
		h := &headers[n]
		if h.State != projections.Loading {
			continue
		}
		if err := e.reaches(ctx, info); err != nil {
			return err
		}
		next := *h
		next.State, next.Target = projections.Building, info.Head()
		if err := e.store.Apply(ctx, e.gen, e.def, []projections.Commit{{Partition: n, Expect: h.Checkpoint, Next: next}})[0]; err != nil {
			return e.refusal(err)
		}
		*h = next
	}
	return nil
}

// reaches returns ErrUnreachable when the log cannot be read from its first record on: a read model that is to begin there is not begun, and is as soon as it can be, or as there is a snapshot.
func (e *engine) reaches(ctx context.Context, info events.Info) error {
	if info.First <= 1 || info.Sparse {
		return nil
	}
	if err := readable(ctx, e.log); err != nil {
		return events.Errorf(events.ErrUnreachable, "the log of %s begins at %d in this region, there is no snapshot of %s that it could begin with, "+
			"and the records below cannot be read now; nothing was folded: %w", info.Origin, info.First, e.def.Name, err).
			Hint("Bring a snapshot from a region that has it, and it is begun with by itself: tidemark snapshot copy %s --from REGION.", e.def.Name)
	}
	return nil
}

// readable reads the first record of a log. Of a copy that begins later it is read from the leader.
func readable(ctx context.Context, log events.Reader) error {
	for records, err := range log.Read(ctx, events.Range{From: 1, To: 1}) {
		if err != nil {
			return err
		}
		if len(records) == 1 && records[0].Sequence == 1 {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return events.Errorf(events.ErrUnreachable, "the log of %s yields no first record", log.Origin())
}

// bases returns the snapshots that may be loaded, the newest first.
func (e *engine) bases(ctx context.Context, info events.Info) ([]projections.Snapshot, error) {
	if e.base.snapshots == nil || info.Sparse {
		return nil, nil
	}
	list, err := listSnapshots(ctx, e.base.snapshots, e.def.Name)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(s projections.Snapshot) bool {
		return e.base.refused[s.ID] || e.base.most != 0 && s.Sequence > e.base.most || !usable(&s, e.def, e.gen.Partitions, info)
	}), nil
}

// listSnapshots returns the snapshots of a projection. A region that has no place for them, or whose user has no right to it, has none: a read model is not to wait for that.
func listSnapshots(ctx context.Context, from projections.Snapshots, name string) ([]projections.Snapshot, error) {
	list, err := from.List(ctx, name)
	if errors.Is(err, events.ErrNoLog) || errors.Is(err, events.ErrUnauthorized) {
		return nil, nil
	}
	return list, err
}

// usable reports whether a snapshot is one of a read model that a log makes, and goes on from: of the same definition and history, with as many partitions, and of a record that is retained.
func usable(s *projections.Snapshot, def *projections.Definition, partitions int, info events.Info) bool {
	at, ok := s.Position.Point(info.Origin)
	return ok && at.Sequence == s.Sequence && s.Sequence >= max(info.First, 1) && s.Definition == def.Fingerprint() && s.Partitions == partitions &&
		(events.Histories{info.Origin: info.Terms}).Covers(info.Head(), s.Position) == events.Yes
}

// loadSnapshot writes a snapshot into partitions that are empty. It returns ErrSnapshotDamaged when it is not what it should be; then some may be half loaded.
func (e *engine) loadSnapshot(ctx context.Context, info events.Info, headers []projections.Header, empty []int, s *projections.Snapshot) error {
	seen, err := e.log.Record(ctx, s.Sequence)
	if errors.Is(err, events.ErrNotFound) {
		return events.Errorf(projections.ErrSnapshotDamaged, "the log has no record at its sequence %d", s.Sequence)
	}
	if err != nil {
		return err
	}
	r, err := e.openBase(ctx, s)
	if err != nil {
		return err
	}
	defer r.Close()
	l := &loading{e: e, headers: headers, empty: make(map[int]*projections.Header, len(empty)), seen: seen.Fingerprint(), target: info.Head(), at: info.Position(0)}
	for _, n := range empty {
		l.empty[n] = nil
	}
	for {
		h, d, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return l.finish(ctx, r.Meta().Mark)
		case err == nil && h != nil:
			err = l.begin(ctx, h)
		case err == nil:
			err = l.document(ctx, d)
		}
		if err != nil {
			return err
		}
	}
}

// openBase opens a snapshot that was listed.
func (e *engine) openBase(ctx context.Context, s *projections.Snapshot) (*opened, error) {
	body, err := e.base.snapshots.Open(ctx, s.Projection, s.ID)
	if err != nil {
		return nil, err
	}
	r, err := snapshots.NewReader(body, e.def)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	o := &opened{r, body}
	if m := r.Meta(); m.Partitions != e.gen.Partitions || m.Sequence != s.Sequence || !m.Position.Equal(s.Position) {
		o.Close()
		return nil, events.Errorf(projections.ErrSnapshotDamaged, "it is of %s with %d partitions, and was listed as of %s with %d", m.Position, m.Partitions, s.Position, s.Partitions)
	}
	return o, nil
}

// opened is a snapshot that is read.
type opened struct {
	*snapshots.Reader
	body io.Closer
}

func (o *opened) Close() {
	o.Reader.Close()
	_ = o.body.Close() // it was only read
}

// loading writes one snapshot.
type loading struct {
	e       *engine
	headers []projections.Header
	empty   map[int]*projections.Header // those that are written, and what they will be
	seen    events.Hash
	target  events.Position
	at      events.Position // the position of nothing

	now     int // the partition; -1: it is not to be written
	writes  []projections.Write
	written uint64
}

// begin takes the next partition.
func (l *loading) begin(ctx context.Context, h *projections.Header) error {
	if err := l.flush(ctx); err != nil {
		return err
	}
	l.now = -1
	if h.Seen != l.seen {
		return events.Errorf(projections.ErrSnapshotDamaged, "it was taken at the record %s, and the log has %s at %s", h.Seen, l.seen, h.Checkpoint)
	}
	if _, ok := l.empty[h.Partition]; !ok {
		return nil
	}
	l.now = h.Partition
	end := *h
	end.State, end.Owner, end.Target = projections.Building, l.e.owner, l.target
	l.empty[l.now] = &end
	if l.headers[l.now].State == projections.Loading {
		return nil
	}
	if err := l.e.wanted(ctx); err != nil {
		return err
	}
	made := projections.Header{Partition: l.now, State: projections.Loading, Owner: l.e.owner, Checkpoint: l.at, Target: l.target, Definition: l.e.finger}
	err := l.e.store.Create(ctx, l.e.gen, made)
	if errors.Is(err, projections.ErrFenced) {
		return resync("somebody else made partition %d", l.now)
	}
	l.headers[l.now] = made
	return err
}

// document takes the next document.
func (l *loading) document(ctx context.Context, d *projections.Document) error {
	if l.now < 0 {
		return nil
	}
	entry := &entry{key: d.Key, partition: l.now}
	w := projections.Write{Document: *d, Create: true}
	l.e.begin()
	if err := l.e.reindex(entry, &w); err != nil {
		return events.Errorf(projections.ErrSnapshotDamaged, "the document %q cannot be put into the indexes: %w", d.Key, err)
	}
	w.Index = slices.Clone(w.Index)
	if l.writes = append(l.writes, w); len(l.writes) < loadStep {
		return nil
	}
	return l.flush(ctx)
}

// flush writes what was taken.
func (l *loading) flush(ctx context.Context) error {
	if len(l.writes) == 0 {
		return nil
	}
	if err := l.e.paced(ctx, 0); err != nil {
		return err
	}
	h := &l.headers[l.now]
	next := *h
	for i := range l.writes {
		next.Documents++
		next.Digest = next.Digest.Add(l.writes[i].Digest)
	}
	if err := l.e.store.Apply(ctx, l.e.gen, l.e.def, []projections.Commit{{Partition: l.now, Expect: h.Checkpoint, Next: next, Writes: l.writes}})[0]; err != nil {
		return l.e.refusal(err)
	}
	*h = next
	l.written += uint64(len(l.writes))
	l.writes = l.writes[:0]
	l.e.docs.Store(l.written)
	return nil
}

// finish gives the partitions the position of the snapshot.
func (l *loading) finish(ctx context.Context, mark uint64) error {
	if err := l.flush(ctx); err != nil {
		return err
	}
	for n, end := range l.empty {
		if end == nil {
			return events.Errorf(projections.ErrSnapshotDamaged, "it lacks partition %d", n)
		}
		seq, _ := end.Checkpoint.Point(l.e.log.Origin())
		commit := projections.Commit{Partition: n, Expect: l.headers[n].Checkpoint, Next: *end}
		if mark != 0 {
			commit.Marks = []projections.PartitionMark{{Sequence: seq.Sequence, Number: mark, Documents: end.Documents, Digest: end.Digest}}
		}
		if err := l.e.store.Apply(ctx, l.e.gen, l.e.def, []projections.Commit{commit})[0]; err != nil {
			return l.e.refusal(err)
		}
		l.headers[n] = *end
	}
	return nil
}

// empty removes what was loaded into a partition so far.
func (e *engine) empty(ctx context.Context, h *projections.Header) error {
	for {
		_, page, err := e.store.Page(ctx, e.gen, e.def, h.Partition, "", loadStep)
		if err != nil {
			return err
		}
		next := *h
		next.Documents, next.Parked, next.Digest = 0, 0, projections.Digest{} // nobody asks what a partition that is loading sums up to
		if len(page) == 0 && next.Documents == h.Documents && next.Digest == h.Digest {
			return nil
		}
		writes := make([]projections.Write, len(page))
		for i := range page {
			d := &page[i]
			writes[i] = projections.Write{Document: projections.Document{Key: d.Key}, Remove: true}
			at := &entry{}
			if d.Values != nil && e.placed(at, d.Parked, d.Values) == nil {
				writes[i].Unindex = e.entriesOf(at)
			}
		}
		if err := e.store.Apply(ctx, e.gen, e.def, []projections.Commit{{Partition: h.Partition, Expect: h.Checkpoint, Next: next, Writes: writes}})[0]; err != nil {
			return e.refusal(err)
		}
		*h = next
		if len(page) == 0 {
			return nil
		}
	}
}
