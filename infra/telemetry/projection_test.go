package telemetry_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/skips"
)

// settled waits until the projector has shown a checkpoint.
func settled(t *testing.T, s func() *scrape, seq float64) *scrape {
	t.Helper()
	var last *scrape
	eventually(t, "the read model is at the head", func() bool {
		last = s()
		return slices.Equal(last.values("tidemark_projection_checkpoint_sequence"), []float64{seq}) &&
			slices.Equal(last.values("tidemark_projection_lag_events"), []float64{0})
	})
	return last
}

func TestAProjectorShowsWhatItDoesAndWhereItStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, w := newTelemetry(t, nil), newWorld()
		defer w.log.Close()
		for i, n := range []int{1, 2, 3, 13, 5} { // 13 parks the document of a0
			if _, err := w.log.Append(context.Background(), events.One(deposited(i, n), events.ExpectAny())); err != nil {
				t.Fatal(err)
			}
		}
		w.project(t, w.log, tel.Projector())
		defer func() { w.end() }()
		s := settled(t, func() *scrape { <-time.After(time.Second); return scraped(t, tel) }, 6)
		of := []string{"projection", "accounts"}
		s.is(6, "tidemark_projection_checkpoint_sequence", append(of, "origin", "us")...)
		s.is(6, "tidemark_projection_records_total", append(of, "role", "live")...)
		s.is(3, "tidemark_projection_documents", of...)
		s.is(1, "tidemark_projection_parked_documents", of...)
		s.is(1, "tidemark_projection_parked_total", of...)
		s.is(0, "tidemark_projection_unrouted_events", of...)
		s.is(1, "tidemark_projection_generation", of...)
		s.is(1, "tidemark_projection_state", append(of, "state", "following")...)
		s.is(0, "tidemark_projection_state", append(of, "state", "waiting")...)
		s.is(1, "tidemark_projection_lag_known", of...)
		s.is(0, "tidemark_projection_lag_seconds", of...)
		s.is(0, "tidemark_projection_replay_running", of...)
		s.missing("tidemark_projection_replay_head_sequence")
		s.missing("tidemark_projection_replays_total")
		if n := s.values("tidemark_projection_delay_seconds_count", of...); len(n) != 1 || n[0] < 1 {
			t.Errorf("the delay was measured %v times", n)
		}

		if _, err := projections.RequestReplay(context.Background(), w.kv, "accounts", "test", time.Now()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the replay is live", func() bool {
			s = scraped(t, tel)
			return len(s.values("tidemark_projection_replays_total", "outcome", "equal")) == 1
		})
		<-time.After(2 * time.Second) // a scrape is no snapshot
		s = scraped(t, tel)
		s.is(6, "tidemark_projection_records_total", append(of, "role", "replay")...)
		s.is(2, "tidemark_projection_generation", of...)
	})
}

func TestTheAgeOfTheNewestMarkIsShownAndNeverMadeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, w := newTelemetry(t, nil), newWorld()
		defer w.log.Close()
		w.project(t, w.log, tel.Projector())
		defer func() { w.end() }()
		of := []string{"projection", "accounts"}
		s := settled(t, func() *scrape { <-time.After(time.Second); return scraped(t, tel) }, 1)
		s.missing("tidemark_projection_mark_number")
		s.missing("tidemark_projection_mark_age_seconds")
		for range 2 {
			if _, err := marks.New(w.log, marks.Options{}).Now(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(30 * time.Second)
		s = scraped(t, tel)
		s.is(2, "tidemark_projection_mark_number", of...)
		s.is(2, "tidemark_projection_marks_total", append(of, "role", "live")...)
		if age := s.values("tidemark_projection_mark_age_seconds", of...); len(age) != 1 || age[0] < 29 || age[0] > 31 {
			t.Errorf("30 s after the mark its age is %v", age)
		}
		w.end()
		<-time.After(15 * time.Second)
		scraped(t, tel).missing("tidemark_projection_mark_age_seconds") // nobody says that it is still the newest
	})
}

func TestSkipsAreCountedAndRecordsThatNobodyObeysToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, w := newTelemetry(t, nil), newWorld()
		defer w.log.Close()
		for i, n := range []int{1, 2, 3, 13, 5} { // 13 parks the document of a0
			if _, err := w.log.Append(context.Background(), events.One(deposited(i, n), events.ExpectAny())); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := skips.Write(context.Background(), w.log, "accounts", skips.Skip{Key: "a0", Sequence: 5}, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := skips.Write(context.Background(), w.log, "accounts", skips.Skip{Key: "a1", Sequence: 3}, ""); err != nil {
			t.Fatal(err)
		}
		w.log.StoreRaw("ctl.us.skip.accounts", nil, []byte("junk"))
		w.project(t, w.log, tel.Projector())
		defer func() { w.end() }()
		s := settled(t, func() *scrape { <-time.After(time.Second); return scraped(t, tel) }, 9)
		of := []string{"projection", "accounts"}
		s.is(0, "tidemark_projection_parked_documents", of...)
		s.is(2, "tidemark_projection_skips_total", of...)
		s.is(1, "tidemark_projection_released_total", of...)
		s.is(1, "tidemark_projection_skip_records_ignored_total", of...)
	})
}

