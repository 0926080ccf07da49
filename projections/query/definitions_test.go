package query_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
)

// enter makes a change of the catalog.
func (r *region) enter(do func(catalog.Catalog) (catalog.Decision, error)) catalog.Done {
	r.t.Helper()
	done, err := catalog.Change(context.Background(), r.log, nil, do)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func TestTheCatalogIsListedWithHowEachDoesHere(t *testing.T) {
	inRegion(t, func(r *region) {
		l, err := r.reader.Catalog(context.Background())
		if err != nil || l.Region != "us" || !l.Position.IsZero() || l.Projections == nil || len(l.Projections) != 0 {
			t.Errorf("without a catalog it is %+v, %v", l, err)
		}
		airports, err := flights.Airports()
		if err != nil {
			t.Fatal(err)
		}
		text := []byte("projection: counts")
		counts := &projections.Definition{Name: "counts", Version: 3, Fields: []projections.Field{{Name: "n", Kind: projections.KindInt}}, Handles: []projections.Handles{{EventType: "E"}}}
		r.enter(func(c catalog.Catalog) (catalog.Decision, error) {
			return c.Register([]*projections.Definition{airports.Definition()})
		})
		r.enter(func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(counts, text) })
		done := r.enter(func(c catalog.Catalog) (catalog.Decision, error) { return c.Pause("counts") })
		r.departures(2)

		l, err = r.reader.Catalog(context.Background())
		if err != nil || !l.Position.Equal(done.Position) || len(l.Projections) != 2 {
			t.Fatalf("it is %+v, %v", l, err)
		}
		a, c := l.Projections[0], l.Projections[1]
		if a.Name != "airports" || a.Kind != catalog.Go || !a.Definition.IsZero() || a.Here == nil || a.Here.Version != 1 || a.Here.Projector != projections.ProjectorFollowing {
			t.Errorf("airports: %+v", a)
		}
		if c.Name != "counts" || c.Kind != catalog.File || c.State != catalog.Paused || c.Version != 3 || c.Definition.String() != "us.7f3a11d2@1:3" || c.Here != nil {
			t.Errorf("counts: %+v", c)
		}

		d, err := r.reader.Definition(context.Background(), "counts")
		if err != nil || d.Text != string(text) || d.Fingerprint != counts.Fingerprint() || d.Here != nil || d.Fields == nil {
			t.Errorf("counts is %+v, %v", d, err)
		}
		d, err = r.reader.Definition(context.Background(), "airports")
		if err != nil || d.Text != "" || !slices.Equal(d.Fields, airports.Definition().Fields) || d.Here == nil || d.Here.Documents != 2 {
			t.Errorf("airports is %+v, %v", d, err)
		}

		r.enter(func(c catalog.Catalog) (catalog.Decision, error) { return c.Remove("counts") })
		for _, name := range []string{"counts", "nothing", "No Name"} {
			_, err = r.reader.Definition(context.Background(), name)
			wants(t, err, projections.ErrUnknownProjection)
		}
		if l, err = r.reader.Catalog(context.Background()); err != nil || len(l.Projections) != 1 {
			t.Errorf("after a removal it is %+v, %v", l, err)
		}
		r.log.Unreachable(-1)
		if _, err = r.reader.Catalog(context.Background()); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("without the log: %v", err)
		}
		r.log.Unreachable(0)
		r.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
		if _, err = r.reader.Definition(context.Background(), "airports"); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("without the region's state: %v", err)
		}
	})
}

// What was never built here is shown as soon as a projector says something about it; what is being removed is not shown.
func TestAnOverviewHasWhatWasNeverBuiltAndNotWhatIsBeingRemoved(t *testing.T) {
	inRegion(t, func(r *region) {
		ctx := context.Background()
		status := projections.Status{Projection: "stuck", State: projections.ProjectorRefused, Code: "not-in-this-build", Message: "why"}
		if _, err := projections.WriteJSON(ctx, r.kv, projections.StatusKey("stuck"), status, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := projections.WriteJSON(ctx, r.kv, projections.PointerKey("gone"), projections.Pointer{Highest: 3}, 0); err != nil {
			t.Fatal(err)
		}
		r.departures(1)
		o, err := r.reader.Overview(ctx)
		if err != nil || len(o.Projections) != 2 || o.Projections[1].Name != "stuck" {
			t.Fatalf("the overview is %+v, %v", o, err)
		}
		if s := o.Projections[1]; s.State != "empty" || s.Projector != projections.ProjectorRefused || s.Code != "not-in-this-build" || s.Lag != nil || s.Digest != "" {
			t.Errorf("it is %+v", s)
		}
		names, err := r.reader.Projections(ctx)
		if err != nil || !slices.Equal(names, []string{"airports", "gone", "stuck"}) {
			t.Errorf("the names are %v, %v", names, err)
		}
	})
}
