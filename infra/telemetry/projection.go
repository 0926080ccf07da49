package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// minFresh is how old what a projector said last may be for its gauges to be shown. Each looks at its servers every second or so, and tells;
// one that hangs, folds a very large batch or lost its lease does not.
const minFresh = 10 * time.Second

// projection implements projector.Observer, for all projections of a process.
type projection struct {
	region string
	tracer trace.Tracer

	records, written, removed       metric.Int64Counter
	marks                           metric.Int64Counter
	took, batch, delay              metric.Float64Histogram
	parked, refolds, resyncs, fence metric.Int64Counter
	skips, released, ignored        metric.Int64Counter
	replays, snapshots              metric.Int64Counter
	gauges                          projectionGauges

	mu    sync.Mutex
	known map[string]*model
}

var _ projector.Observer = (*projection)(nil)

// projectionGauges are asked for at each scrape.
type projectionGauges struct {
	state, generation, known, checkpoint, lagEvents metric.Int64ObservableGauge
	lagSeconds                                      metric.Float64ObservableGauge
	documents, parked, unrouted, mark               metric.Int64ObservableGauge
	markAge                                         metric.Float64ObservableGauge
	replayRunning, replaySequence, replayHead       metric.Int64ObservableGauge
	replayYields                                    metric.Int64ObservableGauge
	replayRate, replayRemaining                     metric.Float64ObservableGauge
	snapshotAge                                     metric.Float64ObservableGauge
	snapshotBytes                                   metric.Int64ObservableGauge
}

// model is what was told last about one projection.
type model struct {
	state  projections.ProjectorState // empty: it never had the lease
	stands projector.Standing         // of the live generation
	told   time.Time                  // when
	even   time.Time                  // when it stood at the head last
	replay projections.Replay
	taken  projections.Snapshot // last, by this process
	roles  map[projector.Role]metric.MeasurementOption
}

func newProjection(m *maker, region string, tracer trace.Tracer) *projection {
	p := &projection{region: region, tracer: tracer, known: make(map[string]*model)}
	p.records = m.counter("tidemark_projection_records_total", "{record}", "Records folded and committed.")
	p.written = m.counter("tidemark_projection_documents_written_total", "{document}", "Documents written.")
	p.removed = m.counter("tidemark_projection_documents_removed_total", "{document}", "Documents removed.")
	p.marks = m.counter("tidemark_projection_marks_total", "{mark}", "Marks that were passed: what each partition was there is recorded.")
	p.took = m.histogram("tidemark_projection_batch_duration_seconds", "s", "Routing, loading, folding and committing one batch.", seconds())
	p.batch = m.histogram("tidemark_projection_batch_records", "{record}", "Records in one batch.", counts())
	p.delay = m.histogram("tidemark_projection_delay_seconds", "s",
		"From when the broker stored the oldest record of a batch to its commit. Live generations only.", seconds())
	p.parked = m.counter("tidemark_projection_parked_total", "{document}", "Documents whose fold stopped at an event that cannot be applied.")
	p.skips = m.counter("tidemark_projection_skips_total", "{skip}", "Skips that were met in the log: events that are passed over for one document.")
	p.released = m.counter("tidemark_projection_released_total", "{document}", "Parked documents that were folded again because of a skip.")
	p.ignored = m.counter("tidemark_projection_skip_records_ignored_total", "{record}", "Records under the name of skip records that nobody obeys.")
	p.refolds = m.counter("tidemark_projection_refolds_total", "{document}", "Documents folded again, because they were not what was written.")
	p.resyncs = m.counter("tidemark_projection_resyncs_total", "{resync}", "How often the stored checkpoints were not the remembered ones.")
	p.fence = m.counter("tidemark_projection_fenced_total", "{refusal}", "Writes that the store refused because of another owner.")
	p.replays = m.counter("tidemark_projection_replays_total", "{replay}", "Replays that ended: equal, different, uncompared, failed, or cancelled.")
	p.snapshots = m.counter("tidemark_projection_snapshots_total", "{snapshot}", "Snapshots that were taken, or failed.")
	g := &p.gauges
	g.snapshotAge = m.floatGauge("tidemark_projection_snapshot_age_seconds", "s", "How long ago this process took the newest snapshot. No sample when it took none.")
	g.snapshotBytes = m.gauge("tidemark_projection_snapshot_bytes", "By", "How long that is.")
	g.state = m.gauge("tidemark_projection_state", "1", "1 for the state that the projector is in: starting, following, waiting, refused or paused.")
	g.generation = m.gauge("tidemark_projection_generation", "{generation}", "Number of the live generation.")
	g.known = m.gauge("tidemark_projection_lag_known", "1", "Whether it is known how far the read model is behind this region's copy of the log.")
	g.checkpoint = m.gauge("tidemark_projection_checkpoint_sequence", "{sequence}", "Smallest checkpoint of the live generation's partitions.")
	g.lagEvents = m.gauge("tidemark_projection_lag_events", "{event}", "Records of this region's copy of the log that are not applied. No sample while unknown.")
	g.lagSeconds = m.floatGauge("tidemark_projection_lag_seconds", "s", "At most so old is the oldest of them. No sample while unknown.")
	g.documents = m.gauge("tidemark_projection_documents", "{document}", "Documents of the live generation.")
	g.parked = m.gauge("tidemark_projection_parked_documents", "{document}", "Parked ones among them.")
	g.unrouted = m.gauge("tidemark_projection_unrouted_events", "{event}", "Events whose document cannot be told, since the beginning of the log.")
	g.mark = m.gauge("tidemark_projection_mark_number", "{mark}", "Number of the newest mark that every partition has passed. No sample when there is none.")
	g.markAge = m.floatGauge("tidemark_projection_mark_age_seconds", "s", "How long ago that mark was stored in the log. No sample while unknown.")
	g.replayRunning = m.gauge("tidemark_projection_replay_running", "1", "Whether a replay is running.")
	g.replaySequence = m.gauge("tidemark_projection_replay_applied_sequence", "{sequence}", "How far the running replay is.")
	g.replayHead = m.gauge("tidemark_projection_replay_head_sequence", "{sequence}", "How far it has to go, as far as known.")
	g.replayYields = m.gauge("tidemark_projection_replay_yields", "1", "Whether the running replay stands still, because the store is nearly full.")
	g.replayRate = m.floatGauge("tidemark_projection_replay_records_per_second", "{record}/s", "Records that the running replay has applied in each second lately.")
	g.replayRemaining = m.floatGauge("tidemark_projection_replay_remaining_seconds", "s", "How long the rest of the running replay takes at that speed. No sample while unknown.")
	m.observe(p.observe, g.state, g.generation, g.known, g.checkpoint, g.lagEvents, g.lagSeconds, g.documents, g.parked, g.unrouted, g.mark, g.markAge,
		g.replayRunning, g.replaySequence, g.replayHead, g.replayYields, g.replayRate, g.replayRemaining, g.snapshotAge, g.snapshotBytes)
	return p
}

