package projector

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// markPatience is how long a snapshot waits for a mark: an idle log gets one each minute.
	markPatience = 90 * time.Second
	// snapshotLook is how often it is looked whether a snapshot is due: a read model has its first one soon after it is live.
	snapshotLook = time.Minute
)

// snapshotsOf returns where a version's snapshots are; nil: it has none. A stream that is not ours has no marks at which one could be taken.
func (p *Projector) snapshotsOf(v Version) projections.Snapshots {
	if v.Projection.Definition().Source != nil {
		return nil
	}
	return p.options.Snapshots
}

// snapshotter takes snapshots that are asked for, and those that are due, until ctx ends.
func (p *Projector) snapshotter(ctx context.Context) {
	if p.options.Snapshots == nil {
		return
	}
	asked := make(chan projections.Entry)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	watcher.Go(func() { p.watchSnapshots(ctx, asked) })
	look := min(p.options.SnapshotInterval, snapshotLook)
	next, due := timerOf(look), schedule{interval: p.options.SnapshotInterval}
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-asked:
			p.obeySnapshot(ctx, e)
		case <-next:
			if err := p.routine(ctx, &due); err != nil && ctx.Err() == nil {
				again := due.failed(time.Now())
				p.options.Logger.WarnContext(ctx, "no snapshot was taken; it is tried again", "in", again.String(), "reason", err.Error())
			}
			next = timerOf(look)
		}
	}
}

// schedule says when a snapshot is taken that nobody asked for.
type schedule struct {
	interval   time.Duration
	generation uint32        // it is of that one; 0: none was live yet
	at         time.Time     // not before
	retry      time.Duration // how long was waited after it last failed; 0: it did not
}

// of makes the schedule that of a generation.
func (s *schedule) of(generation uint32) {
	if generation != s.generation {
		*s = schedule{interval: s.interval, generation: generation}
	}
}

// young puts off what is due while the newest snapshot is no older than the interval: whoever was here before may have taken it, or somebody asked for it.
func (s *schedule) young(taken, now time.Time) bool {
	left := taken.Add(s.interval).Sub(now)
	if left <= 0 || left > s.interval { // beyond it: a clock was set back
		return false
	}
	s.at, s.retry = now.Add(left), 0
	return true
}

// done is for one that was taken, or is not needed.
func (s *schedule) done(now time.Time) { s.at, s.retry = now.Add(s.interval), 0 }

// failed is for one that could not be taken, and returns how long is waited: longer each time.
func (s *schedule) failed(now time.Time) time.Duration {
	s.retry = min(max(2*s.retry, snapshotLook), s.interval)
	s.at = now.Add(s.retry)
	return s.retry
}

// watchSnapshots sends each job that is asked for.
func (p *Projector) watchSnapshots(ctx context.Context, out chan<- projections.Entry) {
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) {
		for e, err := range p.kv.Watch(ctx, projections.SnapshotKey(p.def.Name)) {
			if err != nil {
				break
			}
			select {
			case out <- e:
				wait = minWait
			case <-ctx.Done():
			}
		}
		sleep(ctx, wait)
	}
}

// obeySnapshot takes a snapshot that was asked for, and says what came of it.
func (p *Projector) obeySnapshot(ctx context.Context, e projections.Entry) {
	var job projections.SnapshotJob
	if len(e.Value) == 0 || json.Unmarshal(e.Value, &job) != nil || !job.Running() {
		return
	}
	s, err := p.snapshot(ctx)
	if ctx.Err() != nil {
		return // whoever is next takes it
	}
	now := time.Now().UTC()
	job.State, job.Finished = projections.SnapshotDone, &now
	if err != nil {
		code, _ := events.CodeOf(err)
		job.State, job.Code, job.Message = projections.SnapshotFailed, string(code), err.Error()
	} else {
		job.Snapshot = &s
	}
	for wait := minWait; ctx.Err() == nil; wait = min(2*wait, maxWait) { // or nobody could ask for another one
		_, err := projections.WriteJSON(ctx, p.kv, projections.SnapshotKey(p.def.Name), job, e.Revision)
		if err == nil || errors.Is(err, projections.ErrRevision) {
			return
		}
		sleep(ctx, wait)
	}
}

