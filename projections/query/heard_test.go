package query_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// said returns the status of the one projection as a reader shows it.
func said(t *testing.T, reader *query.Reader) query.ModelStatus {
	t.Helper()
	o, err := reader.Overview(context.Background())
	if err != nil || len(o.Projections) != 1 {
		t.Fatalf("the overview has %d projections: %v", len(o.Projections), err)
	}
	return o.Projections[0]
}

func TestAProjectorThatDiedIsSilentSinceItWasHeardLast(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		for range 12 { // as long as it lives, however seldom anybody looks
			pass(7 * time.Second)
			if s := said(t, r.reader); s.Projector != projections.ProjectorFollowing || s.SilentSince != nil {
				t.Fatalf("the projector is %s since %v", s.Projector, s.SilentSince)
			}
		}
		r.end()
		died := time.Now()
		pass(projections.StatusSilence - 10*time.Second)
		if s := said(t, r.reader); s.Projector != projections.ProjectorFollowing {
			t.Errorf("%s after its death it is %s already", time.Since(died), s.Projector)
		}
		pass(11 * time.Second)
		s := said(t, r.reader)
		if s.Projector != projections.ProjectorSilent || s.SilentSince == nil || died.Sub(*s.SilentSince) > projections.StatusInterval {
			t.Fatalf("%s after its death it is %s since %v", time.Since(died), s.Projector, s.SilentSince)
		}
		if !strings.Contains(s.Message, "silent since") || !strings.Contains(s.Message, "following") {
			t.Errorf("the message is %q", s.Message)
		}
		if s.Lag == nil || s.State != string(projections.Live) {
			t.Errorf("what is known is not shown any more: %s with lag %v", s.State, s.Lag)
		}
		r.log.Unreachable(-1)
		pass(2 * time.Second)
		if s := said(t, r.reader); s.Lag != nil || s.Projector != projections.ProjectorSilent {
			t.Errorf("without the log it is %s with a lag of %v", s.Projector, s.Lag)
		}
	})
}

// withClocks stores a status as a projector whose clock, and a store whose clock, are wrong would, and returns what a reader says: at once, and
// again after each of some pauses, before which the status is confirmed unless dead.
func (r *region) withClocks(skew time.Duration, dead bool, pauses ...time.Duration) (states []projections.ProjectorState) {
	r.t.Helper()
	ctx := context.Background()
	skewed := &skewedKV{KV: r.kv, skew: skew}
	reader := query.New("us", r.store, skewed, query.NewHeads(r.log))
	confirm := func() {
		s, e, err := projections.ReadStatus(ctx, r.kv, "airports")
		if err != nil {
			r.t.Fatal(err)
		}
		s.Confirmed = time.Now().Add(skew)
		text, err := json.Marshal(s)
		if err == nil {
			_, err = r.kv.Put(ctx, e.Key, text, e.Revision)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	confirm()
	states = append(states, said(r.t, reader).Projector)
	for _, pause := range pauses {
		if !dead {
			confirm()
		}
		pass(pause)
		states = append(states, said(r.t, reader).Projector)
	}
	return states
}

// skewedKV stores values with a clock that is wrong.
type skewedKV struct {
	projections.KV
	skew time.Duration
}

func (k *skewedKV) Get(ctx context.Context, key string) (projections.Entry, error) {
	e, err := k.KV.Get(ctx, key)
	if !e.Stored.IsZero() {
		e.Stored = e.Stored.Add(k.skew)
	}
	return e, err
}

func TestClocksThatDisagreeMisleadAReaderAtItsFirstLookOnly(t *testing.T) {
	const following, silent = projections.ProjectorFollowing, projections.ProjectorSilent
	for name, c := range map[string]struct {
		skew   time.Duration
		dead   bool
		pauses []time.Duration
		want   []projections.ProjectorState
	}{
		"a live projector whose clock is ahead":         {time.Hour, false, []time.Duration{5 * time.Second, 5 * time.Second}, []projections.ProjectorState{following, following, following}},
		"a live projector whose clock is behind":        {-time.Hour, false, []time.Duration{5 * time.Second, 5 * time.Second}, []projections.ProjectorState{silent, following, following}},
		"a dead projector whose clock was ahead":        {time.Hour, true, []time.Duration{15 * time.Second, 6 * time.Second}, []projections.ProjectorState{following, following, silent}},
		"a dead projector whose clock was a bit behind": {-10 * time.Second, true, []time.Duration{5 * time.Second, 6 * time.Second}, []projections.ProjectorState{following, following, silent}},
		"a dead projector whose clock was right":        {0, true, []time.Duration{15 * time.Second, 6 * time.Second}, []projections.ProjectorState{following, following, silent}},
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, func(r *region) {
				r.departures(1)
				r.end()
				got := r.withClocks(c.skew, c.dead, c.pauses...)
				for i := range c.want {
					if got[i] != c.want[i] {
						t.Fatalf("the reader said %v, expected %v", got, c.want)
					}
				}
			})
		})
	}
}

func TestAStatusOfAProjectorThatNeverConfirmsAgesFromTheFirstLook(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(1)
		r.end()
		ctx := context.Background()
		_, e, err := projections.ReadStatus(ctx, r.kv, "airports")
		if err == nil {
			_, err = r.kv.Put(ctx, e.Key, []byte(`{"state":"following"}`), e.Revision)
		}
		if err != nil {
			t.Fatal(err)
		}
		reader := query.New("us", r.store, &timelessKV{r.kv}, query.NewHeads(r.log))
		if s := said(t, reader); s.Projector != projections.ProjectorFollowing {
			t.Errorf("at first it is %s", s.Projector)
		}
		pass(projections.StatusSilence + time.Second)
		if s := said(t, reader); s.Projector != projections.ProjectorSilent {
			t.Errorf("later it is %s", s.Projector)
		}
	})
}

// timelessKV does not say when a value was stored.
type timelessKV struct{ projections.KV }

func (k *timelessKV) Get(ctx context.Context, key string) (projections.Entry, error) {
	e, err := k.KV.Get(ctx, key)
	e.Stored = time.Time{}
	return e, err
}