// Projector returns the observer of every projector in the process.
func (t *Telemetry) Projector() projector.Observer { return t.projection }

// of returns what is known of a projection. The caller holds the lock.
func (p *projection) of(name string) *model {
	m := p.known[name]
	if m == nil {
		m = &model{roles: make(map[projector.Role]metric.MeasurementOption, 2)}
		for _, role := range [...]projector.Role{projector.Following, projector.Replaying} {
			m.roles[role] = labels("projection", name, "role", string(role))
		}
		p.known[name] = m
	}
	return m
}

// Changed takes note of the state. Without one, this process has nothing to say about the projection any more.
func (p *projection) Changed(s projections.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.State == "" {
		delete(p.known, s.Projection)
		return
	}
	p.of(s.Projection).state = s.State
}

// Stood takes note of where the live generation stands.
func (p *projection) Stood(s projector.Standing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.of(s.Projection)
	if s.Role != projector.Following {
		return
	}
	m.stands, m.told = s, time.Now()
	if !s.Asked.IsZero() && s.Sequence >= s.Head {
		m.even = s.Asked
	}
}

// Committed counts a batch, and takes note of where it stands last: whoever sees that checkpoint sees all that led to it.
func (p *projection) Committed(c *projector.Committed) {
	defer p.Stood(c.Standing)
	if len(c.Records) == 0 {
		return
	}
	p.mu.Lock()
	by := p.of(c.Projection).roles[c.Role]
	p.mu.Unlock()
	ctx := context.Background()
	p.records.Add(ctx, int64(len(c.Records)), by)
	p.written.Add(ctx, int64(c.Written), by)
	p.removed.Add(ctx, int64(c.Removed), by)
	p.marks.Add(ctx, int64(c.Marks), by)
	p.took.Record(ctx, c.Ended.Sub(c.Began).Seconds(), by)
	p.batch.Record(ctx, float64(len(c.Records)), by)
	if c.Role == projector.Following {
		p.delay.Record(ctx, max(0, c.Ended.Sub(c.Records[0].Time).Seconds()), labels("projection", c.Projection))
		p.spans(c)
	}
}

// Parked counts a document.
func (p *projection) Parked(d projector.Parked) { p.add(p.parked, 1, d.Projection) }

// Skipped counts what a skip record did.
func (p *projection) Skipped(s projector.Skipped) {
	if s.Ignored != "" {
		p.add(p.ignored, 1, s.Projection)
		return
	}
	p.add(p.skips, s.Added, s.Projection)
	p.add(p.released, s.Released, s.Projection)
}

