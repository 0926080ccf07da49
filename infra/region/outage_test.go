//go:build cluster

package region_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
)

// TestALinkThatIsDownForMinutes belongs to scripts/cluster-test, since it takes that long.
func TestALinkThatIsDownForMinutes(t *testing.T) {
	const outage = 150 * time.Second // longer than the servers' own patience with a mirror, and than the duplicate window
	m := newMesh(t)
	m.level(t, m.ap)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a := &tally{stored: map[string]uint64{}, refused: map[string]error{}, unknown: map[string]error{}}
	var writers sync.WaitGroup
	for _, r := range []*region.Region{m.us, m.ap} {
		writers.Go(func() { a.write(ctx, r, "of-"+r.Name()) })
	}
	for _, w := range m.wires["ap"] {
		w.Cut()
	}
	eventually(t, "the lag is not known", func() bool { return m.ap.Copy().Replication().State == events.CopyUnknown })
	over := time.After(outage)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-tick.C:
			if now := m.ap.Copy().Replication(); now.State != events.CopyUnknown || now.Lag != nil {
				t.Fatalf("cut off, ap says %+v", now)
			}
		case <-over:
			waiting = false
		}
	}
	stop()
	for _, w := range m.wires["ap"] {
		w.Heal()
	}
	writers.Wait()
	m.level(t, m.ap)
	same(t, m.us, m.ap)
	a.check(t, m.us)
	t.Logf("%d acknowledged, %d refused, %d unknown", len(a.stored), len(a.refused), len(a.unknown))
}