// routine takes a snapshot if one is due: none of the live generation can be used, or the newest one is older than the interval and has other documents.
func (p *Projector) routine(ctx context.Context, due *schedule) error {
	now := time.Now()
	pointer, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil || pointer.Generation == 0 || pointer.Source != nil {
		return err
	}
	if due.of(pointer.Generation); now.Before(due.at) {
		return nil
	}
	if job, _, err := projections.ReadJSON[projections.Replay](ctx, p.kv, projections.ReplayKey(p.def.Name)); err != nil || job.Running() {
		return err // what is live may be wrong
	}
	v, ok := p.version(pointer.Definition)
	if !ok {
		return nil
	}
	headers, err := p.store.Headers(ctx, pointer.Live(p.def.Name))
	if err != nil || slices.ContainsFunc(headers, func(h projections.Header) bool { return h.State != projections.Live }) {
		return err // the first generation is the one that is pointed at also while it is built: of half of it nobody needs one
	}
	info, err := v.Log.Info(ctx)
	if err != nil {
		return err
	}
	list, err := listSnapshots(ctx, p.options.Snapshots, p.def.Name)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, func(s projections.Snapshot) bool {
		return usable(&s, v.Projection.Definition(), pointer.Partitions, info)
	}); i >= 0 {
		if due.young(list[i].Taken, now) {
			return nil
		}
		if digest, documents, _ := projections.Sum(headers); digest.String() == list[i].Digest && documents == list[i].Documents {
			due.done(now)
			return nil
		}
	}
	if _, err := p.snapshot(ctx); err != nil {
		return err
	}
	due.done(time.Now())
	return nil
}

// snapshot takes a snapshot of the live generation, and drops those that are too many.
func (p *Projector) snapshot(ctx context.Context) (projections.Snapshot, error) {
	pointer, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil {
		return projections.Snapshot{}, err
	}
	v, ok := p.version(pointer.Definition)
	if !ok || pointer.Source != nil {
		return projections.Snapshot{}, events.Errorf(projections.ErrUnavailable, "%w: the live generation of %s is not folded by this program from the installation's log", errNotTaken, p.def.Name)
	}
	began := time.Now()
	s, err := p.takeSnapshot(ctx, pointer.Live(p.def.Name), v.Projection.Definition(), markPatience)
	if o := p.options.Observer; o != nil && ctx.Err() == nil {
		o.Snapshotted(p.def.Name, s, err)
	}
	if err != nil {
		return s, err
	}
	p.options.Logger.InfoContext(ctx, "a snapshot was taken", "snapshot", s.ID, "sequence", s.Sequence, "documents", s.Documents, "bytes", s.Bytes, "took", time.Since(began).Round(time.Millisecond).String())
	if err := p.prune(ctx, v.Log, &pointer); err != nil && ctx.Err() == nil {
		p.options.Logger.WarnContext(ctx, "old snapshots could not be dropped; it is tried again after the next one", "reason", err.Error())
	}
	return s, nil
}

// prune drops the snapshots of a version that are too many, and all that are of no use: of versions that are neither live nor kept, of another history, or of another number of partitions.
func (p *Projector) prune(ctx context.Context, log events.Reader, pointer *projections.Pointer) error {
	info, err := log.Info(ctx)
	if err != nil {
		return err
	}
	list, err := p.options.Snapshots.List(ctx, p.def.Name)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	var first error
	for i := range list {
		s := &list[i]
		needed := p.needs(s, pointer) && (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), s.Position) == events.Yes
		if needed {
			seen[s.Definition]++
		}
		if needed && seen[s.Definition] <= p.options.SnapshotCount {
			continue
		}
		if err := p.options.Snapshots.Delete(ctx, p.def.Name, s.ID); err != nil && !errors.Is(err, projections.ErrUnknownSnapshot) && first == nil {
			first = err
		}
	}
	return first
}

// needs reports whether a generation could begin with a snapshot: the live one, the one before, or one that is built anew.
func (p *Projector) needs(s *projections.Snapshot, pointer *projections.Pointer) bool {
	switch s.Definition {
	case pointer.Definition:
		return s.Partitions == pointer.Partitions || s.Partitions == p.options.Partitions
	case p.def.Fingerprint():
		return s.Partitions == p.options.Partitions
	}
	return pointer.Previous != nil && s.Definition == pointer.Previous.Definition && s.Partitions == pointer.Previous.Partitions
}
