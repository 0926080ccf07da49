package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"tidemark.dev/events"
)

const (
	// floorsPatience bounds asking for an origin's floors during a scrape, and floorsAge how long an answer is used, so that several
	// scrapers do not multiply the questions.
	floorsPatience = time.Second
	floorsAge      = time.Second
)

// replication asks copies and floors at each scrape.
type replication struct {
	state, known, lagEvents, head, leaderHead metric.Int64ObservableGauge
	lagSeconds                                metric.Float64ObservableGauge
	floor, connected, floorsKnown             metric.Int64ObservableGauge

	mu     sync.Mutex
	copies []events.Copy
	floors []*floors
}

// floors is an origin's Floors with what it said last.
type floors struct {
	origin string
	of     events.Floors
	asked  time.Time
	list   []events.Floor
	err    error
}

func (r *replication) make(m *maker) {
	r.state = m.gauge("tidemark_replication_state", "1", "1 for the state that this region's copy of an origin is in: leads, follows, unknown or diverged.")
	r.known = m.gauge("tidemark_replication_known", "1", "Whether it is known how far this region's copy is behind the leader's.")
	r.lagEvents = m.gauge("tidemark_replication_lag_events", "{event}", "Records of the leader that this region's copy does not hold. No sample while unknown.")
	r.lagSeconds = m.floatGauge("tidemark_replication_lag_seconds", "s", "Age of the oldest of them by the leader's time. No sample while unknown.")
	r.head = m.gauge("tidemark_replication_head_sequence", "{sequence}", "Last sequence of this region's copy.")
	r.leaderHead = m.gauge("tidemark_replication_leader_head_sequence", "{sequence}", "Last sequence of the leader. No sample while unknown.")
	m.observe(r.observeCopies, r.state, r.known, r.lagEvents, r.lagSeconds, r.head, r.leaderHead)

	r.floor = m.gauge("tidemark_replication_floor_sequence", "{sequence}", "Up to which sequence a region has confirmed to hold the origin, as its leader knows.")
	r.connected = m.gauge("tidemark_replication_floor_connected", "1", "Whether that region follows the leader now.")
	r.floorsKnown = m.gauge("tidemark_replication_floors_known", "1", "Whether the leader answered when it was asked for the floors.")
	m.observe(r.observeFloors, r.floor, r.connected, r.floorsKnown)
}

// ObserveCopy shows how this region's copy of an origin stands to the leader's.
func (t *Telemetry) ObserveCopy(c events.Copy) {
	t.replication.mu.Lock()
	defer t.replication.mu.Unlock()
	t.replication.copies = append(t.replication.copies, c)
}

// ObserveFloors shows how much of an origin each region has confirmed. They are asked for when metrics are scraped, for a second at most.
func (t *Telemetry) ObserveFloors(origin string, f events.Floors) {
	t.replication.mu.Lock()
	defer t.replication.mu.Unlock()
	t.replication.floors = append(t.replication.floors, &floors{origin: origin, of: f})
}

func (r *replication) observeCopies(_ context.Context, o metric.Observer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.copies {
		r.observeCopy(c.Replication(), o)
	}
	return nil
}

func (r *replication) observeCopy(now events.Replication, o metric.Observer) {
	by := labels("origin", now.Origin, "leader", now.Leader)
	for _, state := range [...]events.CopyState{events.CopyLeads, events.CopyFollows, events.CopyUnknown, events.CopyDiverged} {
		o.ObserveInt64(r.state, flag(now.State == state), labels("origin", now.Origin, "leader", now.Leader, "state", string(state)))
	}
	if point, ok := now.Head.Point(now.Origin); ok {
		o.ObserveInt64(r.head, whole(point.Sequence), by)
	}
	lag := now.Lag
	switch {
	case now.State == events.CopyLeads:
		lag = &events.ReplicationLag{} // it is behind nobody
	case now.State != events.CopyFollows:
		lag = nil // whatever it was
	}
	o.ObserveInt64(r.known, flag(lag != nil), by)
	if lag == nil {
		return
	}
	o.ObserveInt64(r.lagEvents, whole(lag.Events), by)
	o.ObserveFloat64(r.lagSeconds, lag.Seconds, by)
	if point, ok := now.LeaderHead.Point(now.Origin); ok {
		o.ObserveInt64(r.leaderHead, whole(point.Sequence), by)
	}
}

func (r *replication) observeFloors(ctx context.Context, o metric.Observer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.floors {
		f.ask(ctx)
		o.ObserveInt64(r.floorsKnown, flag(f.err == nil), labels("origin", f.origin))
		if f.err != nil {
			continue
		}
		for _, floor := range f.list {
			by := labels("origin", f.origin, "copy", floor.Region)
			o.ObserveInt64(r.floor, whole(floor.Sequence), by)
			o.ObserveInt64(r.connected, flag(floor.Connected), by)
		}
	}
	return nil
}

func (f *floors) ask(ctx context.Context) {
	if time.Since(f.asked) < floorsAge {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, floorsPatience)
	defer cancel()
	f.list, f.err = f.of.Floors(ctx)
	f.asked = time.Now()
}
