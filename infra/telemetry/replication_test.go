package telemetry_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
)

// copyAt is a copy that stands as it is told to.
type copyAt struct {
	now atomic.Pointer[events.Replication]
}

func (c *copyAt) Replication() events.Replication { return *c.now.Load() }

func TestALagThatIsNotKnownHasNoSample(t *testing.T) {
	tel := newTelemetry(t, nil)
	at := func(seq uint64) events.Position {
		return events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: seq})
	}
	c := &copyAt{}
	stand := func(r events.Replication) {
		r.Origin, r.Leader, r.Region = "us", "us", "eu"
		c.now.Store(&r)
	}
	stand(events.Replication{State: events.CopyFollows, Head: at(90), LeaderHead: at(100), Lag: &events.ReplicationLag{Events: 10, Seconds: 1.5}})
	tel.ObserveCopy(c)
	s := scraped(t, tel)
	s.is(1, "tidemark_replication_known", "origin", "us", "leader", "us")
	s.is(10, "tidemark_replication_lag_events")
	s.is(1.5, "tidemark_replication_lag_seconds")
	s.is(90, "tidemark_replication_head_sequence")
	s.is(100, "tidemark_replication_leader_head_sequence")
	s.is(1, "tidemark_replication_state", "state", "follows")
	s.is(0, "tidemark_replication_state", "state", "unknown")

	for _, unknown := range []events.Replication{
		{State: events.CopyUnknown, Head: at(90), LeaderHead: at(100)},
		{State: events.CopyUnknown, Head: at(90), Lag: &events.ReplicationLag{}}, // says 0 and does not know
		{State: events.CopyDiverged, Head: at(90), Lag: &events.ReplicationLag{}},
		{State: events.CopyFollows, Head: at(90)}, // nil is not 0
	} {
		stand(unknown)
		s = scraped(t, tel)
		s.is(0, "tidemark_replication_known")
		s.missing("tidemark_replication_lag_events")
		s.missing("tidemark_replication_lag_seconds")
		s.missing("tidemark_replication_leader_head_sequence")
		s.is(90, "tidemark_replication_head_sequence")
		s.is(1, "tidemark_replication_state", "state", string(unknown.State))
	}

	stand(events.Replication{State: events.CopyFollows, Head: at(100), LeaderHead: at(100), Lag: &events.ReplicationLag{}})
	scraped(t, tel).is(0, "tidemark_replication_lag_events") // known to be none
	stand(events.Replication{State: events.CopyLeads, Head: at(100)})
	s = scraped(t, tel)
	s.is(1, "tidemark_replication_known")
	s.is(0, "tidemark_replication_lag_events")
}

// floorsOf answers as it is told to.
type floorsOf struct {
	list  []events.Floor
	err   error
	hangs bool
	asked int
}

func (f *floorsOf) Floors(ctx context.Context) ([]events.Floor, error) {
	f.asked++
	if f.hangs {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return f.list, f.err
}

func TestFloorsAreShownForEachRegionAndNotAtAllWhileTheLeaderDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, nil)
		f := &floorsOf{list: []events.Floor{{Region: "ap", Sequence: 80}, {Region: "us", Sequence: 100, Connected: true}}}
		tel.ObserveFloors("us", f)
		s := scraped(t, tel)
		s.is(80, "tidemark_replication_floor_sequence", "origin", "us", "copy", "ap", "region", "us")
		s.is(100, "tidemark_replication_floor_sequence", "copy", "us")
		s.is(0, "tidemark_replication_floor_connected", "copy", "ap")
		s.is(1, "tidemark_replication_floor_connected", "copy", "us")
		s.is(1, "tidemark_replication_floors_known", "origin", "us")

		scraped(t, tel)
		if f.asked != 1 {
			t.Errorf("two scrapes at once asked %d times", f.asked)
		}
		f.err = events.Errorf(events.ErrUnreachable, "the leader does not answer")
		<-time.After(2 * time.Second)
		s = scraped(t, tel)
		s.missing("tidemark_replication_floor_sequence")
		s.missing("tidemark_replication_floor_connected")
		s.is(0, "tidemark_replication_floors_known")

		f.hangs = true
		<-time.After(2 * time.Second)
		began := time.Now()
		s = scraped(t, tel)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a leader that hangs held the scrape up for %s", took)
		}
		s.is(0, "tidemark_replication_floors_known")
	})
}