// Refolded counts documents.
func (p *projection) Refolded(name string, documents int, _ time.Duration) {
	p.add(p.refolds, documents, name)
}

// Resynced counts.
func (p *projection) Resynced(name string) { p.add(p.resyncs, 1, name) }

// Fenced counts.
func (p *projection) Fenced(name string) { p.add(p.fence, 1, name) }

func (p *projection) add(c metric.Int64Counter, n int, name string) {
	c.Add(context.Background(), int64(n), labels("projection", name))
}

// Replayed takes note of a replay, and counts it when it ended.
func (p *projection) Replayed(r projections.Replay) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.of(r.Projection)
	ended := !r.Running() && (m.replay.ID != r.ID || m.replay.Running())
	m.replay = r
	if !ended {
		return
	}
	outcome := "uncompared"
	switch {
	case r.State == projections.ReplayFailed:
		outcome = "failed"
	case r.State == projections.ReplayCancelled:
		outcome = "cancelled"
	case r.Equal:
		outcome = "equal"
	case r.Compared:
		outcome = "different"
	}
	p.replays.Add(context.Background(), 1, labels("projection", r.Projection, "outcome", outcome))
}

// Snapshotted takes note of a snapshot, and counts it.
func (p *projection) Snapshotted(name string, s projections.Snapshot, err error) {
	outcome := "taken"
	if err != nil {
		outcome = "failed"
	} else {
		p.mu.Lock()
		p.of(name).taken = s
		p.mu.Unlock()
	}
	p.snapshots.Add(context.Background(), 1, labels("projection", name, "outcome", outcome))
}

func (p *projection) observe(_ context.Context, o metric.Observer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, m := range p.known {
		p.observeModel(o, name, m, time.Now())
	}
	return nil
}

func (p *projection) observeModel(o metric.Observer, name string, m *model, now time.Time) {
	g, by := &p.gauges, labels("projection", name)
	for _, state := range [...]projections.ProjectorState{
		projections.ProjectorStarting, projections.ProjectorFollowing, projections.ProjectorWaiting, projections.ProjectorRefused,
		projections.ProjectorPaused,
	} {
		o.ObserveInt64(g.state, flag(m.state == state), labels("projection", name, "state", string(state)))
	}
	running := m.replay.Running() && m.state != projections.ProjectorWaiting
	o.ObserveInt64(g.replayRunning, flag(running), by)
	if running {
		o.ObserveInt64(g.replaySequence, whole(m.replay.Sequence), by)
		o.ObserveInt64(g.replayHead, whole(m.replay.Head), by)
		o.ObserveInt64(g.replayYields, flag(m.replay.Yields != ""), by)
		o.ObserveFloat64(g.replayRate, m.replay.PerSecond, by)
		if m.replay.Remaining > 0 {
			o.ObserveFloat64(g.replayRemaining, m.replay.Remaining, by)
		}
	}
	if !m.taken.Taken.IsZero() {
		o.ObserveFloat64(g.snapshotAge, max(0, now.Sub(m.taken.Taken)).Seconds(), by)
		o.ObserveInt64(g.snapshotBytes, whole(m.taken.Bytes), by)
	}
	s := &m.stands
	fresh := max(minFresh, 3*s.Next)
	stands := m.state == projections.ProjectorFollowing && now.Sub(m.told) <= fresh
	known := stands && now.Sub(s.Asked) <= fresh // never asked is long ago
	o.ObserveInt64(g.known, flag(known), by)
	if !stands {
		return
	}
	o.ObserveInt64(g.generation, int64(s.Generation), by)
	o.ObserveInt64(g.checkpoint, whole(s.Sequence), labels("projection", name, "origin", s.Origin))
	o.ObserveInt64(g.documents, whole(s.Documents), by)
	o.ObserveInt64(g.parked, whole(s.Parked), by)
	o.ObserveInt64(g.unrouted, whole(s.Unrouted), by)
	if s.Mark > 0 {
		o.ObserveInt64(g.mark, whole(s.Mark), by)
	}
	if !s.Marked.IsZero() {
		o.ObserveFloat64(g.markAge, max(0, now.Sub(s.Marked)).Seconds(), by)
	}
	if !known {
		return
	}
	behind := max(s.Head, s.Sequence) - s.Sequence
	o.ObserveInt64(g.lagEvents, whole(behind), by)
	o.ObserveFloat64(g.lagSeconds, m.age(behind, now).Seconds(), by)
}

// age bounds the age of the oldest record that is not applied: it was stored after the one applied last, and after the look at which nothing
// was missing.
func (m *model) age(behind uint64, now time.Time) time.Duration {
	if behind == 0 {
		return 0
	}
	since := m.stands.Applied
	if m.even.After(since) {
		since = m.even
	}
	return max(0, now.Sub(since))
}