func TestALagIsUnknownAndNotZeroWhenTheLogOrTheProjectorSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, w := newTelemetry(t, nil), newWorld()
		defer w.log.Close()
		w.project(t, w.log, tel.Projector())
		defer func() { w.end() }()
		settled(t, func() *scrape { <-time.After(time.Second); return scraped(t, tel) }, 1)

		w.log.Unreachable(-1)
		<-time.After(3 * time.Second)
		s := scraped(t, tel)
		s.is(0, "tidemark_projection_lag_known")
		s.missing("tidemark_projection_lag_events")
		s.missing("tidemark_projection_lag_seconds")

		w.log.Unreachable(0)
		<-time.After(20 * time.Second)
		scraped(t, tel).is(0, "tidemark_projection_lag_events") // known again

		w.end()
		<-time.After(15 * time.Second)
		s = scraped(t, tel)
		s.is(0, "tidemark_projection_lag_known")
		s.missing("tidemark_projection_lag_events")
		s.missing("tidemark_projection_checkpoint_sequence")
		s.missing("tidemark_projection_documents")
	})
}

func TestALagInSecondsIsTheAgeOfWhatIsNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel, w := newTelemetry(t, nil), newWorld()
		defer w.log.Close()
		stuck := &stuckLog{Reader: w.log}
		w.project(t, stuck, tel.Projector())
		defer func() { w.end() }()
		settled(t, func() *scrape { <-time.After(time.Second); return scraped(t, tel) }, 1)
		<-time.After(time.Hour) // nothing happens, and nothing gets old
		scraped(t, tel).is(0, "tidemark_projection_lag_seconds")

		stuck.ahead.Store(7) // the log has moved on, and the reader gets nothing of it
		<-time.After(30 * time.Second)
		s := scraped(t, tel)
		s.is(7, "tidemark_projection_lag_events")
		if age := s.values("tidemark_projection_lag_seconds"); len(age) != 1 || age[0] < 29 || age[0] > 32 {
			t.Errorf("30 s after that the lag is %v", age)
		}
	})
}

// stuckLog says that its head is further on than what it lets be read.
type stuckLog struct {
	events.Reader
	ahead atomic.Uint64
}

func (l *stuckLog) Info(ctx context.Context) (events.Info, error) {
	info, err := l.Reader.Info(ctx)
	info.Last += l.ahead.Load()
	return info, err
}

func TestAProjectorThatWaitsForItsLeaseShowsNoReadModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, w := newTelemetry(t, nil), newTelemetry(t, nil), newWorld()
		defer w.log.Close()
		w.project(t, w.log, first.Projector())
		leads := w.end
		<-time.After(2 * time.Second)
		w.project(t, w.log, second.Projector())
		waits := w.end
		<-time.After(2 * time.Second)
		s := scraped(t, second)
		s.missing("tidemark_projection_checkpoint_sequence")
		s.missing("tidemark_projection_state", "state", "following")
		leads()
		<-time.After(5 * time.Second)
		scraped(t, second).is(1, "tidemark_projection_checkpoint_sequence")
		waits()
	})
}

func TestARunningReplayTellsHowItGoes(t *testing.T) {
	tel, w := newTelemetry(t, nil), newWorld()
	defer w.log.Close()
	o, of := tel.Projector(), []string{"projection", "accounts"}
	o.Changed(projections.Status{Projection: "accounts", State: projections.ProjectorFollowing})
	job := projections.Replay{ID: "1", Projection: "accounts", State: projections.ReplayBuilding, Sequence: 5, Head: 9, PerSecond: 2}
	o.Replayed(job)
	s := scraped(t, tel)
	s.is(2, "tidemark_projection_replay_records_per_second", of...)
	s.is(0, "tidemark_projection_replay_yields", of...)
	s.missing("tidemark_projection_replay_remaining_seconds")
	job.Yields, job.Remaining = "the store is nearly full", 2
	o.Replayed(job)
	s = scraped(t, tel)
	s.is(1, "tidemark_projection_replay_yields", of...)
	s.is(2, "tidemark_projection_replay_remaining_seconds", of...)
	job.State = projections.ReplayCancelled
	o.Replayed(job)
	s = scraped(t, tel)
	s.is(1, "tidemark_projection_replays_total", append(of, "outcome", "cancelled")...)
	s.is(0, "tidemark_projection_replay_running", of...)
	s.missing("tidemark_projection_replay_yields")
}

func TestSnapshotsAreCounted(t *testing.T) {
	tel, w := newTelemetry(t, nil), newWorld()
	defer w.log.Close()
	o, of := tel.Projector(), []string{"projection", "accounts"}
	o.Changed(projections.Status{Projection: "accounts", State: projections.ProjectorFollowing})
	o.Snapshotted("accounts", projections.Snapshot{}, errors.New("a test says so"))
	s := scraped(t, tel)
	s.is(1, "tidemark_projection_snapshots_total", append(of, "outcome", "failed")...)
	s.missing("tidemark_projection_snapshot_age_seconds")
	o.Snapshotted("accounts", projections.Snapshot{Taken: time.Now().Add(-time.Hour), Bytes: 4711}, nil)
	s = scraped(t, tel)
	s.is(1, "tidemark_projection_snapshots_total", append(of, "outcome", "taken")...)
	s.is(4711, "tidemark_projection_snapshot_bytes", of...)
	if got := s.values("tidemark_projection_snapshot_age_seconds", of...); len(got) != 1 || got[0] < 3600 || got[0] > 3700 {
		t.Errorf("the age is %v", got)
	}
}
