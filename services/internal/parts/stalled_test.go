package parts

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
)

// TestAProjectorThatFollowsAndPassesNoMarkIsNotReady: it looks alive, and says so.
func TestAProjectorThatFollowsAndPassesNoMarkIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store, kv := memlog.New("us", memlog.Options{}), memstore.New(), memstore.NewKV()
		defer log.Close()
		airports, err := flights.Airports()
		if err != nil {
			t.Fatal(err)
		}
		worker, err := projector.New(airports, log, store, kv, memstore.NewLeases(), projector.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- worker.Run(ctx) }()
		reader := query.New("us", store, kv, query.NewHeads(log))
		pass := func(d time.Duration) { <-time.After(d) }
		alive := func(want string) {
			t.Helper()
			s, err := reader.Overview(ctx)
			if err != nil || len(s.Projections) != 1 || s.Projections[0].Projector != projections.ProjectorFollowing {
				t.Errorf("it does not follow: %+v, %v", s, err)
			}
			got := ""
			for _, m := range stalled(ctx, reader, "airports") {
				got += m.Part + " " + m.Code
			}
			if got != want {
				t.Errorf("missing is %q, want %q", got, want)
			}
		}
		depart := func(id string) {
			t.Helper()
			e := events.Event{ID: id, Source: "urn:test", Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: "ORD"}, Data: []byte(`{"origin":"ORD"}`)}
			if _, err := log.Append(ctx, events.One(e, events.ExpectAny())); err != nil {
				t.Fatal(err)
			}
		}
		depart("1")
		pass(time.Second)
		alive("")
		pass(reconcile.OverdueMarks*marks.DefaultInterval + time.Second)
		alive("projection airports overdue")
		if _, err := marks.New(log, marks.Options{}).Now(ctx); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		alive("")
		pass(reconcile.OverdueMarks*marks.DefaultIdle - time.Minute)
		alive("")
		depart("2")
		pass(reconcile.OverdueMarks*marks.DefaultInterval + time.Second)
		alive("projection airports overdue")
		if len(stalled(ctx, reader, "nothing")) != 0 {
			t.Error("a projection that is not there has stopped")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
