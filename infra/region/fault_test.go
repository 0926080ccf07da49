package region_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
)

// tally is what writers were told about their events.
type tally struct {
	mu       sync.Mutex
	stored   map[string]uint64 // id -> acknowledged sequence
	refused  map[string]error  // nothing was written
	unknown  map[string]error
	strange  []error
	attempts int
}

// write appends events in a region until ctx ends.
func (a *tally) write(ctx context.Context, r *region.Region, name string) {
	pace := time.NewTicker(writerPace)
	defer pace.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		receipt, err := r.Log().Append(context.WithoutCancel(ctx), events.One(event(name, id), events.ExpectAny()))
		a.mu.Lock()
		a.attempts++
		switch {
		case err == nil:
			a.stored[id] = receipt.Last
		case errors.Is(err, events.ErrUnknownOutcome):
			a.unknown[id] = err
		case errors.Is(err, events.ErrUnreachable):
			a.refused[id] = err
		default:
			a.strange = append(a.strange, err)
		}
		a.mu.Unlock()
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
}

// writerPace is how long a writer waits between two events: as fast as they go, three of them leave a small machine nothing to mirror with.
const writerPace = 3 * time.Millisecond

func (a *tally) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.stored)
}

// check holds what the writers were told against a region's copy of the log.
func (a *tally) check(t *testing.T, r *region.Region) {
	t.Helper()
	found := map[string][]uint64{}
	for batch, err := range r.Log().Read(t.Context(), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range batch {
			if record.Kind == events.KindEvent {
				found[record.Event.ID] = append(found[record.Event.ID], record.Sequence)
			}
		}
	}
	for id, seq := range a.stored {
		if got := found[id]; len(got) != 1 || got[0] != seq {
			t.Errorf("%s: %s was acknowledged at %d and is at %v", r.Name(), id, seq, got)
		}
	}
	for id, err := range a.refused {
		if got := found[id]; len(got) != 0 {
			t.Errorf("%s: %s was refused (%v) and is at %v", r.Name(), id, err, got)
		}
	}
	for id := range a.unknown {
		if got := found[id]; len(got) > 1 {
			t.Errorf("%s: %s is there twice: %v", r.Name(), id, got)
		}
	}
	for _, err := range a.strange {
		t.Errorf("%s: a writer was told %v", r.Name(), err)
	}
	if len(found) > a.attempts {
		t.Errorf("%s: %d events of %d attempts", r.Name(), len(found), a.attempts)
	}
}

// TestALinkThatBreaksIsToldHonestlyAndHealsCompletely breaks a region's links in every way while there and at the leader events are written. During the fault
// the region says that its lag is not known, and goes on reading; afterwards every acknowledged event is everywhere, once.
func TestALinkThatBreaksIsToldHonestlyAndHealsCompletely(t *testing.T) {
	for _, c := range []struct {
		name   string
		happen func(*netfault.Proxy)
	}{
		{"cut", (*netfault.Proxy).Cut},
		{"half open", (*netfault.Proxy).Stall},
		{"nothing arrives from the leader", func(p *netfault.Proxy) { p.OneWay(netfault.ToTarget) }},
		{"nothing arrives at the leader", func(p *netfault.Proxy) { p.OneWay(netfault.FromTarget) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t)
			m.level(t, m.ap)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			a := &tally{stored: map[string]uint64{}, refused: map[string]error{}, unknown: map[string]error{}}
			var writers sync.WaitGroup
			for _, r := range []*region.Region{m.us, m.eu, m.ap} {
				writers.Go(func() { a.write(ctx, r, "of-"+r.Name()) })
			}
			eventually(t, "events are written", func() bool { return a.count() > 100 })
			for _, w := range m.wires["ap"] {
				c.happen(w)
			}
			eventually(t, "the lag is not known", func() bool {
				now := m.ap.Copy().Replication()
				return now.State == events.CopyUnknown && now.Lag == nil && now.Message != ""
			})
			m.during(t, a)
			for _, w := range m.wires["ap"] {
				w.Heal()
			}
			before := a.count()
			eventually(t, "the leader is written to", func() bool { return a.count() > before+100 })
			eventually(t, "the copy follows again", func() bool { return m.ap.Copy().Replication().State == events.CopyFollows })
			stop()
			writers.Wait()
			for _, r := range []*region.Region{m.eu, m.ap} {
				m.level(t, r)
				same(t, m.us, r)
			}
			a.check(t, m.us)
			t.Logf("%d acknowledged, %d refused, %d unknown", len(a.stored), len(a.refused), len(a.unknown))
		})
	}
}

// during looks at the regions while ap is cut off.
func (m *mesh) during(t *testing.T, a *tally) {
	t.Helper()
	written := a.count()
	stuck := head(t, m.ap)
	eventually(t, "the others go on", func() bool { return a.count() > written+100 && head(t, m.eu) > stuck })
	if now := m.ap.Copy().Replication(); now.State != events.CopyUnknown || now.Lag != nil {
		t.Errorf("cut off, ap says %+v", now)
	}
	records := 0
	for batch, err := range m.ap.Log().Read(t.Context(), events.Range{}) {
		if err != nil {
			t.Fatalf("cut off, ap cannot be read: %v", err)
		}
		records += len(batch)
	}
	if uint64(records) < stuck { //nolint:gosec // a count
		t.Errorf("cut off, ap yields %d records of %d", records, stuck)
	}
	floors, err := m.us.Floors().Floors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range floors {
		if f.Region == "ap" && (f.Sequence > head(t, m.ap)) {
			t.Errorf("the leader believes that ap holds %d records, it holds %d", f.Sequence, head(t, m.ap))
		}
	}
	if _, err := m.ap.Floors().Floors(t.Context()); err == nil {
		t.Error("cut off, ap knows the floors")
	}
}

// TestASlowLinkIsFollowed has 200 ms in each direction: writes and mirroring take longer, and nothing is unknown for that.
func TestASlowLinkIsFollowed(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	for _, w := range m.wires["ap"] {
		w.Delay(200*time.Millisecond, 50*time.Millisecond)
	}
	for i := range 20 {
		id := fmt.Sprint("slow-", i)
		if _, err := m.ap.Log().Append(t.Context(), events.One(event("e", id), events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
	m.level(t, m.ap)
	same(t, m.us, m.ap)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	info, err := m.us.Log().Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Confirm(ctx, m.ap.Floors(), info.Head(), 3); err != nil {
		t.Error(err)
	}
}

// TestAMirrorServesFromItsOwnCopyWhenItStartsWithoutItsLeader: only a copy that never existed needs the leader.
func TestAMirrorServesFromItsOwnCopyWhenItStartsWithoutItsLeader(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	for i := range 50 {
		if _, err := m.us.Log().Append(t.Context(), events.One(event("e", fmt.Sprint(i)), events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
	m.level(t, m.ap)
	if err := m.ap.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range m.wires["ap"] {
		w.Cut()
	}
	again := open(t, m.configs["ap"])
	if head(t, again) != 51 {
		t.Errorf("the copy ends at %d", head(t, again))
	}
	if now := again.Copy().Replication(); now.State != events.CopyUnknown || now.Lag != nil {
		t.Errorf("without its leader it says %+v", now)
	}
	_, err := again.Log().Append(t.Context(), events.One(event("e", "alone"), events.ExpectAny()))
	if !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("an append without a leader: %v", err)
	}
	for _, w := range m.wires["ap"] {
		w.Heal()
	}
	m.level(t, again)
	same(t, m.us, again)
}
